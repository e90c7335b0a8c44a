"""Tells in words what a running engine does: orders, fills, its life, and why it does not."""

from decimal import Decimal

from nkfast.app.logs import say
from nkfast.trading.engine import Engine
from nkfast.trading.exact import plain
from nkfast.trading.orders import Order

__all__ = ["Narrator", "priced"]

#: A reason that is counted again and again is told again after so many seconds.
_REASON_S = 60.0


class Narrator:
    """Compares an engine with how it was at the last look, and says what is new.

    Parameters
    ----------
    engine : Engine
        Started.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._life = ""
        self._open: dict[str, Order] = {}
        self._wished: frozenset[tuple[str, str]] = frozenset()
        self._fill_count = 0
        self._told: dict[str, tuple[float, int]] = {}  # reasons: when, and how often by then

    def look(self, elapsed_s: float) -> None:
        """Say what is new."""
        engine = self._engine
        state = f"{engine.life}: {engine.halted or engine.life_reason}"
        if state != self._life:
            self._life = state
            say("life", state, state=str(engine.life), reason=engine.halted or engine.life_reason)
        self._tell_orders()
        self._tell_fills()
        self._tell_reasons(elapsed_s)

    def status(self, elapsed_s: float) -> None:
        """Say where the engine stands."""
        summary = self._engine.summary()
        record = summary.as_json()
        say(
            "status",
            f"{elapsed_s:.0f} s: {summary.orders} orders, {summary.open_orders} open,"
            f" {summary.fills} fills, realized {plain(summary.realized)}",
            **{
                name: record[name]
                for name in ("orders", "open_orders", "fills", "realized", "equity_change")
            },
        )

    def _tell_orders(self) -> None:
        engine = self._engine
        if engine.mode == "monitor":
            self._tell_wishes()
            return
        now = {order.client_id: order for order in engine.orders.open_orders}
        for client_id, order in now.items():
            if client_id not in self._open:
                say("order", f"{_described(order)}", state=str(order.state), cid=client_id)
        for client_id, order in self._open.items():
            if client_id not in now and order.remaining:
                text = f"{order.state}: {_described(order)}"
                say("order", text, state=str(order.state), cid=client_id)
        self._open = now

    def _tell_wishes(self) -> None:
        desired = self._engine.desired
        wishes = {
            (slot, f"{quote.side} {plain(quote.quantity)} at {priced(quote.price)}")
            for slot, quote in (desired.quotes.items() if desired is not None else ())
        }
        for slot, text in sorted(wishes - self._wished):
            say("would", f"{text}, {slot}", slot=slot)
        self._wished = frozenset(wishes)

    def _tell_fills(self) -> None:
        engine = self._engine
        summary = engine.summary()
        count, realized = summary.fills, plain(summary.realized)
        new = min(count - self._fill_count, len(engine.recent_fills))
        self._fill_count = count
        for fill in list(engine.recent_fills)[len(engine.recent_fills) - new :]:
            fee = "fee unknown yet" if fill.fee is None else f"fee {plain(fill.fee)}"
            say(
                "fill",
                f"{fill.side} {plain(fill.quantity)} {fill.symbol} at {plain(fill.price)},"
                f" {fee} {fill.fee_asset}, realized {realized} so far",
                symbol=fill.symbol,
                side=fill.side,
                price=plain(fill.price),
                quantity=plain(fill.quantity),
                fee=None if fill.fee is None else plain(fill.fee),
                fee_asset=fill.fee_asset,
                realized=realized,
                tid=fill.trade_id,
            )

    def _tell_reasons(self, elapsed_s: float) -> None:
        for code, count in self._engine.reasons.items():
            if code == "MONITOR":  # told as a wish
                continue
            told_s, told = self._told.get(code, (-_REASON_S, 0))
            if count == told or elapsed_s - told_s < _REASON_S:
                continue
            self._told[code] = elapsed_s, count
            times = f", {count - told} times" if count - told > 1 else ""
            detail = self._engine.reason_details.get(code, "")
            say("why", f"{code}{times}: {detail}", reason=code, count=count)


def _described(order: Order) -> str:
    price = priced(order.price)
    return f"{order.side} {plain(order.quantity)} {order.symbol} at {price}, {order.slot}"


def priced(price: Decimal | None) -> str:
    """Return a price in words; an order without one takes the market's."""
    return "the market" if price is None else plain(price)
