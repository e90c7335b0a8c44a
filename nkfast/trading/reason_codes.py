"""What the engine's reason codes mean. A code never changes its meaning; strategies have their own.

A code names an action that was considered and not taken, an oddity, or what halted trading; the
numbers that led to it are counted with it (`nkfast.trading.reasons`).
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["MEANINGS", "meaning_of"]

#: By code, in the order of an order's way: decided, checked, sent, answered, looked up, ended.
MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        # Nothing is decided
        "DISCONNECTED": "the venue cannot be reached, or its reports not be trusted",
        "RECONCILING": "the venue's books are compared with ours before anything is decided",
        "BOOK_NOT_LIVE": "no book is live, or the one that an order is for is not",
        "BOOK_DRIFT": "a streamed book differs from what the venue shows, or is crossed",
        "TIME_LOST": "nothing ran for a while: the machine slept or the process was stopped",
        "CLOCK_SET": "the machine's clock was set",
        "SLOW_CALLBACK": "the strategy took longer than it may; nothing else happened meanwhile",
        # Decided, and not sent
        "MONITOR": "what would be sent, in monitor mode",
        "DRAINING": "it does not reduce the position, and only that is done while draining",
        "GATE_CLOSED": "the order gate is closed: the engine stops or is halted",
        "NOT_WATCHED": "a market that the engine was not given",
        "BOOK_TOO_OLD": "the newest frame of the book is older than the limit",
        "BOOK_CROSSED": "the best bid is not below the best ask",
        "MARKET_PAUSED": "the market, or this side of it, is paused or not listed",
        "ORDER_TYPE": "the market takes no market orders",
        "OFF_GRID": "price or quantity are not on the market's ticks and lots, or not above 0",
        "BELOW_MINIMUM": "less than the market's minimum quantity or notional",
        "WOULD_TAKE": "it would trade at once, and is post_only",
        "MAX_ORDER_NOTIONAL": "the order is larger than the limit",
        "PRICE_COLLAR": "too far from the middle or the last trade, or there is neither",
        "MAX_UNKNOWN_ORDERS": "too many orders have an outcome that is not known",
        "MAX_OPEN_ORDERS": "too many orders are open",
        "ORDER_RATE": "too many orders within sixty seconds",
        "MAX_REPEATS": "the same order too often within sixty seconds",
        "MAX_DAILY_ORDERS": "too many orders since midnight UTC",
        "MAX_DAILY_NOTIONAL": "too much notional since midnight UTC",
        "SELF_CROSS": "it would trade with an order of this account",
        "ACCOUNT_RATE": "all processes of the account together have sent as many as they may",
        "MAX_POSITION": "with what is open, the account would own more of an asset than the limit",
        "INSUFFICIENT_BALANCE": "more than is free, less the floor that is to stay free",
        # Plans
        "PLAN_RETURN": "on the books as they are the legs fetch too little",
        "PLAN_WAY_BACK": "going back after a leg would cost more than the limit",
        "PLAN_DEPTH": "what rests opposite is less than the market's minimum",
        "PLAN_LEG_SHORT": "a leg was filled by less than the plan asks for; it is broken off",
        "PLAN_LEG": "what a leg was to fetch, and what it did fetch",
        "PLAN_DONE": "every leg was taken",
        "PLAN_MISSED": "nothing was traded",
        "PLAN_UNWOUND": "a plan was broken off, and what could be traded was brought back",
        "PLAN_HELD": "a plan was broken off, and is left so on purpose",
        "PLAN_RECOVERED": "the run before left a plan; it is brought back",
        "PLAN_UNRESOLVED": "a plan is left to the next start, or there is no way back (halts)",
        "PLAN_FAILURES": "too many plans in a row were broken off (halts)",
        # Sent, and answered
        "REJECTED": "the venue refused; REJECTED_ with its code where it gave one",
        "ANSWER_MISMATCH": "an answer told of another order than the one that was sent",
        "OUTCOME_UNKNOWN": "the answer to an order was lost; it is looked up, never sent again",
        "CANCEL_UNKNOWN": "the answer to a cancel was lost",
        "UNKNOWN_STATUS": "the venue said a word that is not known; the order is taken for open",
        # Looked up
        "FOREIGN_ORDER": "an order of the account that is not ours; it is left alone",
        "ORPHAN_ENDED": "an order of a start that the journal did not count; it has ended",
        "SELF_TRADE": "an order met one of the account that this instance did not make",
        "TRADE_OF_UNKNOWN_ORDER": "a trade of the account whose order cannot be found",
        "ABANDONED": "an order is proven to be absent",
        "VANISHED": "an accepted order rests no more, and nobody said why",
        "ZOMBIE": "an order that was given up was seen after all; it is cancelled",
        "FILLS_LATE": "an order has ended, and not all of its fills were told",
        "ODD_BALANCE": "a balance contradicts itself; nothing of it is free",
        "LOOKUP_FAILED": "an order could not be looked up; it is tried again",
        "RECONCILE_FAILED": "the books could not be compared; it is tried again",
        "BALANCES_FAILED": "the balances could not be read; it is tried again",
        "SWEEP_FAILED": "the history could not be read for what was given up; it is tried again",
        "AUDIT_FAILED": "a book could not be read beside its stream; it is tried again",
        "RULES_CHANGED": "the venue changed the rules of a market",
        "RULES_FAILED": "the rules of a market could not be read; they stay as they are",
        "JOURNAL_READ_FOR_LONG": "somebody reads the journal without an end; its log grows",
        # The end
        "EXIT_TIMEOUT": "a stop had to end before everything else had",
        "CLOSE_FAILED": "the venue could not be closed in order",
        # What halts, beside limits above
        "KILL_SWITCH": "somebody threw the kill switch: its file, a signal, a call",
        "STRATEGY": "the strategy asked for it",
        "STRATEGY_ERROR": "the strategy raised",
        "ENGINE_ERROR": "an error in nkfast itself",
        "ERROR_BUDGET": "too many refused orders and misplaced answers within a minute",
        "MAX_DAILY_LOSS": "the day's loss is above the limit",
        "SELF_TRADES": "the account traded with itself three times within a minute",
        "UNKNOWN_ORDERS": "the fate of an order was not found out in the time it may take",
        "UNRECONCILED": "the venue and the journal disagree; a person has to look",
        "KEY_REFUSED": "the venue refused the key twice in a row",
        "JOURNAL": "the journal could not be written",
        "MARKET_CHANGED": "ticks or lots of a market have another size",
    }
)


def meaning_of(code: str) -> str:
    """Return what a code of the engine means; empty for one that a strategy made."""
    return MEANINGS.get("REJECTED" if code.startswith("REJECTED_") else code, "")
