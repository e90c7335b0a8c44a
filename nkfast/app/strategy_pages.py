"""What a person reads of a strategy, from its own settings; and the files of a new one."""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nkfast.errors import ConfigError
from nkfast.strategies import GROUP, load, names
from nkfast.strategies.settings import Key, keys

__all__ = ["key_table", "markdown", "page", "summaries", "write_new"]

_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")


def summaries() -> dict[str, str]:
    """Return the first sentence of every strategy, by its name."""
    return {name: _text_of(load(name)).partition("\n")[0] for name in names()}


def page(name: str) -> dict[str, Any]:
    """Return what a strategy is and every key that it can be told, as plain data.

    Raises
    ------
    nkfast.errors.ConfigError
        There is no such strategy.
    """
    kind = load(name)
    return {
        "name": name,
        "text": _text_of(kind),
        "on_exit": kind.on_exit,
        "keys": [item._asdict() for item in keys(kind.settings_type)],
    }


def markdown(shown: dict[str, Any]) -> str:
    """Return a page as Markdown: the text, and a table with a row for each key."""
    lines = [f"# {shown['name']}", "", shown["text"], ""]
    lines += [f"When it is stopped, its orders: {shown['on_exit']}.", ""]
    return "\n".join([*lines, key_table([Key(**row) for row in shown["keys"]])])


def key_table(rows: Iterable[Key]) -> str:
    """Return a Markdown table with a row for each key."""
    lines = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    for item in rows:
        default = "required" if item.default is None else item.default or "empty"
        takes = ", ".join(said for said in (item.type, item.unit, item.range) if said)
        also = f" Also called {', '.join(item.aliases)}." if item.aliases else ""
        cells = (f"`{item.name}`", takes, default, item.meaning + also)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _text_of(kind: Any) -> str:
    return (sys.modules[kind.__module__].__doc__ or kind.__doc__ or "").strip()


def write_new(name: str, folder: Path) -> list[Path]:
    """Write a strategy that works, its test, and a project that offers it to nkfast.

    Raises
    ------
    nkfast.errors.ConfigError
        The name is no Python name, or a strategy has it.
    FileExistsError
        One of the files is there; the others are left as they are.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r}: give 2 to 40 of a-z, 0-9 and _, a letter first", "NAME")
    if name in names():
        raise ConfigError(f"{name!r} is there already; choose another name", "NAME")
    title = "".join(part.capitalize() for part in name.split("_"))
    texts = {
        f"{name}.py": _STRATEGY,
        f"test_{name}.py": _TEST,
        "pyproject.toml": _PROJECT,
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for file, text in texts.items():
        path = folder / file
        with path.open("x", encoding="utf-8") as new:
            filled = text.replace("@name@", name).replace("@Title@", title)
            new.write(filled.replace("@group@", json.dumps(GROUP)))
        written.append(path)
    return written


_STRATEGY = '''"""@Title@: one bid below the market, and what it bought offered above."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Self

from nkfast.core.market import Market
from nkfast.strategies.settings import Settings, Symbol, key
from nkfast.strategies.sizing import Steps
from nkfast.trading.strategy import Desired, Fill, MarketView, Quote, Skip, Strategy


class @Title@Settings(Settings):
    """What it is told. Fractions are fractions: 0.01 is one per cent."""

    symbol: Symbol = key("", meaning="BASE/QUOTE; empty means the market that it is given.")
    size: Decimal = key(unit="base", gt=0, meaning="Of the bid.")
    distance_pct: Decimal = key(
        Decimal("0.01"), unit="fraction", gt=0, lt=1, meaning="From the mid to either order."
    )


class @Title@(Strategy):
    """It sees the market and returns what should rest; the engine does the rest."""

    name = "@name@"
    settings_type = @Title@Settings

    def __init__(self, settings: @Title@Settings, market: Market) -> None:
        self.settings = settings
        self.steps = Steps(market)
        self.owned = Decimal(0)
        self.anchor: Decimal | None = None

    @classmethod
    def build(cls, settings: @Title@Settings, markets: Mapping[str, Market]) -> Self:
        return cls(settings, next(iter(markets.values())))

    def decide(self, view: MarketView) -> Desired:
        if self.anchor is None:
            self.anchor = view.mid
        if self.anchor is None:
            return Desired(skips=(Skip("NO_PRICE", "a side of the book is empty"),))
        quotes = {}
        low = self.steps.price(self.anchor * (1 - self.settings.distance_pct), "buy")
        high = self.steps.price(self.anchor * (1 + self.settings.distance_pct), "sell")
        wanted = self.steps.down(self.settings.size - self.owned)
        if wanted >= self.steps.least(low):
            quotes["bid"] = Quote("buy", low, wanted)
        owned = self.steps.down(self.owned)
        if owned >= self.steps.least(high):
            quotes["ask"] = Quote("sell", high, owned)
        return Desired(quotes)

    def on_fill(self, fill: Fill) -> None:
        self.owned += fill.quantity if fill.side == "buy" else -fill.quantity

    def state(self) -> dict[str, Any]:
        return {
            "owned": str(self.owned),
            "anchor": None if self.anchor is None else str(self.anchor),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.owned = Decimal(state["owned"])
        self.anchor = None if state["anchor"] is None else Decimal(state["anchor"])
'''

_TEST = '''"""@Title@ on a simulated exchange: in clear weather, through crashes, in storms."""

from decimal import Decimal

import pytest
from @name@ import @Title@, @Title@Settings

from nkfast.core.market import Market
from nkfast.testing import Stage, simulate


def build(market: Market) -> @Title@:
    return @Title@(@Title@Settings(size=Decimal("0.001"), distance_pct=Decimal("0.001")), market)


@pytest.mark.parametrize("seed", range(5))
def test_no_invariant_breaks(seed: int) -> None:
    outcome = simulate(seed, Stage(strategy=build))
    assert outcome.ok, f"{outcome.violation}; again: {outcome.command}"
'''

_PROJECT = """[build-system]
requires = ["setuptools>=80"]
build-backend = "setuptools.build_meta"

[project]
name = "nkfast-@name@"
version = "0.1.0"
dependencies = ["nkfast"]

# What makes `nkfast run` find it, once this is installed: pip install -e .
[project.entry-points.@group@]
@name@ = "@name@:@Title@"

[tool.setuptools]
py-modules = ["@name@"]
"""
