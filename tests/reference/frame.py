"""What FrameDecoder does, the slow and obvious way: json, Decimal, dict."""

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal, localcontext
from typing import Any

from reference.book import Level, ReferenceBook

from nkfast.core.frame import FrameKind
from nkfast.core.market import Market

DEPTH_MAX = 256
NUMBER_CHARACTERS_MAX = 128
OLD_STREAK_MAX = 100
TRADES_MAX = 4096
INT64_MAX = 2**63 - 1
Params = dict[str, Any]
Result = tuple[FrameKind, bool]
METHODS = {
    "snapshotOrderbook": "on_book",
    "updateOrderbook": "on_book",
    "snapshotTrades": "on_trades",
    "updateTrades": "on_trades",
    "ticker": "on_ticker",
}


class Rejected(Exception):
    """With the reason, as counted."""


class Number(str):
    """The spelling of a JSON number."""


def no_constant(name: str) -> None:
    raise ValueError(name)


def depth_of(value: Any) -> int:
    depth, layer = 0, [value]
    while any(isinstance(item, dict | list) for item in layer):
        depth += 1
        layer = [
            inner
            for item in layer
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def parse(frame: bytes) -> Any:
    try:
        text = frame.decode("utf-8")
        value = json.loads(text, parse_float=Number, parse_int=Number, parse_constant=no_constant)
    except ValueError as error:
        raise Rejected("json") from error
    except RecursionError as error:
        raise Rejected("depth") from error
    if depth_of(value) > DEPTH_MAX:
        raise Rejected("depth")
    return value


def amount(value: Any, decimals: int, reason: str, *, cut: bool) -> tuple[int, bool]:
    """A non-negative number in units of 10**-decimals, and whether digits were cut off."""
    if not isinstance(value, str) or len(value) > NUMBER_CHARACTERS_MAX:
        raise Rejected(reason)
    pattern = r"[0-9.eE+-]+" if isinstance(value, Number) else r"[0-9]+\.?[0-9]*|\.[0-9]+"
    if not re.fullmatch(pattern, value) or value.startswith("-"):
        raise Rejected(reason)
    mantissa, _, exponent = value.lower().partition("e")
    exponent = max(-1000, min(1000, int(exponent or 0)))
    with localcontext(prec=3000):
        exact = Decimal(mantissa).scaleb(exponent + decimals)
        whole = exact.to_integral_value(ROUND_DOWN)
    if whole > INT64_MAX or (whole != exact and not cut):
        raise Rejected(reason)
    return int(whole), whole != exact


def price(value: Any, market: Market) -> int:
    ticks, _ = amount(value, market.price_decimals, "price", cut=False)
    if ticks == 0:
        raise Rejected("price")
    return ticks


def whole_number(value: Any) -> int | None:
    if not isinstance(value, str) or not re.fullmatch("[0-9]{1,128}", value):
        return None
    return int(value) if int(value) <= INT64_MAX else None


def time_ms(value: Any) -> int | None:
    number = whole_number(value)
    if number is not None or not isinstance(value, str):
        return number
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", value, re.ASCII):
        return None
    if value[11:13] == "24":  # the end of a day, which Python knows since 3.14
        return None
    seconds, _, fraction = value.removesuffix("Z").partition(".")
    try:
        moment = datetime.fromisoformat(seconds).replace(tzinfo=UTC)
    except ValueError:
        return None
    if moment.year < 1970:
        return None
    return int(moment.timestamp()) * 1000 + int(fraction[:3].ljust(3, "0"))


@dataclass
class Channel:
    market: Market
    book: ReferenceBook
    held: dict[int, tuple[list[Level], list[Level], int]] = field(default_factory=dict)
    old_streak: int = 0


class ReferenceDecoder:
    def __init__(
        self,
        markets: list[Market],
        reorder_limit: int = 50,
        reorder_window_ns: int = 2_000_000_000,
        capacity: int = 65_536,
        max_frame_bytes: int = 16_777_216,
    ) -> None:
        self.indices = {market.symbol: i for i, market in enumerate(markets)}
        self.channels = [Channel(market, ReferenceBook(capacity)) for market in markets]
        self.reorder_limit = reorder_limit
        self.reorder_window_ns = reorder_window_ns
        self.capacity = capacity
        self.max_frame_bytes = max_frame_bytes
        self.truncated = 0
        self.reason: str | None = None
        self.trades: list[tuple[Any, ...]] = []
        self.tickers: dict[str, tuple[Any, ...]] = {}

    def book(self, symbol: str) -> ReferenceBook:
        return self.channels[self.indices[symbol]].book

    def feed(self, frame: bytes, now_ns: int = 0) -> tuple[FrameKind, int, bool]:
        self.reason, self.trades, index = None, [], -1
        try:
            if len(frame) > self.max_frame_bytes:
                raise Rejected("too_large")
            message = parse(frame)
            method = message.get("method") if isinstance(message, dict) else None
            if not isinstance(method, str) or isinstance(method, Number):
                return FrameKind.OTHER, -1, False
            if method not in METHODS:
                return FrameKind.OTHER, -1, False
            params = message.get("params")
            if not isinstance(params, dict):
                raise Rejected("shape")
            symbol = params.get("symbol")
            if not isinstance(symbol, str) or isinstance(symbol, Number):
                raise Rejected("shape")
            if symbol not in self.indices:
                return FrameKind.UNKNOWN_MARKET, -1, False
            index = self.indices[symbol]
            kind, top_changed = getattr(self, METHODS[method])(
                self.channels[index], params, method, now_ns
            )
        except Rejected as error:
            self.reason = str(error)
            return FrameKind.REJECTED, index, False
        return kind, index, top_changed

    def levels(self, market: Market, array: list[Any]) -> tuple[list[Level], int]:
        result, truncated = [], 0
        for item in array:
            if not isinstance(item, dict) or not {"price", "quantity"} <= item.keys():
                raise Rejected("shape")
            if len(result) == self.capacity:
                raise Rejected("full")
            ticks = price(item["price"], market)
            lots, cut = amount(item["quantity"], market.quantity_decimals, "quantity", cut=True)
            result.append((ticks, lots))
            truncated += cut
        return result, truncated

    def on_book(self, channel: Channel, params: Params, method: str, now_ns: int) -> Result:
        if "sequence" not in params or not all(
            isinstance(params.get(side), list) for side in ("asks", "bids")
        ):
            raise Rejected("shape")
        sequence = whole_number(params["sequence"])
        if sequence is None:
            raise Rejected("sequence")
        asks, cut_asks = self.levels(channel.market, params["asks"])
        bids, cut_bids = self.levels(channel.market, params["bids"])
        if method == "snapshotOrderbook":
            result = self.snapshot(channel, bids, asks, sequence, now_ns)
        else:
            result = self.update(channel, bids, asks, sequence, now_ns)
        self.truncated += cut_asks + cut_bids
        return result

    def snapshot(
        self, channel: Channel, bids: list[Level], asks: list[Level], sequence: int, now_ns: int
    ) -> Result:
        top_changed = channel.book.snapshot(bids, asks, sequence)
        if top_changed is None:
            raise Rejected("full")
        channel.old_streak = 0
        result = self.apply_held(channel, FrameKind.SNAPSHOT, top_changed)
        channel.held = {key: (*levels, now_ns) for key, (*levels, _) in channel.held.items()}
        return result

    def update(
        self, channel: Channel, bids: list[Level], asks: list[Level], sequence: int, now_ns: int
    ) -> Result:
        book = channel.book
        if book.state != "live":
            return self.hold(channel, (bids, asks, now_ns), sequence, FrameKind.STALE), False
        if sequence == book.sequence + 1:
            top_changed = book.update(bids, asks, sequence)
            if top_changed is None:
                raise Rejected("full")
            channel.old_streak = 0
            return self.apply_held(channel, FrameKind.UPDATE, top_changed)
        if sequence <= book.sequence:
            channel.old_streak += 1
            if channel.old_streak <= OLD_STREAK_MAX:
                return FrameKind.DUPLICATE, False
            channel.old_streak = 0
            book.state = "stale"
            return FrameKind.GAP, False
        is_over = self.waited_too_long(channel, now_ns) or len(channel.held) == self.reorder_limit
        kind = self.hold(channel, (bids, asks, now_ns), sequence, FrameKind.HELD)
        if is_over:
            book.state = "stale"
            return FrameKind.GAP, False
        return kind, False

    def hold(
        self,
        channel: Channel,
        update: tuple[list[Level], list[Level], int],
        sequence: int,
        kind: FrameKind,
    ) -> FrameKind:
        if sequence in channel.held:
            return FrameKind.DUPLICATE
        channel.held[sequence] = update
        if len(channel.held) > self.reorder_limit:
            del channel.held[min(channel.held)]
        return kind

    def apply_held(self, channel: Channel, kind: FrameKind, top_changed: bool) -> Result:
        book = channel.book
        for sequence in sorted(channel.held):
            if sequence > book.sequence + 1:
                break
            bids, asks, _ = channel.held.pop(sequence)
            if sequence <= book.sequence:
                continue
            changed = book.update(bids, asks, sequence)
            if changed is None:
                book.state = "stale"
                return FrameKind.GAP, top_changed
            top_changed |= changed
        return kind, top_changed

    def waited_too_long(self, channel: Channel, now_ns: int) -> bool:
        return any(
            now_ns - received_ns > self.reorder_window_ns
            for _, _, received_ns in channel.held.values()
        )

    def on_trades(self, channel: Channel, params: Params, method: str, now_ns: int) -> Result:
        if not isinstance(params.get("data"), list):
            raise Rejected("shape")
        self.optional_sequence(params)
        trades, truncated = [], 0
        for item in params["data"]:
            if len(trades) == TRADES_MAX:
                raise Rejected("full")
            trade, cut = self.trade(channel.market, item)
            trades.append(trade)
            truncated += cut
        self.trades = trades
        self.truncated += truncated
        return FrameKind.TRADES, False

    def trade(self, market: Market, item: Any) -> tuple[tuple[Any, ...], bool]:
        if not isinstance(item, dict):
            raise Rejected("shape")
        trade_id, side = item.get("id"), item.get("side")
        if not isinstance(trade_id, str) or not trade_id or len(utf8(trade_id)) > 64:
            raise Rejected("shape")
        if isinstance(trade_id, Number) and not trade_id.isdigit():
            raise Rejected("shape")
        if not isinstance(side, str) or side.lower() not in {"buy", "sell"} or not side.isascii():
            raise Rejected("shape")
        if not {"price", "quantity"} <= item.keys():
            raise Rejected("shape")
        ticks = price(item["price"], market)
        lots, cut = amount(item["quantity"], market.quantity_decimals, "quantity", cut=True)
        moment = time_ms(item.get("timestampms"))
        if moment is None:
            moment = time_ms(item.get("timestamp"))
        return (str(trade_id), ticks, lots, side.lower(), moment), cut

    def optional_sequence(self, params: Params) -> int | None:
        sequence = params.get("sequence")
        if sequence is None:
            return None
        if whole_number(sequence) is None:
            raise Rejected("sequence")
        return whole_number(sequence)

    def on_ticker(self, channel: Channel, params: Params, method: str, now_ns: int) -> Result:
        market = channel.market
        sequence = self.optional_sequence(params)
        prices = [
            None
            if params.get(name) is None or params[name] == ""
            else amount(params[name], market.price_decimals, "price", cut=False)[0] or None
            for name in ("lastPrice", "bestBid", "bestAsk", "highPrice", "lowPrice")
        ]
        try:
            volume, _ = amount(params.get("volume"), market.quantity_decimals, "", cut=True)
        except Rejected:
            volume = None
        self.tickers[market.symbol] = (*prices, volume, sequence, time_ms(params.get("updatedAt")))
        return FrameKind.TICKER, False


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
