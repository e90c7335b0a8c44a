"""From wish to orders: the difference between what is desired and what is live, nothing else.

To replace an order is to cancel it, to wait for its end, and to place the new one at the next
decision: one slot never has two live orders.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from nkfast.errors import RiskError
from nkfast.trading.exact import plain, subtract
from nkfast.trading.gate import Intent, OrderGate
from nkfast.trading.orders import Order, OrderStore
from nkfast.trading.strategy import Desired, Quote
from nkfast.venue.port import OrderType

if TYPE_CHECKING:
    from nkfast.trading.ledger import Ledger
    from nkfast.trading.reasons import Reasons
    from nkfast.venue.clock import Clock

__all__ = ["Executor"]

_NS = 1_000_000_000
_NS_PER_MS = 1_000_000
#: A strategy that wants to be asked again at once is asked again after this long.
_AGAIN_MIN_MS = 10
_MS_PER_DAY = 86_400_000
#: A slot whose order our own limits refused is tried again after this long, or when orders or
#: balances have changed.
_REFUSAL_PAUSE_S = 1.0
#: A slot whose order the venue rejected waits twice as long each time.
_REJECTION_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)


class Executor:
    """Makes the resting orders be as the strategy desires.

    Parameters
    ----------
    gate : OrderGate
        The way out.
    clock, loop, orders, ledger, reasons
        What it works with.
    symbol : str
        The home market.
    sends : bool
        False in monitor mode: what would be sent is counted and said.
    decide_afresh : callable
        Is called when a slot that had to wait may be tried again, or an order is too old.
    decide_soon : callable
        Is called when the time has come that a strategy asked for.

    Attributes
    ----------
    desired : Desired or None
        The newest wish.
    is_draining : bool
        Whether only what reduces the position is placed. Change it by `set_draining`.
    is_idle : bool
        Whether the last comparison left nothing resting and nothing that could be placed.
    """

    def __init__(
        self,
        *,
        gate: OrderGate,
        clock: "Clock",
        loop: asyncio.AbstractEventLoop,
        orders: OrderStore,
        ledger: "Ledger",
        reasons: "Reasons",
        symbol: str,
        sends: bool,
        decide_afresh: Callable[[], None],
        decide_soon: Callable[[], None],
    ) -> None:
        self.desired: Desired | None = None
        self.is_draining = False
        self.is_idle = False
        self._has_begun_to_drain = False
        self._gate = gate
        self._clock = clock
        self._loop = loop
        self._orders = orders
        self._ledger = ledger
        self._reasons = reasons
        self._symbol = symbol
        self._sends = sends
        self._decide_afresh = decide_afresh
        self._decide_soon = decide_soon
        self._refused_until: dict[str, int] = {}
        self._too_small: set[str] = set()  # slots refused for what no time changes: dust
        self._rejected_until: dict[str, tuple[int, int]] = {}  # until, how often
        self._made_so: tuple[Desired | None, int, int] = (None, -1, -1)
        self._would_take: set[str] = set()  # slots refused for where the touch was
        self._wake_timer: asyncio.TimerHandle | None = None
        self._again_at_ms: int | None = None
        self._again_timer: asyncio.TimerHandle | None = None

    def make_so(self, desired: Desired, event_ns: int = 0) -> None:
        """Send the difference between what is desired and what is live, cancels first."""
        before, orders_version, ledger_version = self._made_so
        if (
            desired is before
            and orders_version == self._orders.version
            and ledger_version == self._ledger.version
        ):
            return
        is_new = desired is not self.desired
        if is_new:
            self.desired = desired
            for skip in desired.skips:
                self._reasons.count(skip.code, skip.detail)
            while self._would_take:  # another price, perhaps
                self._refused_until.pop(self._would_take.pop(), None)
            if desired.again_at_ms != self._again_at_ms:
                self._ask_again_at(desired.again_at_ms)
        self._gate.gather()
        try:
            self._send_difference(desired, event_ns, is_new=is_new)
        finally:
            self._gate.release()
        self._made_so = (desired, self._orders.version, self._ledger.version)

    def _send_difference(self, desired: Desired, event_ns: int, *, is_new: bool) -> None:
        quotes = desired.quotes
        if self.is_draining:
            quotes = self._reducing(desired.quotes, is_new=is_new or self._has_begun_to_drain)
            self._has_begun_to_drain = False
        now_ns = self._clock.monotonic_ns()
        wake_ns = too_small = placed = 0
        for slot, order in list(self._orders.open_by_slot.items()):
            quote = quotes.get(slot)
            if quote is None or not self._is_as_desired(order, quote):
                self._gate.cancel(order)
            elif quote.good_for_ms is not None:
                left_ns = self._left_ns(order, quote.good_for_ms)
                if left_ns <= 0:
                    self._gate.cancel(order)
                elif not wake_ns or now_ns + left_ns < wake_ns:
                    wake_ns = now_ns + left_ns
        for zombie in self._orders.zombies:
            self._gate.cancel(zombie)
        may_wait = self._rejected_until or self._refused_until or self._gate.waits_until_ns
        for slot, quote in quotes.items():
            if not self._gate.is_open:
                return
            if self._orders.at_slot(slot) is not None:
                continue
            until_ns = self._waits_until_ns(slot) if may_wait else 0
            if until_ns <= now_ns:
                until_ns = self._place(slot, quote, event_ns, is_new=is_new)
                placed += not until_ns
            if slot in self._too_small:
                too_small += 1
            if until_ns and (not wake_ns or until_ns < wake_ns):
                wake_ns = until_ns
        self.is_idle = not (placed or self._orders.open_count) and too_small == len(quotes)
        if wake_ns:
            self._wake_at(wake_ns, now_ns)

    def forget_refusals(self) -> None:
        """Try what our own limits refused again: something has changed."""
        self._refused_until.clear()

    def forget_comparison(self) -> None:
        """Compare with what is live at the next wish even if neither has changed."""
        self._made_so = (None, -1, -1)

    def set_draining(self, is_draining: bool) -> None:
        """Begin or end to place only what reduces the position."""
        self._has_begun_to_drain = is_draining and not self.is_draining
        self.is_draining = is_draining
        self.is_idle = False
        self.forget_comparison()

    def note_accepted(self, slot: str) -> None:
        """End the doubling of a slot's pauses."""
        self._rejected_until.pop(slot, None)

    def note_rejected(self, slot: str) -> None:
        """Let a slot wait, longer each time."""
        _, times = self._rejected_until.get(slot, (0, 0))
        pause_s = _REJECTION_PAUSES_S[min(times, len(_REJECTION_PAUSES_S) - 1)]
        until_ns = self._clock.monotonic_ns() + int(pause_s * _NS)
        self._rejected_until[slot] = (until_ns, times + 1)

    def note_clock_set(self) -> None:
        """Find out anew when the strategy wants to be asked: the Unix clock was set."""
        self._ask_again_at(self._again_at_ms)

    def stop(self) -> None:
        """Wake up no more."""
        self._wake_never()
        self._ask_again_at(None)

    def _reducing(self, quotes: Mapping[str, Quote], *, is_new: bool) -> dict[str, Quote]:
        """Return the quotes that bring the position nearer to zero, and no further."""
        left = {symbol: profit.position for symbol, profit in self._ledger.profits.items()}
        kept = {}
        for slot, quote in quotes.items():
            symbol = quote.symbol or self._symbol
            position = left[symbol]
            is_opposite = (position > 0) is (quote.side == "sell")
            if is_opposite and quote.quantity <= position.copy_abs():
                kept[slot] = quote
                signed = quote.quantity if position > 0 else quote.quantity.copy_negate()
                left[symbol] = subtract(position, signed)
            elif is_new:
                what = f"{quote.side} {plain(quote.quantity)} {symbol}"
                self._reasons.count("DRAINING", f"{slot}: {what} against {plain(position)} owned")
        return kept

    def _waits_until_ns(self, slot: str) -> int:
        until, _ = self._rejected_until.get(slot, (0, 0))
        return max(until, self._refused_until.get(slot, 0), self._gate.waits_until_ns)

    def _place(self, slot: str, quote: Quote, event_ns: int, *, is_new: bool) -> int:
        """Send one order; return 0, or until when the slot has to wait."""
        symbol = quote.symbol or self._symbol
        price = quote.price
        kind: OrderType = "limit" if price is not None else "market"
        intent = Intent(slot, symbol, quote.side, quote.quantity, price, kind, quote.post_only)
        self._too_small.discard(slot)
        try:
            if self._sends:
                self._gate.send(intent, event_ns, stores_state=is_new)
                return 0
            self._gate.check(intent)
        except RiskError as refusal:
            self._reasons.count(refusal.code, f"{slot}: {refusal.value} against {refusal.limit}")
            until_ns = self._clock.monotonic_ns() + int(_REFUSAL_PAUSE_S * _NS)
            self._refused_until[slot] = until_ns
            if refusal.code == "BELOW_MINIMUM":
                self._too_small.add(slot)
            elif refusal.code == "WOULD_TAKE":
                self._would_take.add(slot)
            return until_ns
        if is_new:
            at = "the market" if price is None else plain(price)
            what = f"{quote.side} {plain(quote.quantity)} at {at}"
            self._reasons.count("MONITOR", f"{slot}: would {what}")
        return 0

    def _left_ns(self, order: Order, good_for_ms: int) -> int:
        """Return for how long an order is good, by the clock that strategies see."""
        return (order.sent_ms + good_for_ms) * _NS_PER_MS - self._clock.time_ns()

    def _ask_again_at(self, time_ms: int | None) -> None:
        self._again_at_ms = time_ms
        if self._again_timer is not None:
            self._again_timer.cancel()
            self._again_timer = None
        if time_ms is not None:
            wait_ms = max(time_ms - self._clock.time_ns() // _NS_PER_MS, _AGAIN_MIN_MS)
            wait_ms = min(wait_ms, _MS_PER_DAY)  # and then it is looked how long is left
            self._again_timer = self._loop.call_later(wait_ms / 1000, self._on_again)

    def _on_again(self) -> None:
        self._again_timer = None
        time_ms, self._again_at_ms = self._again_at_ms, None
        if time_ms is not None and self._clock.time_ns() // _NS_PER_MS < time_ms:
            self._ask_again_at(time_ms)  # the two clocks do not run at the same speed
        else:
            self._decide_soon()

    def _wake_never(self) -> None:
        if self._wake_timer is not None:
            self._wake_timer.cancel()
            self._wake_timer = None

    def _wake_at(self, wake_ns: int, now_ns: int) -> None:
        self._wake_never()
        self._wake_timer = self._loop.call_later((wake_ns - now_ns) / _NS, self._on_wake)

    def _on_wake(self) -> None:
        self._wake_timer = None
        self._decide_afresh()

    def _is_as_desired(self, order: Order, quote: Quote) -> bool:
        # Against what the strategy was told: between a report and its fill the two must not differ.
        return (
            order.side == quote.side
            and order.price == quote.price
            and order.symbol == (quote.symbol or self._symbol)
            and subtract(order.quantity, order.filled) == quote.quantity
        )
