"""The sections of a bot's configuration that every strategy shares."""

from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal

from pydantic import field_validator

from nkfast.app.config.alerts import AlertSettings
from nkfast.strategies.settings import Settings, Symbol, key
from nkfast.trading.exact import plain
from nkfast.trading.limits import RiskLimits
from nkfast.wire.addresses import BASE_URL, WEBSOCKET_URL

__all__ = [
    "SCHEMA",
    "SECTIONS",
    "CommonSettings",
    "ExchangeSettings",
    "PaperSettings",
    "RiskSettings",
]

SCHEMA = "nkfast/1"
#: What people call the other modes elsewhere.
_MODES = {"dryrun": "paper", "simulation": "paper", "sim": "paper", "real": "live"}


class CommonSettings(Settings):
    """The keys that every bot has."""

    schema_: Literal["nkfast/1"] = key(
        SCHEMA, meaning="Version of this format; nkfast config migrate brings a file to the newest."
    )
    symbol: Symbol = key("", meaning="The market, BASE/QUOTE; a strategy of many may need none.")
    mode: Literal["monitor", "paper", "live"] = key(
        "monitor",
        meaning="monitor decides and says, paper trades pretended money on the real market, live"
        " trades real money and needs the option --live, too.",
    )
    on_exit: Literal["cancel", "keep"] | None = key(
        None,
        meaning="What a stop does with resting orders; none: what suits the strategy, which is to"
        " keep those of a grid and to cancel others; paper cancels always.",
    )

    @field_validator("schema_", mode="before")
    @classmethod
    def _of_this_version(cls, value: Any) -> Any:
        if value != SCHEMA:
            raise ValueError(f"is {value!r}; this nkfast reads {SCHEMA!r}")
        return value

    @field_validator("mode", mode="before")
    @classmethod
    def _known_elsewhere(cls, value: Any) -> Any:
        meant = _MODES.get(str(value).lower().replace("-", "").replace("_", ""))
        if meant is not None:
            raise ValueError(f"is {value!r}; did you mean {meant!r}?")
        return value


class ExchangeSettings(Settings):
    """Where the exchange is."""

    rest_url: str = key(BASE_URL, meaning="Where its REST paths begin.")
    ws_url: str = key(WEBSOCKET_URL, meaning="Its WebSocket.")

    @field_validator("rest_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        return _checked_url(value, ("http://", "https://")).rstrip("/")

    @field_validator("ws_url")
    @classmethod
    def _is_websocket(cls, value: str) -> str:
        return _checked_url(value, ("ws://", "wss://"))


class RiskSettings(Settings):
    """What a bot may do at most: `RiskLimits`, as a file has them."""

    max_order_notional: Decimal | None = key(
        None, unit="quote", gt=0, meaning="Of one order. Live mode needs it."
    )
    max_position: Decimal | dict[str, Decimal] | None = key(
        None,
        unit="base",
        meaning="Owned and on order of the base asset, or by asset: {BTC = 0.5}. Live mode needs"
        " it.",
    )
    max_daily_loss: Decimal | None = key(
        None, unit="quote", gt=0, meaning="Trading halts beyond it. Live mode needs it."
    )
    max_open_orders: int | None = key(200, ge=0, meaning="Unanswered ones included.")
    max_orders_per_minute: int | None = key(300, ge=0, meaning="Sent within any 60 s.")
    max_repeats_per_minute: int | None = key(
        None, ge=0, meaning="Of orders with the same side, price and quantity."
    )
    max_daily_orders: int | None = key(None, ge=0, meaning="Sent in a UTC day.")
    max_daily_notional: Decimal | None = key(
        None, unit="quote", ge=0, meaning="Of the orders sent in a UTC day."
    )
    price_collar: Decimal | None = key(
        Decimal("0.2"), unit="fraction", gt=0, meaning="Farthest price from mid and last trade."
    )
    min_free_quote: Decimal | None = key(
        None, unit="quote", ge=0, meaning="Stays free whatever happens."
    )
    max_unknown_orders: int = key(
        3, ge=0, meaning="Orders whose answer was lost, above which nothing new is sent."
    )
    max_book_age_s: float | None = key(
        None, unit="s", gt=0, meaning="Since the book's last frame, above which it counts as stale."
    )

    @field_validator("max_position")
    @classmethod
    def _by_asset(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for asset, limit in value.items():
            if not limit.is_finite() or limit < 0:
                raise ValueError(f"of {asset} is {plain(limit)}; give at least 0")
        return {asset.upper(): limit for asset, limit in value.items()}

    def limits(self) -> RiskLimits:
        """Return the limits."""
        return RiskLimits(**{item.name: getattr(self, item.name) for item in fields(RiskLimits)})


class PaperSettings(Settings):
    """The pretended account of mode paper, and of mode monitor where there are no keys."""

    funds: dict[str, Decimal] = key(
        {},
        meaning="By asset: {USDT = 1000, BTC = 0.01}. Without, what a thousand units of the quote"
        " asset are worth, half in each asset.",
    )
    latency_ms: int = key(200, unit="ms", ge=0, le=60_000, meaning="From an order to its effect.")

    @field_validator("funds")
    @classmethod
    def _not_negative(cls, value: dict[str, Decimal]) -> dict[str, Decimal]:
        for asset, amount in value.items():
            if not amount.is_finite() or amount < 0:
                raise ValueError(f"of {asset} is {plain(amount)}; give at least 0")
        return {asset.upper(): amount for asset, amount in value.items()}


def _checked_url(value: str, schemes: tuple[str, ...]) -> str:
    scheme = next((scheme for scheme in schemes if value.startswith(scheme)), None)
    if scheme is None or not value.removeprefix(scheme).strip("/"):
        raise ValueError(f"is {value!r}; give a URL that begins with {' or '.join(schemes)}")
    if "@" in value.removeprefix(scheme).partition("/")[0]:
        raise ValueError("holds a user or a password; keys are kept by nkfast keys set")
    return value


#: Beside the strategy's own, in the order of a file.
SECTIONS: Mapping[str, type[Settings]] = MappingProxyType(
    {
        "exchange": ExchangeSettings,
        "risk": RiskSettings,
        "paper": PaperSettings,
        "alerts": AlertSettings,
    }
)
