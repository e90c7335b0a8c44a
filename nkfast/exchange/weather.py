"""Everything that can go wrong between a client and the exchange, from a seed.

A `Weather` is a list of rules. Every request, over HTTP or a WebSocket, asks it for its `Fate`;
every notification asks it for its `Sending`s; `Weather.step` changes the exchange itself. It
decides and counts, and sends nothing: whoever carries the bytes does what it says, so the same
weather blows over sockets and over an exchange in this process.

The same rules, seed and traffic give the same weather. Each rule draws from a stream of its own:
taking one rule away leaves what the others do as it was.
"""

import asyncio
import random
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args

from nkfast.errors import ConfigError, RateLimitError, VenueError
from nkfast.exchange.accounts import Account, Holding
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import Listing
from nkfast.wire.error_codes import ERROR_CODES

__all__ = ["CALM", "PRESETS", "Fate", "Lane", "Rule", "Sending", "Weather", "preset"]

RequestFault = Literal[
    "delay_in",
    "delay_out",
    "reset_before",
    "reset_after",
    "stall_before",
    "stall_after",
    "late",
    "error_before",
    "error_after",
    "rate_limit",
    "html_before",
    "html_after",
    "empty",
    "truncated",
    "half",
    "nulls",
    "twice",
]
MessageFault = Literal["delay", "drop", "duplicate", "reorder", "stall", "reset", "blank", "cut"]
StateFault = Literal["pause", "tick_size", "maintenance", "clog", "clock_skew", "balance_lag"]
Fault = RequestFault | MessageFault | StateFault

_REQUEST_FAULTS: Final = frozenset(get_args(RequestFault))
_MESSAGE_FAULTS: Final = frozenset(get_args(MessageFault))
_STATE_FAULTS: Final = frozenset(get_args(StateFault))
#: The exchange never hears of these requests.
_UNHEARD: Final = frozenset({"reset_before", "stall_before", "error_before", "rate_limit", "late"})
#: How long a stall lasts whose rule does not say.
_STALL_S: Final = 30.0
_SECONDS_MAX: Final = 86_400.0
_HTML: Final = (
    b"<!DOCTYPE html><html><head><title>Error 1018</title></head><body><h1>Error 1018</h1>"
    b"<p>Could not find host</p></body></html>"
)
_VALUE: Final = re.compile(rb'(?<=:)(?:"[^"\\]*"|-?\d[\d.eE+-]*|true|false)(?=[,}])')

_KINDS: Final[Mapping[str, str]] = {
    "createorder": "create",
    "newOrder": "create",
    "cancelorder": "cancel",
    "cancelallorders": "cancel",
    "cancelOrder": "cancel",
    "login": "login",
    "connect": "connect",
    "snapshotOrderbook": "book",
    "updateOrderbook": "book",
    "snapshotTrades": "trades",
    "updateTrades": "trades",
    "snapshotCandles": "candles",
    "updateCandles": "candles",
    "report": "report",
    "balanceUpdate": "balance",
}

_Result = TypeVar("_Result")


def _kind(name: str) -> str:
    found = _KINDS.get(name)
    if found is None:
        found = "subscribe" if name.startswith(("subscribe", "unsubscribe")) else "read"
    return found


