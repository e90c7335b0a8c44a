"""What an accumulation is told: its ladder, its passive buys, its guards."""

from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from nkfast.errors import ConfigError
from nkfast.strategies.settings import (
    OneMarketSettings,
    Settings,
    coarser_prices,
    coarser_quantities,
    key,
)
from nkfast.trading.exact import ONE, plain

__all__ = [
    "AccumulationSettings",
    "AverageSettings",
    "GuardSettings",
    "LadderSettings",
    "PassiveSettings",
    "VwapSettings",
]


class LadderSettings(Settings):
    """The ladder."""

    n: int = key(ge=1, le=200, meaning="Orders at once.")
    d0: Decimal = key(
        unit="fraction", gt=0, lt=1, meaning="Distance of the first from the average price."
    )
    g: Decimal = key(ge=1, meaning="Ratio of two neighbours' distances.")
    s0: Decimal = key(unit="base", gt=0, meaning="Size of the first.")
    k: Decimal = key(gt=0, meaning="Ratio of two neighbours' sizes.")
    per_order_volume_cap: Decimal = key(unit="base", gt=0, meaning="Largest size of an order.")


class PassiveSettings(Settings):
    """The passive buys."""

    budget_daily: Decimal = key(unit="quote", ge=0, meaning="For them in a day; 0: there are none.")
    interval_sec: int = key(unit="s", gt=0, meaning="From one to the next.")
    epsilon: Decimal = key(
        unit="fraction", ge=0, lt=1, meaning="How far below the best bid they are."
    )
    ttl_sec: int = key(unit="s", gt=0, meaning="What is not filled after this is cancelled.")


class GuardSettings(Settings):
    """What stops it."""

    participation_cap: Decimal = key(
        unit="fraction", gt=0, meaning="Largest part of what is traded in an hour that is ours."
    )
    volume_source: Literal["trades", "moves"] = key(
        "trades",
        meaning="trades: what anybody traded. moves: what the mid moved times the mid, which older "
        "bots took for it.",
    )
    spread_limit: Decimal = key(unit="fraction", gt=0, meaning="Largest spread, of the mid.")
    cooldown_impact_sec: int = key(unit="s", ge=0, meaning="How long it rests after an impact.")
    cooldown_grid_dca_sec: int = key(
        unit="s", ge=0, meaning="How long no passive buy follows a fill of the ladder."
    )
    fill_time_threshold_sec: Decimal = key(
        unit="s", ge=0, meaning="A fill sooner than this after its order was placed is an impact."
    )
    mid_jump_threshold: Decimal = key(
        unit="fraction", gt=0, meaning="A larger move of the mid after a fill is an impact."
    )
    best_bid_touch_max: int = key(
        ge=1, meaning="So many samples with an order of ours at the best bid are an impact."
    )
    best_bid_touch_window_sec: int = key(unit="s", gt=0, meaning="The time that those are of.")
    spread_widen_threshold: Decimal = key(
        gt=0, meaning="A larger ratio of the spread to its median is an impact."
    )


class VwapSettings(Settings):
    """What is made of paying more than the market costs."""

    window_sec: int = key(unit="s", gt=0, meaning="The time that both averages are of.")
    size_reduction_factor: Decimal = key(ge=0, meaning="For sizes while we pay more.")
    spacing_widen_factor: Decimal = key(gt=0, meaning="For distances while we pay more.")
    pause_threshold: Decimal = key(
        ge=1, meaning="Above this ratio of our average to the market's nothing is bought."
    )


class AverageSettings(Settings):
    """The averages of the market."""

    ema_alpha: Decimal = key(gt=0, le=1, meaning="Weight of the newest mid in the average price.")
    atr_window: int = key(ge=1, meaning="Samples that the mean move is of.")
    atr_flat_threshold: Decimal = key(
        unit="fraction", gt=0, meaning="A mean move below this, of the mid, is a flat market."
    )


class AccumulationSettings(OneMarketSettings):
    """What an accumulation is told. Fractions are fractions: 0.01 is one per cent."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **OneMarketSettings.aliases,
        "min_order_notional": ("min_notional_quote",),
        "poll_interval_sec": ("sample_interval_sec",),
    }

    daily_budget_quote: Decimal = key(
        unit="quote", gt=0, meaning="For all that is bought in a day and all that rests."
    )
    min_notional_quote: Decimal = key(
        ONE,
        unit="quote",
        ge=0,
        meaning="Least value of an order, of which one is at least 1 % above; the market's own "
        "minimum holds as well.",
    )
    sample_interval_sec: int = key(
        5, unit="s", gt=0, meaning="How often the market is looked at for the averages."
    )
    reset_after_sec: int | None = key(
        86_400,
        unit="s",
        gt=0,
        meaning="The ladder is laid anew after this, if it has filled; none: only when the average "
        "has risen.",
    )
    cancel_on_pause: bool = key(
        False, meaning="Whether orders are cancelled while a guard stops it; else they rest."
    )
    tick_size: Decimal = coarser_prices()
    step_size: Decimal = coarser_quantities()
    has_jitter: bool = key(True, meaning="Whether sizes vary a little, so as not to look alike.")
    seed: int = key(0, meaning="Another number makes other variations.")
    grid: LadderSettings = key(meaning="The ladder.")
    dca: PassiveSettings = key(meaning="The passive buys.")
    guards: GuardSettings = key(meaning="What stops it.")
    vwap: VwapSettings = key(meaning="What is made of paying more than the market costs.")
    ema: AverageSettings = key(meaning="The averages of the market.")

    @model_validator(mode="after")
    def _check_first(self) -> Self:
        if self.grid.s0 > self.grid.per_order_volume_cap:
            raise ConfigError(
                f"is {plain(self.grid.s0)}, above per_order_volume_cap"
                f" {plain(self.grid.per_order_volume_cap)}",
                "grid.s0",
            )
        if self.dca.budget_daily > self.daily_budget_quote:
            raise ConfigError(
                f"is {plain(self.dca.budget_daily)}, above daily_budget_quote"
                f" {plain(self.daily_budget_quote)}",
                "dca.budget_daily",
            )
        return self
