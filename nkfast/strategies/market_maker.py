"""The market maker: one bid and one ask inside the spread of everybody else.

Both are derived from the book without our own orders, so that it never outbids itself. They lean
against the inventory, what is free and what our orders hold: too much of the base asset moves both
down, if need be behind the touch. A quote stays where it is until it is off by some ticks and has
lived for a while; the new one is placed when the old one is known to be gone.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from nkfast.strategies.round_trip import FeeWatch
from nkfast.strategies.settings import (
    OneMarketSettings,
    coarser_prices,
    coarser_quantities,
    fee_of_one_side,
    key,
    least_value,
)
from nkfast.strategies.sizing import Steps
from nkfast.trading.exact import ONE, ZERO, add, multiply, plain, subtract
from nkfast.trading.strategy import (
    Desired,
    EndedOrder,
    Fill,
    LiveOrder,
    MarketView,
    Quote,
    Skip,
    Strategy,
)
from nkfast.venue.port import PublicTrade, Side

if TYPE_CHECKING:
    from nkfast.core.book import OrderBook
    from nkfast.core.market import Market

__all__ = ["MarketMaker", "MarketMakerSettings", "Prices", "quote_prices", "quote_sizes"]

_SIDES: tuple[Side, Side] = ("buy", "sell")
_MS = 1_000
#: An inside spread of 0 means this part of the spread.
_INSIDE = Decimal("0.1")
_TOLERANCE_MIN = Decimal("0.0001")
_PLENTY = Decimal(10**12)
#: What was filled or cancelled may be seen in the book for so long.
_GHOST_MS = 1_000
#: So many of our fills, and of everybody's trades, wait for the other to say who took.
_TRADES_KEPT = 64


class MarketMakerSettings(OneMarketSettings):
    """What a market maker is told. Fractions are fractions: 0.01 is one per cent."""

    aliases: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **OneMarketSettings.aliases,
        "max_order_age_sec": ("max_order_age_s",),
    }

    base_order_size: Decimal = key(
        Decimal("0.01"), unit="base", gt=0, meaning="Most that a bid buys."
    )
    sell_quote_target: Decimal = key(
        Decimal(10), unit="quote", gt=0, meaning="Most that an ask brings."
    )
    min_notional_quote: Decimal = least_value()
    fee_rate: Decimal = fee_of_one_side("0.001")
    safety_buffer_pct: Decimal = key(
        Decimal("0.0005"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="What a spread must have beyond both fees to be quoted in.",
    )
    max_spread_pct: Decimal = key(
        Decimal("0.1"),
        unit="fraction",
        gt=0,
        meaning="A wider spread is that of a dead book; nothing is quoted in it.",
    )
    inside_spread_pct: Decimal = key(
        Decimal("0.1"),
        unit="fraction",
        ge=0,
        lt=1,
        meaning="How far inside the spread quotes stand, as a part of it; 0 means 0.1.",
    )
    inventory_target_pct: Decimal = key(
        Decimal("0.5"),
        unit="fraction",
        ge=0,
        le=1,
        meaning="Share of the base asset in the value of both that is aimed at.",
    )
    inventory_tolerance_pct: Decimal = key(
        Decimal("0.05"),
        unit="fraction",
        ge=0,
        le=1,
        meaning="A share that is off by no more than this moves no quote; by as much again, fully.",
    )
    inventory_skew_pct: Decimal = key(
        Decimal("0.2"),
        unit="fraction",
        ge=0,
        meaning="How far the inventory moves both quotes at most, as a part of the spread.",
    )
    may_retreat: bool = key(
        True,
        meaning="Whether the inventory may move a quote behind the touch; else it stays one tick "
        "before it.",
    )
    post_only: bool = key(True, meaning="Whether a quote waits while it would trade at once.")
    reprice_threshold_ticks: int = key(
        2, ge=2, meaning="A quote that is off by less stays where it is."
    )
    min_quote_life_ms: int = key(
        1_000, unit="ms", ge=0, meaning="A quote that is younger stays where it is."
    )
    max_order_age_s: int = key(
        30,
        unit="s",
        gt=0,
        meaning="A quote that is older is set right even if it is off by little.",
    )
    taker_cooldown_s: int = key(
        10, unit="s", ge=0, meaning="How long a side rests after a quote of it traded at once."
    )
    tick_size: Decimal = coarser_prices()
    step_size: Decimal = coarser_quantities()


class Prices(NamedTuple):
    """Where to quote, and by how much the inventory moved it, quote units."""

    buy: Decimal
    sell: Decimal
    skew: Fraction


def quote_prices(
    bid: Decimal,
    ask: Decimal,
    base: Decimal,
    quote: Decimal,
    settings: MarketMakerSettings,
    steps: Steps,
) -> Prices | Skip:
    """Return where to quote between the best prices of others, or why not to.

    Parameters
    ----------
    bid, ask : Decimal
        Of others, the bid below the ask.
    base, quote : Decimal
        What is owned of both assets, free and held.
    settings : MarketMakerSettings
    steps : Steps
        The grid of the prices.
    """
    spread, double_mid = subtract(ask, bid), add(bid, ask)
    least = add(multiply(Decimal(2), settings.fee_rate), settings.safety_buffer_pct)
    doubled = multiply(Decimal(2), spread)
    if doubled < multiply(least, double_mid):
        return Skip("SPREAD_TOO_NARROW", f"{plain(bid)} to {plain(ask)}, least {plain(least)}")
    if doubled > multiply(settings.max_spread_pct, double_mid):
        most = plain(settings.max_spread_pct)
        return Skip("DEAD_BOOK", f"{plain(bid)} to {plain(ask)}, most {most}")
    tick = Fraction(steps.tick)
    inside = Fraction(spread) * Fraction(settings.inside_spread_pct or _INSIDE)
    inside = max(inside, tick)
    skew = _skew(Fraction(double_mid) / 2, Fraction(spread), base, quote, settings)
    buy = steps.price(Fraction(bid) + inside - skew, "buy")
    sell = steps.price(Fraction(ask) - inside - skew, "sell")
    if settings.may_retreat:
        buy = min(buy, subtract(ask, steps.tick))
        sell = max(sell, add(bid, steps.tick))
    else:
        buy = max(buy, add(bid, steps.tick))
        sell = min(sell, subtract(ask, steps.tick))
    if buy <= 0:
        return Skip("NO_PRICE", f"a bid at {plain(buy)}")
    fees = multiply(add(buy, sell), settings.fee_rate)
    if buy >= sell or subtract(sell, buy) <= fees:
        return Skip("UNPROFITABLE", f"{plain(buy)} to {plain(sell)}, fees {plain(fees)}")
    return Prices(buy, sell, skew)


def _skew(
    mid: Fraction,
    spread: Fraction,
    base: Decimal,
    quote: Decimal,
    settings: MarketMakerSettings,
) -> Fraction:
    base_value = Fraction(base) * mid
    whole = base_value + Fraction(quote)
    if whole <= 0:
        return Fraction(0)
    off = base_value / whole - Fraction(settings.inventory_target_pct)
    tolerance = Fraction(max(settings.inventory_tolerance_pct, _TOLERANCE_MIN))
    if abs(off) <= tolerance:
        return Fraction(0)
    lean = max(min(off / tolerance, Fraction(1)), Fraction(-1))
    return spread * Fraction(settings.inventory_skew_pct) * lean


def quote_sizes(
    buy: Decimal,
    sell: Decimal,
    base: Decimal,
    quote: Decimal,
    settings: MarketMakerSettings,
    steps: Steps,
) -> tuple[Decimal, Decimal]:
    """Return how much to bid for and to ask for; 0 where it would be less than a minimum.

    Parameters
    ----------
    buy, sell : Decimal
        The prices.
    base, quote : Decimal
        What may be used of both assets; a buy pays its fee out of it.
    """
    market = steps.market
    fee = max(market.maker_fee, market.taker_fee, ZERO)
    affordable = Fraction(quote) / Fraction(multiply(buy, add(ONE, fee)))
    bought = steps.down(min(Fraction(settings.base_order_size), affordable))
    sold = steps.down(min(Fraction(settings.sell_quote_target) / Fraction(sell), Fraction(base)))
    minimum = settings.min_notional_quote
    return (
        bought if bought >= steps.least(buy, minimum) else ZERO,
        sold if sold >= steps.least(sell, minimum) else ZERO,
    )


class MarketMaker(Strategy):
    """Quotes both sides of one market.

    Parameters
    ----------
    settings : MarketMakerSettings
    market : Market
        Its steps and minimums bound every order.

    Raises
    ------
    nkfast.errors.ConfigError
        The settings name another market, or a coarser grid that does not fit the market's.
    """

    name = "market_maker"
    settings_type = MarketMakerSettings
    cancels_when_blind = True

    def __init__(self, settings: MarketMakerSettings, market: "Market") -> None:
        settings.check_market(market)
        self.settings = settings
        self._steps = Steps(market, settings.tick_size, settings.step_size)
        self._market = market
        self._reprice = multiply(self._steps.tick, Decimal(settings.reprice_threshold_ticks))
        self._rests_until_ms: dict[str, int] = {}  # a side that took, by side
        self._took: set[Side] = set()  # since the last decision
        # Fills do not say who took, the public trades of the same ids do; either may come first.
        self._unexplained: dict[str, Side] = {}
        self._takers: dict[str, Side] = {}
        self._state: dict[str, Any] | None = None
        # Ours, gone, and perhaps still seen: side, ticks, lots, until when (0: not set).
        self._ghosts: list[tuple[Side, int, int, int]] = []
        self._seen: tuple[Any, ...] = ()  # what the decision rests on
        self._desired = Desired()
        self._codes: frozenset[str] = frozenset()
        self._fees = FeeWatch(settings.fee_rate, settings.min_notional_quote)
        self._said: list[Skip] = []  # when told of fills

    @classmethod
    def build(cls, settings: MarketMakerSettings, markets: "Mapping[str, Market]") -> Self:
        """Make a market maker on the first of the markets."""
        return cls(settings, next(iter(markets.values())))

    def decide(self, view: MarketView) -> Desired:
        """Return a bid and an ask; the same object while nothing that counts has changed."""
        now_ms = view.now_ms
        bid, ask = (self._best_of_others(view.book, side, view.orders, now_ms) for side in _SIDES)
        again_at_ms = self._desired.again_at_ms
        is_due = self._took or (again_at_ms is not None and now_ms >= again_at_ms)
        seen = (bid, ask, view.book.state)
        same_funds = self._seen[3:] and (
            view.orders is self._seen[3]
            and view.available is self._seen[4]
            and view.total is self._seen[5]
        )
        if not is_due and same_funds and seen == self._seen[:3]:
            return self._desired
        self._seen = (*seen, view.orders, view.available, view.total)
        self._note_taking(now_ms)
        skips: list[Skip] = []
        quotes, again = self._quotes(bid, ask, view, skips)
        self._ghosts = [ghost for ghost in self._ghosts if now_ms < ghost[3]]
        waits = [*again, *(ghost[3] for ghost in self._ghosts)]
        self._say(quotes, skips, min(waits, default=None))
        return self._desired

    def on_fill(self, fill: Fill) -> None:
        """Let a side rest whose quote traded at once; what was filled may be seen for a while."""
        self._fees.look(fill, self._said)
        taker = self._takers.get(fill.trade_id)
        if fill.is_maker is False or (fill.is_maker is None and taker == fill.side):
            self._took.add(fill.side)
            self._state = None
        elif fill.is_maker is None and taker is None:
            _keep(self._unexplained, fill.trade_id, fill.side)
        self._haunt(fill.side, fill.price, fill.quantity)

    def on_trade(self, trade: PublicTrade) -> None:
        """Let a side rest whose quote turns out to have traded at once."""
        if trade.symbol != self._market.symbol:
            return
        if self._unexplained.pop(trade.trade_id, None) == trade.side:
            self._took.add(trade.side)
            self._state = None
        _keep(self._takers, trade.trade_id, trade.side)

    def on_end(self, order: EndedOrder) -> None:
        """Take note that what was left of the order may be seen for a while yet."""
        if order.price is not None:
            self._haunt(order.side, order.price, subtract(order.quantity, order.executed))

    def _haunt(self, side: Side, price: Decimal, quantity: Decimal) -> None:
        market = self._market
        ticks = market.price_to_ticks(market.round_price(price, "floor"))  # an average has no tick
        lots = market.quantity_to_lots(quantity)
        self._ghosts.append((side, ticks, lots, 0))
        self._seen = ()

    def state(self) -> dict[str, Any]:
        """Return which sides rest, and until when. What is owned is the venue's word."""
        if self._state is None:
            self._state = {
                "rests_until_ms": dict(self._rests_until_ms),
                "took": sorted(self._took),
            }
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self._rests_until_ms = dict(state["rests_until_ms"])
        self._took = set(state["took"])
        self._state = None
        self._seen = ()

    # The book without us -----------------------------------------------------------------------

    def _best_of_others(
        self, book: "OrderBook", side: Side, orders: Mapping[str, LiveOrder], now_ms: int
    ) -> int | None:
        """Return the ticks of the best price of others on a side."""
        best = book.best_bid if side == "buy" else book.best_ask
        if best is None:
            return None
        own: dict[int, int] = {}
        for order in orders.values():
            if order.side == side and order.price:
                ticks = self._market.price_to_ticks(order.price)
                own[ticks] = own.get(ticks, 0) + self._market.quantity_to_lots(order.remaining)
        for index, (ghost_side, ticks, lots, until_ms) in enumerate(self._ghosts):
            if not until_ms:
                until_ms = now_ms + _GHOST_MS
                self._ghosts[index] = (ghost_side, ticks, lots, until_ms)
            if ghost_side == side and now_ms < until_ms:
                own[ticks] = own.get(ticks, 0) + lots
        if best[0] not in own or best[1] > own[best[0]]:
            return best[0]
        bids, asks = book.depth(len(own) + 1)
        for ticks, lots in (bids if side == "buy" else asks).tolist():
            if lots > own.get(ticks, 0):
                return int(ticks)
        return None

    # Both sides --------------------------------------------------------------------------------

    def _quotes(
        self, bid: int | None, ask: int | None, view: MarketView, skips: list[Skip]
    ) -> tuple[dict[str, Quote], list[int]]:
        """Return the quotes, and the times at which they may change without any news."""
        if view.book.state != "live" or bid is None or ask is None or bid >= ask:
            skips.append(Skip("NO_PRICE", f"the book is {view.book.state}, or a side is missing"))
            return {}, []
        market, steps = self._market, self._steps
        best_bid, best_ask = market.ticks_to_price(bid), market.ticks_to_price(ask)
        base = view.total.get(market.base, ZERO)
        quote = view.total.get(market.quote, ZERO)
        prices = quote_prices(best_bid, best_ask, base, quote, self.settings, steps)
        if isinstance(prices, Skip):
            skips.append(prices)
            return {}, []
        live: dict[Side, LiveOrder | None] = {side: view.orders.get(side) for side in _SIDES}
        buy, sell = prices.buy, prices.sell
        # A quote may not meet the other one, which may be about to go and is not gone yet.
        if live["sell"] is not None:
            buy = min(buy, subtract(live["sell"].price, steps.tick))
        if live["buy"] is not None:
            sell = max(sell, add(live["buy"].price, steps.tick))
        if buy <= 0:
            skips.append(Skip("NO_PRICE", f"a bid at {plain(buy)}"))
            return {}, []
        base, quote = (
            self._usable(view, market.base, live["sell"]),
            self._usable(view, market.quote, live["buy"]),
        )
        sizes = quote_sizes(buy, sell, base, quote, self.settings, steps)
        quotes: dict[str, Quote] = {}
        again: list[int] = []
        for side, price, quantity in zip(_SIDES, (buy, sell), sizes, strict=True):
            made = self._side(side, price, quantity, live[side], view.now_ms, skips)
            if isinstance(made, Quote):
                quotes[side] = made
            again += self._changes_at(made, price, quantity, live[side], view.now_ms)
        return quotes, again

    def _usable(self, view: MarketView, asset: str, live: LiveOrder | None) -> Decimal:
        """Return what a quote may use: what is free, and what the one in its place holds."""
        if not view.total:
            return _PLENTY  # to one who only looks nobody tells what there is
        free = view.available.get(asset, ZERO)
        if live is None:
            return free
        if live.side == "sell":
            return add(free, live.remaining)
        fee = max(self._market.maker_fee, self._market.taker_fee, ZERO)
        return add(free, multiply(multiply(live.price, live.remaining), add(ONE, fee)))

    def _side(
        self,
        side: Side,
        price: Decimal,
        quantity: Decimal,
        live: LiveOrder | None,
        now_ms: int,
        skips: list[Skip],
    ) -> Quote | int | None:
        """Return the quote of a side, None where there is to be none, or until when."""
        until_ms = self._rests_until_ms.get(side, 0)
        if now_ms < until_ms <= now_ms + self.settings.taker_cooldown_s * _MS:
            skips.append(Skip("COOLING_DOWN", f"{side}: its last quote traded at once"))
            return until_ms
        if live is not None and not self._is_to_move(live, price, quantity, now_ms):
            return Quote(side, live.price, live.remaining, post_only=self.settings.post_only)
        if not quantity:
            skips.append(Skip("SHORTAGE", f"{side} at {plain(price)}: less than a minimum is free"))
            return None
        return Quote(side, price, quantity, post_only=self.settings.post_only)

    def _is_to_move(self, live: LiveOrder, price: Decimal, quantity: Decimal, now_ms: int) -> bool:
        age_ms = now_ms - live.placed_ms
        if age_ms >= self.settings.max_order_age_s * _MS or age_ms < 0:
            return live.price != price or live.remaining != quantity
        is_off = subtract(price, live.price).copy_abs() >= self._reprice
        return is_off and age_ms >= self.settings.min_quote_life_ms

    def _changes_at(
        self,
        made: Quote | int | None,
        price: Decimal,
        quantity: Decimal,
        live: LiveOrder | None,
        now_ms: int,
    ) -> list[int]:
        """Return when a side may change although nothing happens."""
        if isinstance(made, int):
            return [made]
        if live is None or (live.price == price and live.remaining == quantity):
            return []
        ages_ms = (self.settings.min_quote_life_ms, self.settings.max_order_age_s * _MS)
        times = (live.placed_ms + age_ms for age_ms in ages_ms)
        return [time_ms for time_ms in times if time_ms > now_ms]

    def _note_taking(self, now_ms: int) -> None:
        for side in self._took:
            self._rests_until_ms[side] = now_ms + self.settings.taker_cooldown_s * _MS
            self._state = None
        self._took.clear()

    def _say(self, quotes: dict[str, Quote], skips: list[Skip], again_at_ms: int | None) -> None:
        """Say why not when that changes, not as often as a price does."""
        codes = frozenset(skip.code for skip in skips)
        is_same = quotes == self._desired.quotes and again_at_ms == self._desired.again_at_ms
        if not is_same or codes != self._codes or self._said:
            told = tuple(skips) if codes != self._codes else ()
            told, self._said = (*told, *self._said), []
            self._desired = Desired(quotes, told, again_at_ms)
            self._codes = codes


def _keep(known: dict[str, Side], trade_id: str, side: Side) -> None:
    known[trade_id] = side
    if len(known) > _TRADES_KEPT:
        del known[next(iter(known))]
