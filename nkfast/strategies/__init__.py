"""One strategy a file; pure: no I/O, no clock reads, no randomness that is not handed in.

Each strategy is a class with a ``name``, a ``settings_type`` (see `nkfast.strategies.settings`) and
``build(settings, markets)``. `names` lists them, `load` imports one: ours, and what other packages
offer as entry points of the group ``nkfast.strategies``.
"""

import difflib
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from nkfast.errors import ConfigError
from nkfast.trading.strategy import Strategy

if TYPE_CHECKING:
    from nkfast.core.market import Market
    from nkfast.strategies.settings import Settings

__all__ = ["GROUP", "Kind", "load", "names"]


class Kind(Protocol):
    """The class of a strategy that can be named in a configuration."""

    #: As configurations name it.
    name: str
    settings_type: type["Settings"]
    #: Why it must not trade real money; empty: it may.
    refuses_live: str
    #: What a stop does with its resting orders where nobody says it.
    on_exit: Literal["cancel", "keep"]

    def build(self, settings: Any, markets: Mapping[str, "Market"]) -> Strategy:
        """Make a strategy; a classmethod.

        Parameters
        ----------
        settings : Settings
            A ``settings_type``.
        markets : mapping of str to Market
            Those that ``settings.symbols`` named, its home first; when it named none, the market
            that was chosen for it.

        Raises
        ------
        nkfast.errors.ConfigError
            The settings do not fit the markets.
        """


#: Where other packages offer strategies: ``my-grid = "my_package.my_grid:MyGrid"``.
GROUP = "nkfast.strategies"

_OURS = {
    "grid": "nkfast.strategies.grid:Grid",
    "infinity_grid": "nkfast.strategies.infinity_grid:InfinityGrid",
    "infinity_grid_value": "nkfast.strategies.infinity_grid_value:InfinityGridValue",
    "accumulation": "nkfast.strategies.accumulation:Accumulation",
    "arbitrage": "nkfast.strategies.arbitrage:Arbitrage",
    "hybrid_arbitrage": "nkfast.strategies.hybrid_arbitrage:HybridArbitrage",
    "rebalance": "nkfast.strategies.rebalance:Rebalance",
    "profit_allocation": "nkfast.strategies.profit_allocation:ProfitAllocation",
    "market_maker": "nkfast.strategies.market_maker:MarketMaker",
    "capped_martingale": "nkfast.strategies.capped_martingale:CappedMartingale",
}


def names() -> tuple[str, ...]:
    """Return the name of every strategy that can be loaded, ours first."""
    return (*_OURS, *sorted({point.name for point in entry_points(group=GROUP)} - _OURS.keys()))


def load(name: str) -> Kind:
    """Return the class of a strategy.

    Raises
    ------
    nkfast.errors.ConfigError
        There is none of that name (the nearest is named), two packages offer it, or it cannot be
        imported.
    """
    if name in _OURS:
        module, _, kind = _OURS[name].partition(":")
        return cast(Kind, getattr(import_module(module), kind))
    found = entry_points(group=GROUP, name=name)
    if len(found) > 1:
        offers = ", ".join(sorted(point.value for point in found))
        raise ConfigError(
            f"{name!r} is offered more than once ({offers}); uninstall one", "strategy"
        )
    for point in found:
        try:
            return cast(Kind, point.load())
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{name!r} cannot be loaded: {error}", "strategy") from error
    near = difflib.get_close_matches(name, names(), 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names())}"
    raise ConfigError(f"no strategy {name!r}; {hint}", "strategy")
