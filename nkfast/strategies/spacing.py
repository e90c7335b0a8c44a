"""One step from a price: how far orders stand from each other, and whether that earns its fees."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import model_validator

from nkfast.core.grid import min_step
from nkfast.errors import ConfigError
from nkfast.strategies.opening import OpeningTrade
from nkfast.strategies.round_trip import is_profitable
from nkfast.strategies.settings import (
    OneMarketSettings,
    coarser_prices,
    coarser_quantities,
    fee_of_one_side,
    key,
    least_value,
)
from nkfast.strategies.sizing import PriceRounding
from nkfast.trading.exact import ONE, add, multiply, plain

if TYPE_CHECKING:
    from nkfast.core.market import Market

__all__ = ["SpacedSettings", "Spacing", "StepMode"]

StepMode = Literal["pct", "abs"]


class Spacing(NamedTuple):
    """A step: a fraction of the price it is taken from (``pct``), or quote units (``abs``)."""

    mode: StepMode
    step: Decimal

    def at(self, price: Decimal) -> Decimal:
        """Return one step at a price, quote units."""
        return multiply(price, self.step) if self.mode == "pct" else self.step

    def away(self, price: Decimal, count: int) -> Decimal:
        """Return the price that is `count` steps, all as long as the first, above a price."""
        return add(price, multiply(self.at(price), Decimal(count)))


class SpacedSettings(OneMarketSettings):
    """What strategies have in common whose orders stand one step from each other."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **OneMarketSettings.aliases,
        "grid_spread": ("step_pct",),
        "min_notional_usd": ("min_notional_quote",),
        "total_fee_rate": ("fee_rate",),
    }

    step_mode: StepMode = key(
        "pct", meaning="Whether the step is step_pct of a price or step_abs quote units."
    )
    step_pct: Decimal | None = key(
        None, unit="fraction", gt=0, meaning="From level to level; required with step_mode pct."
    )
    step_abs: Decimal | None = key(
        None, unit="quote", gt=0, meaning="From level to level; required with step_mode abs."
    )
    base_order_size: Decimal = key(
        ONE, unit="base", gt=0, meaning="Of an order, raised where a minimum asks for more."
    )
    min_notional_quote: Decimal = least_value("1.05")
    fee_rate: Decimal = fee_of_one_side()
    fee_buffer_pct: Decimal = key(
        Decimal("0.002"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="Taken off sells when a spacing is judged, and added to minimum sizes.",
    )
    tick_size: Decimal = coarser_prices()
    step_size: Decimal = coarser_quantities()
    price_rounding: PriceRounding = key(
        "side", meaning="side: buys down, sells up. down: both down."
    )
    counter_on_partial: bool = key(
        True, meaning="Whether a part of an order is answered before the order has ended."
    )
    startup_rebalance: bool = key(
        False, meaning="Whether base is brought to its share before the first order."
    )
    rebalance_target_base_pct: Decimal = key(
        Decimal("0.5"), unit="fraction", gt=0, lt=1, meaning="That share, of what is free."
    )
    rebalance_slippage_pct: Decimal = key(
        Decimal("0.002"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="How far beyond the best price opposite the limit of that trade may lie.",
    )
    rebalance_max_attempts: int = key(
        2, ge=1, meaning="Orders for it, after which the strategy pauses."
    )
    rebalance_timeout_sec: int = key(
        5, unit="s", gt=0, meaning="What of such an order is not filled after this is cancelled."
    )

    @model_validator(mode="before")
    @classmethod
    def _mode_of_step(cls, given: dict[str, Any]) -> dict[str, Any]:
        # A step in quote units alone says its mode.
        if "step_mode" not in given and "step_abs" in given and "step_pct" not in given:
            return {**given, "step_mode": "abs"}
        return given

    @model_validator(mode="after")
    def _check_step(self) -> Self:
        if add(self.fee_rate, self.fee_buffer_pct) >= 1:
            raise ConfigError("fee_rate and fee_buffer_pct together take everything", "fee_rate")
        if getattr(self, self.step_key) is None:
            raise ConfigError(f"is required with step_mode = {self.step_mode!r}", self.step_key)
        if self.step_mode == "pct":
            self.check_earns(ONE)
        return self

    @property
    def step_key(self) -> Literal["step_pct", "step_abs"]:
        """The key that says the step."""
        return "step_pct" if self.step_mode == "pct" else "step_abs"

    @property
    def spacing(self) -> Spacing:
        """The step."""
        step = self.step_pct if self.step_mode == "pct" else self.step_abs
        assert step is not None, "checked when the settings were made"
        return Spacing(self.step_mode, step)

    def opening_trade(self, market: "Market") -> OpeningTrade | None:
        """Return what brings base to its share first, None where that is not asked for."""
        if not self.startup_rebalance:
            return None
        return OpeningTrade(
            market,
            target=self.rebalance_target_base_pct,
            slippage=self.rebalance_slippage_pct,
            attempts_max=self.rebalance_max_attempts,
            timeout_ms=self.rebalance_timeout_sec * 1000,
            min_notional=self.min_notional_quote,
            fee_rate=self.fee_rate,
        )

    @property
    def min_value(self) -> Decimal:
        """What an order is worth that was raised to the minimum, quote units."""
        return multiply(self.min_notional_quote, add(ONE, self.fee_buffer_pct))

    def check_earns(self, low: Decimal) -> None:
        """Check that buying at a price and selling one step above it earns its fees.

        Raises
        ------
        nkfast.errors.ConfigError
            It loses money.
        """
        step = self.spacing.at(low)
        if not is_profitable(low, add(low, step), self.fee_rate, self.fee_buffer_pct):
            least = min_step(self.fee_rate, self.fee_buffer_pct)
            raise ConfigError(
                f"a step of {plain(step)} at {plain(low)} does not earn its fees: a round trip at"
                f" fee_rate {plain(self.fee_rate)} a side and fee_buffer_pct"
                f" {plain(self.fee_buffer_pct)} needs a step of {least:.4%}",
                self.step_key,
            )
