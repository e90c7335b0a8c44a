"""Notices trades of the account with itself, by what the venue tells of both sides.

Instances of one process see each other's orders from their intents on, and never meet. Those of
other processes, and a person's, are known from the venue's reports, a moment later: two that decide
on the same frame can still meet. Once is bad luck; again and again is a loop that pays fees.
"""

from collections import OrderedDict

from nkfast.trading.life import ErrorBudget

__all__ = ["SelfTrades"]

#: Trades whose other side may still be told.
_TRADES_KEPT = 1_000
#: So many are put up with in a minute.
_MOST = 2
_WINDOW_NS = 60_000_000_000


class SelfTrades:
    """Remembers which trades had a side of ours, and which a side of somebody else's here.

    Attributes
    ----------
    count : int
        Trades of the account with itself that had a side of this instance.
    """

    def __init__(self) -> None:
        self.count = 0
        # By trade id: whether the side that was told is ours; None when both sides were.
        self._sides: OrderedDict[str, bool | None] = OrderedDict()
        self._budget = ErrorBudget(_MOST, _WINDOW_NS)

    def note(self, trade_id: str, *, is_ours: bool) -> bool:
        """Take note of one side of a trade; return whether the other side was the account's too."""
        other = self._sides.setdefault(trade_id, is_ours)
        if len(self._sides) > _TRADES_KEPT:
            self._sides.popitem(last=False)
        if other is None or other is is_ours:
            return False  # told before
        self._sides[trade_id] = None
        self.count += 1
        return True

    def are_too_many(self, now_ns: int) -> bool:
        """Count one; return whether they are more than bad luck."""
        return not self._budget.spend(now_ns)