@dataclass(frozen=True, slots=True)
class Rule:
    """One fault and when it strikes.

    Parameters
    ----------
    fault : str
        To a request: ``delay_in``, ``delay_out``; ``reset_before`` and ``reset_after`` the exchange
        has done it (the order lives, the answer is lost); ``stall_before``, ``stall_after`` (no
        answer for ``seconds``, then a reset); ``late`` (a 504 at once, done after ``seconds``);
        ``error_before``, ``error_after`` (``status``); ``rate_limit`` (429; with ``Retry-After``
        when ``seconds`` is not 0); ``html_before``, ``html_after``; the answer ``empty``,
        ``truncated``, ``half`` sent before a reset, or full of ``nulls``; the request done
        ``twice``. To a notification: ``delay``, ``drop`` (a gap; of ``snapshotOrderbook`` a missed
        snapshot), ``duplicate``, ``reorder`` (overtaken by what follows within ``seconds``),
        ``stall`` (nothing of it for ``seconds``), ``reset`` (after half of the frame), ``blank``
        (empty params), ``cut`` (half of the JSON in a whole frame). To the exchange: ``pause`` and
        ``tick_size`` of a market, ``maintenance`` (each for ``seconds``; 0: for good), ``clog``
        (nothing arrives on either side for ``seconds``, then everything does), ``clock_skew`` (by
        ``seconds``, which may be negative), ``balance_lag`` (balances are shown as they were
        ``seconds`` ago).
    on : str
        What it can strike, with wildcards: a kind (create, cancel, connect, login, subscribe,
        read; book, trades, ticker, candles, report, balance), a path such as
        ``account/orders``, a WebSocket method or the method of a notification.
    symbol : str
        Only notifications that speak of this market; the market of ``pause`` and ``tick_size``, or
        one chosen by chance.
    probability : float
        Of each passage; of each second for what strikes the exchange itself.
    after, times : int
        Passages that it lets go by first (for what strikes the exchange itself: seconds), and how
        often it strikes at most (None: always; the exchange, with probability 1: once). A script
        is a list of such rules.
    seconds, jitter_s : float
        How long; the jitter is the mean of an exponential on top.
    status : int
        The HTTP status of an error.
    decimals : int
        By how many the price decimals of a market shrink under ``tick_size``.
    """

    fault: Fault
    on: str = "*"
    symbol: str = ""
    probability: float = 1.0
    after: int = 0
    times: int | None = None
    seconds: float = 0.0
    jitter_s: float = 0.0
    status: int = 503
    decimals: int = 1

    def __post_init__(self) -> None:
        if self.fault not in _REQUEST_FAULTS | _MESSAGE_FAULTS | _STATE_FAULTS:
            known = ", ".join(sorted(_REQUEST_FAULTS | _MESSAGE_FAULTS | _STATE_FAULTS))
            raise ConfigError(f"is {self.fault!r}; known: {known}", "fault")
        if not 0 <= self.probability <= 1:
            raise ConfigError(f"is {self.probability}; give 0 to 1", "probability")
        if self.after < 0 or (self.times is not None and self.times < 0):
            raise ConfigError(f"are {self.after}, {self.times}; give 0 or more", "after, times")
        least = -_SECONDS_MAX if self.fault == "clock_skew" else 0.0
        if not least <= self.seconds <= _SECONDS_MAX or not 0 <= self.jitter_s <= _SECONDS_MAX:
            raise ConfigError(
                f"are {self.seconds}, {self.jitter_s}; give {least:g} to {_SECONDS_MAX:g}, "
                "the jitter not below 0",
                "seconds, jitter_s",
            )
        if not 400 <= self.status <= 599:
            raise ConfigError(f"is {self.status}; give 400 to 599", "status")
        if not 0 <= self.decimals <= 8:
            raise ConfigError(f"is {self.decimals}; give 0 to 8", "decimals")

    @classmethod
    def from_json(cls, value: Any) -> "Rule":
        """Read a rule from the fields of a JSON object.

        Raises
        ------
        ConfigError
            It is no object, a field is unknown, or has a value that it cannot have.
        """
        known = {item.name: item.type for item in fields(cls)}
        if not isinstance(value, Mapping) or "fault" not in value:
            raise ConfigError("a rule is an object with a fault", "rules")
        for name, given in value.items():
            if name not in known:
                raise ConfigError(f"unknown; known: {', '.join(known)}", str(name))
            if name in ("fault", "on", "symbol"):
                fits = isinstance(given, str)
            elif name in ("probability", "seconds", "jitter_s"):
                fits = isinstance(given, int | float) and not isinstance(given, bool)
            else:
                fits = isinstance(given, int) and not isinstance(given, bool)
                fits = fits or (name == "times" and given is None)
            if not fits:
                raise ConfigError(f"cannot be {given!r}", name)
        return cls(**value)

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


class _Strike:
    """A rule at work: its stream of chance and what it has done."""

    def __init__(self, rule: Rule, seed: str) -> None:
        self.rule = rule
        self.random = random.Random(seed)
        self.passed = 0
        self.struck = 0
        self.until_s = 0.0  # of a stall

    def draws(self) -> bool:
        rule = self.rule
        self.passed += 1
        # Drawn every time, so that what a rule does later depends on the count alone.
        is_drawn = self.random.random() < rule.probability
        is_spent = rule.times is not None and self.struck >= rule.times
        return is_drawn and self.passed > rule.after and not is_spent

    def strikes_within(self, seconds: float) -> bool:
        # What is certain happens once.
        rule = self.rule
        most = rule.times if rule.times is not None else 1 if rule.probability == 1 else None
        if most is not None and self.struck >= most:
            return False
        is_hit = self.random.random() < 1 - (1 - rule.probability) ** seconds
        return is_hit or rule.probability == 1

    def duration_s(self) -> float:
        rule = self.rule
        return rule.seconds + (self.random.expovariate(1 / rule.jitter_s) if rule.jitter_s else 0.0)


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one request.

    Attributes
    ----------
    fault : str or None
    inbound_s, outbound_s : float
        How long the request and its answer are on the way.
    late_s : float
        When a ``late`` request is done after all.
    refusal : VenueError or None
        What it is answered with in place of the exchange.
    status : int or None
        The HTTP status of the answer where it is not the exchange's.
    """

    fault: RequestFault | None = None
    inbound_s: float = 0.0
    outbound_s: float = 0.0
    late_s: float = 0.0
    refusal: VenueError | None = None
    status: int | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the connection is reset and nothing of the answer arrives."""
        return self.fault in ("reset_before", "reset_after", "stall_before", "stall_after")

    @property
    def is_cut(self) -> bool:
        """Whether the connection is reset in the middle of the answer."""
        return self.fault == "half"

    @property
    def is_readable(self) -> bool:
        """Whether the answer that arrives is the exchange's own."""
        return self.fault in (None, "twice")

    @property
    def is_html(self) -> bool:
        """Whether the answer is a page of the proxy before the exchange."""
        return self.fault in ("html_before", "html_after")

    def run(self, execute: Callable[[], _Result]) -> _Result | None:
        """Let the exchange execute a request as often as it hears of it; return its answer.

        None when there is none (yet). Needs a running loop for what comes late.
        """
        if self.fault == "late":
            asyncio.get_running_loop().call_later(self.late_s, execute)
        if self.fault in _UNHEARD or self.fault == "html_before":
            return None
        result = execute()
        if self.fault == "twice":
            execute()
        return result

    def body(self, own: bytes) -> bytes:
        """Return what arrives of an answer."""
        if self.is_html:
            return _HTML
        if self.fault == "empty":
            return b""
        if self.fault == "truncated":
            return own[: len(own) // 2]
        if self.fault == "nulls":
            return _VALUE.sub(b"null", own)
        return own


#: What happens on a fine day.
CALM: Final = Fate()


class Sending(NamedTuple):
    """One notification on its way; ``is_loose``: what follows may overtake it."""

    delay_s: float
    frame: bytes
    is_loose: bool = False
    is_cut: bool = False  # the connection is reset in the middle of it


class Lane:
    """One direction of one connection: everything takes its time and keeps its order."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._last_s = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is on the way."""
        return not self._waiting

    def send(self, delay_s: float, deliver: Callable[[], None]) -> None:
        """Deliver after a delay, and after everything sent before; at once when it can be."""
        if delay_s <= 0 and not self._waiting:
            deliver()
            return
        loop = asyncio.get_running_loop()
        self._last_s = max(self._last_s, loop.time() + delay_s)
        # Equal timers run in any order; the queue keeps what they deliver in its own.
        self._waiting.append(deliver)
        loop.call_at(self._last_s, self._deliver_next)

    def close(self) -> None:
        """Lose everything that is on the way."""
        self._waiting.clear()

    def _deliver_next(self) -> None:
        if self._waiting:
            self._waiting.popleft()()


class Weather:
    """The faults that strike one exchange; see `Rule`.

    Parameters
    ----------
    rules : iterable of Rule
    seed : int

    Attributes
    ----------
    strikes : Counter
        How often each fault struck.
    skew_ms : int
        How far the exchange's clock is ahead.
    is_maintenance : bool
        Whether the exchange is closed: every request gets 503, every WebSocket is cut.
    on_strike : callable or None
        Is told the rule of every fault that strikes.
    """

    def __init__(self, rules: Iterable[Rule] = (), seed: int = 0) -> None:
        self.strikes: Counter[str] = Counter()
        self.on_strike: Callable[[Rule], None] | None = None
        self.skew_ms = 0
        self.is_maintenance = False
        self._clogged_until_s = 0.0
        self._endings: list[tuple[float, Callable[[], None]]] = []
        self._stepped_s = 0.0
        self._balances = _LaggingBalances()
        self._exchange: Exchange | None = None
        self.change(rules, seed)

    def change(self, rules: Iterable[Rule], seed: int) -> None:
        """Replace every rule; what was paused or closed ends at its own time."""
        self.rules = tuple(rules)
        self.seed = seed
        seen: Counter[Rule] = Counter()
        self._strikes: list[_Strike] = []
        for rule in self.rules:
            seen[rule] += 1
            self._strikes.append(_Strike(rule, f"{seed}/{rule}/{seen[rule]}"))
        self._state_strikes = [
            strike for strike in self._strikes if strike.rule.fault in _STATE_FAULTS
        ]
        self._by_name: dict[tuple[str, bool], list[_Strike]] = {}
        self._started_s: float | None = None

    @property
    def is_calm(self) -> bool:
        """Whether there is nothing to decide."""
        return not self.rules and not self.is_maintenance and not self._clogged_until_s

    def _rules_for(self, name: str, *, is_request: bool) -> list[_Strike]:
        found = self._by_name.get((name, is_request))
        if found is None:
            faults = _REQUEST_FAULTS if is_request else _MESSAGE_FAULTS
            kind = _kind(name)
            found = self._by_name[name, is_request] = [
                strike
                for strike in self._strikes
                if strike.rule.fault in faults
                and (fnmatchcase(name, strike.rule.on) or fnmatchcase(kind, strike.rule.on))
            ]
        return found

    def _count(self, strike: _Strike) -> None:
        strike.struck += 1
        self.strikes[strike.rule.fault] += 1
        if self.on_strike is not None:
            self.on_strike(strike.rule)

    def _clogged_s(self) -> float:
        if not self._clogged_until_s:
            return 0.0
        return max(0.0, self._clogged_until_s - asyncio.get_running_loop().time())

    def request(self, name: str) -> Fate:
        """Decide about a request: ``createorder``, ``account/orders``, ``newOrder``, ..."""
        if self.is_maintenance:
            return Fate("error_before", refusal=_error(503, "Down for maintenance"), status=503)
        strikes = self._rules_for(name, is_request=True) if self.rules else ()
        if not strikes and not self._clogged_until_s:
            return CALM
        delays = {"delay_in": self._clogged_s(), "delay_out": 0.0}
        striking: _Strike | None = None
        for strike in strikes:
            fault = strike.rule.fault
            # One fault to a request: the first that strikes. Delays add up beside it.
            if not strike.draws():
                continue
            if fault in delays:
                delays[fault] += strike.duration_s()
                self._count(strike)
            elif striking is None:
                striking = strike
                self._count(strike)
        return _fate(striking, delays["delay_in"], delays["delay_out"])

    def message(self, name: str, frame: bytes) -> Sequence[Sending]:
        """Decide about a notification; it is lost where nothing is returned."""
        strikes = self._rules_for(name, is_request=False) if self.rules else ()
        delay_s = self._clogged_s()
        if not strikes:
            return (Sending(delay_s, frame),)
        count, is_loose, is_cut = 1, False, False
        for strike in strikes:
            rule = strike.rule
            if rule.symbol and b'"%b"' % rule.symbol.encode() not in frame:
                continue
            fault = rule.fault
            if fault == "stall" and strike.until_s > asyncio.get_running_loop().time():
                count = 0
            if not strike.draws():
                continue
            self._count(strike)
            if fault == "delay" or fault == "reorder":
                delay_s += strike.duration_s()
                is_loose |= fault == "reorder"
            elif fault == "drop":
                count = 0
            elif fault == "duplicate":
                count *= 2
            elif fault == "stall":
                seconds = strike.duration_s() or _STALL_S
                strike.until_s = asyncio.get_running_loop().time() + seconds
                count = 0
            elif fault == "reset":
                is_cut = True
            else:
                frame = frame[: len(frame) // 2] if fault == "cut" else _blank(frame)
        return (Sending(delay_s, frame, is_loose, is_cut),) * count

    # The exchange itself.

    def attach(self, exchange: Exchange) -> None:
        """Let the weather reach an exchange; once."""
        self._exchange = exchange

    def on_balances(self, account: Account, assets: Iterable[str]) -> None:
        """Take note of balances that changed, as a listener of the exchange is told them."""
        self._balances.note(account, assets)

    def step(self) -> None:
        """Do what is due to the exchange; call it often, and before balances are read."""
        assert self._exchange is not None, "attach an exchange first"
        if not (self.rules or self._endings or self._balances.is_lagging):
            return
        now_s = asyncio.get_running_loop().time()
        if self._started_s is None:
            self._started_s = self._stepped_s = now_s
        passed_s, self._stepped_s = now_s - self._stepped_s, now_s
        due = [end for until_s, end in self._endings if until_s <= now_s]
        self._endings = [row for row in self._endings if row[0] > now_s]
        for end in due:
            end()
        lag_s = 0.0
        for strike in self._state_strikes:
            rule = strike.rule
            if rule.fault == "balance_lag":
                lag_s = max(lag_s, rule.seconds)
            elif now_s - self._started_s >= rule.after and strike.strikes_within(passed_s):
                self._count(strike)
                self._strike_exchange(self._exchange, strike, now_s)
        self._balances.show(now_s, lag_s, self._exchange.accounts)

    def _strike_exchange(self, exchange: Exchange, strike: _Strike, now_s: float) -> None:
        rule, seconds = strike.rule, strike.duration_s()
        if rule.fault == "clock_skew":
            self.skew_ms += round(seconds * 1000)
            return
        if rule.fault == "maintenance":
            self.is_maintenance = True
            end: Callable[[], None] = self._reopen
        elif rule.fault == "clog":
            self._clogged_until_s = now_s + seconds
            return
        else:
            listings = exchange.listings
            symbol = rule.symbol or strike.random.choice(list(listings))
            if symbol not in listings:
                return
            listing = listings[symbol]
            if rule.fault == "pause":
                listing.is_paused = True
                end = _Unpause(listing)
            else:
                listing.shrink_price_decimals(rule.decimals)
                end = _Refine(listing)
        if seconds:
            self._endings.append((now_s + seconds, end))

    def _reopen(self) -> None:
        self.is_maintenance = False


@dataclass(frozen=True, slots=True)
class _Unpause:
    listing: Listing

    def __call__(self) -> None:
        self.listing.is_paused = False


@dataclass(frozen=True, slots=True)
class _Refine:
    listing: Listing

    def __call__(self) -> None:
        self.listing.shrink_price_decimals(0)


def _error(status: int, description: str) -> VenueError:
    code = status if status in ERROR_CODES else 500
    return ERROR_CODES[code].error(description, code=code)


def _fate(strike: _Strike | None, inbound_s: float, outbound_s: float) -> Fate:
    if strike is None:
        return Fate(None, inbound_s, outbound_s)
    rule = strike.rule
    fault: Any = rule.fault
    late_s = 0.0
    refusal: VenueError | None = None
    status: int | None = None
    if fault in ("stall_before", "stall_after"):
        outbound_s += strike.duration_s() or _STALL_S
    elif fault == "late":
        late_s = strike.duration_s()
        status, refusal = 504, _error(504, "Gateway Timeout")
    elif fault in ("error_before", "error_after"):
        status = rule.status
        refusal = _error(status, "Please check your request and try again later")
    elif fault == "rate_limit":
        status = 429
        refusal = RateLimitError("Too many requests", retry_after_seconds=strike.duration_s())
    elif fault in ("html_before", "html_after"):
        status = rule.status
    return Fate(fault, inbound_s, outbound_s, late_s, refusal, status)


def _blank(frame: bytes) -> bytes:
    head, key, _ = frame.partition(b'"params":')
    return head + key + b"{}}"


class _LaggingBalances:
    """Shows balances as they were a while ago: what a replica that lags would say."""

    def __init__(self) -> None:
        self._lag_s = 0.0
        self._due: deque[tuple[float, Account, str, Holding]] = deque()

    @property
    def is_lagging(self) -> bool:
        return self._lag_s > 0

    def show(self, now_s: float, lag_s: float, accounts: Iterable[Account]) -> None:
        if lag_s != self._lag_s:
            self._lag_s = lag_s
            self._due.clear()
            for account in accounts:
                held = account.holdings.items()
                account.shown = {name: replace(one) for name, one in held} if lag_s else None
        while self._due and self._due[0][0] + lag_s <= now_s:
            _, account, asset, holding = self._due.popleft()
            if account.shown is not None:
                account.shown[asset] = holding
        if lag_s:
            self._note_unheard(now_s, accounts)

    def _note_unheard(self, now_s: float, accounts: Iterable[Account]) -> None:
        """Take note of what moved while nobody was connected to be told."""
        waiting = {(id(account), asset) for _, account, asset, _ in self._due}
        for account in accounts:
            shown = account.shown
            if shown is None:
                continue
            for asset, one in account.holdings.items():
                if (id(account), asset) not in waiting and shown.get(asset) != one:
                    self._due.append((now_s, account, asset, replace(one)))

    def note(self, account: Account, assets: Iterable[str]) -> None:
        if self._lag_s:
            now_s = asyncio.get_running_loop().time()
            self._due.extend(
                (now_s, account, asset, replace(account.holding(asset))) for asset in assets
            )


_DRIZZLE: Final = (
    Rule("delay_in", seconds=0.002, jitter_s=0.004),
    Rule("delay_out", seconds=0.002, jitter_s=0.004),
    Rule("delay", seconds=0.002, jitter_s=0.004),
    Rule("duplicate", on="book", probability=0.005),
    Rule("reorder", on="book", probability=0.005, seconds=0.01),
)
_RAIN: Final = (
    Rule("delay_in", seconds=0.02, jitter_s=0.03),
    Rule("delay_out", seconds=0.02, jitter_s=0.03),
    Rule("delay", seconds=0.02, jitter_s=0.03),
    Rule("duplicate", probability=0.01),
    Rule("reorder", on="book", probability=0.02, seconds=0.03),
    Rule("drop", on="updateOrderbook", probability=0.002),
    Rule("delay", on="report", probability=0.05, seconds=1.0, jitter_s=1.0),
    Rule("rate_limit", probability=0.005, seconds=1.0),
    Rule("rate_limit", probability=0.005),
    Rule("error_before", on="create", probability=0.01),
    Rule("error_after", on="create", probability=0.01),
    Rule("reset_after", on="create", probability=0.005),
    Rule("html_before", on="read", probability=0.01, status=502),
    Rule("balance_lag", seconds=1.0),
)
_STORM: Final = (
    Rule("delay_in", seconds=0.05, jitter_s=0.1),
    Rule("delay_out", seconds=0.05, jitter_s=0.1),
    Rule("delay", seconds=0.02, jitter_s=0.05),
    Rule("duplicate", probability=0.02),
    Rule("reorder", on="book", probability=0.03, seconds=0.1, jitter_s=0.1),
    Rule("drop", on="updateOrderbook", probability=0.005),
    Rule("drop", on="snapshotOrderbook", probability=0.1),
    Rule("drop", on="report", probability=0.1),
    Rule("delay", on="report", probability=0.1, seconds=2.0, jitter_s=5.0),
    Rule("stall", on="book", probability=0.0002, seconds=10.0),
    Rule("reset", probability=0.0005),
    Rule("blank", on="balance", probability=0.05),
    Rule("cut", on="report", probability=0.02),
    Rule("rate_limit", probability=0.01, seconds=2.0),
    Rule("rate_limit", probability=0.01),
    Rule("reset_before", on="create", probability=0.02),
    Rule("reset_after", on="create", probability=0.04),
    Rule("reset_after", on="cancel", probability=0.04),
    Rule("stall_before", on="create", probability=0.01),
    Rule("stall_after", on="create", probability=0.02, seconds=12.0),
    Rule("late", on="create", probability=0.02, seconds=1.0, jitter_s=8.0),
    Rule("error_before", on="c*", probability=0.02),
    Rule("error_after", on="c*", probability=0.03, status=502),
    Rule("html_after", on="c*", probability=0.01, status=520),
    Rule("html_before", on="read", probability=0.02, status=502),
    Rule("empty", probability=0.005),
    Rule("truncated", probability=0.005),
    Rule("half", probability=0.005),
    Rule("nulls", probability=0.005),
    Rule("balance_lag", seconds=2.0),
    Rule("pause", probability=0.002, seconds=5.0),
    Rule("maintenance", probability=0.001, seconds=10.0),
)
_FOG: Final = (
    Rule("drop", on="snapshot*", probability=0.3),
    Rule("drop", on="updateOrderbook", probability=0.01),
    Rule("stall", on="book", probability=0.001, seconds=20.0),
    Rule("reorder", probability=0.1, seconds=0.1, jitter_s=0.1),
    Rule("delay", on="report", seconds=2.0, jitter_s=3.0),
    Rule("clock_skew", seconds=7.5),
    Rule("balance_lag", seconds=5.0),
)

#: Weathers with a name.
PRESETS: Final[Mapping[str, tuple[Rule, ...]]] = {
    "clear": (),
    "drizzle": _DRIZZLE,
    "rain": _RAIN,
    "storm": _STORM,
    "fog": _FOG,
}


def preset(name: str) -> tuple[Rule, ...]:
    """Return the rules of a weather with a name.

    Raises
    ------
    ConfigError
        There is none.
    """
    if name not in PRESETS:
        raise ConfigError(f"no weather {name!r}; there are {', '.join(PRESETS)}", "weather")
    return PRESETS[name]
