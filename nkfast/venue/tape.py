"""Recordings of a market-data feed: one frame per line, as it was received.

A line is ``<unix_ns>\\t<text frame>\\n``: the time of receipt in Unix nanoseconds and the frame's
bytes, untouched. A name that ends in ``.gz`` is compressed. Reading never holds more than one line.
"""

import asyncio
import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nkfast.core.market import Market
from nkfast.errors import WireError
from nkfast.venue.clock import Clock, VirtualClock

__all__ = ["SymbolSurvey", "TapePlayer", "TapeReader", "TapeSurvey", "TapeWriter", "survey"]

#: The longest frame believed; `getMarkets` replies pass 1 MB live (protocol.md 2.1).
MAX_FRAME_BYTES = 16 * 1024 * 1024
#: A longer pause within one recording is a damaged time, not a pause.
MAX_PAUSE_NS = 24 * 3600 * 1_000_000_000
_MAX_UNIX_NS = 2**63 - 1
_TIME_DIGITS = len(str(_MAX_UNIX_NS))
#: More decimals than NonKYC uses anywhere (protocol.md section 3), within what int64 can hold.
_MAX_PRICE_DECIMALS = 13
_MAX_QUANTITY_DECIMALS = 8
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str)
_GZIP_MAGIC = b"\x1f\x8b"


class TapeReader:
    """The frames of a recording, in order.

    Iterating yields ``(unix_ns, frame)`` with `unix_ns` never going back. Each iteration reads the
    file anew. A line that is not a recorded frame is left out and counted in `rejected`; no
    content of the file raises.

    Parameters
    ----------
    path : path-like
        Plain or gzip, told by the content.
    max_frame_bytes : int
        Longer frames are left out, without being held in memory.

    Raises
    ------
    OSError
        The file cannot be opened.

    Notes
    -----
    Kinds in `rejected`: ``no_tab``, ``bad_time`` (not a whole number of nanoseconds),
    ``time_jump`` (more than a day ahead of the line before), ``oversized``, ``empty``, ``cut_line``
    (the last line has no end), ``damaged_gzip`` (the rest of the file cannot be unpacked). A time
    before that of the line before it, as after a stepped clock, is no reason to drop a frame: it
    is told at the time of the line before, and counted in `late`.
    """

    def __init__(self, path: str | Path, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        if max_frame_bytes < 1:
            raise ValueError(f"max_frame_bytes must be positive, was {max_frame_bytes}")
        self.path = Path(path)
        self.rejected: Counter[str] = Counter()
        self.late = 0
        self._max_frame_bytes = max_frame_bytes
        self._max_line_bytes = _TIME_DIGITS + len("\t") + max_frame_bytes + len("\r\n")
        with self.path.open("rb") as file:
            self._is_gzip = file.read(2) == _GZIP_MAGIC

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        self.rejected.clear()
        self.late = 0
        newest_ns = None
        for line in self._lines():
            stamp, tab, frame = line.partition(b"\t")
            defect = self._defect(stamp, tab, frame)
            unix_ns = int(stamp) if defect is None else 0
            if defect is None and newest_ns is not None and unix_ns - newest_ns > MAX_PAUSE_NS:
                defect = "time_jump"
            if defect is not None:
                self.rejected[defect] += 1
                continue
            if newest_ns is not None and unix_ns < newest_ns:
                self.late += 1
                unix_ns = newest_ns
            newest_ns = unix_ns
            yield unix_ns, frame

    def _defect(self, stamp: bytes, tab: bytes, frame: bytes) -> str | None:
        if not tab:
            return "no_tab"
        # int() alone would also take signs, underscores and spaces, and any length.
        if not stamp.isdigit() or len(stamp) > _TIME_DIGITS or int(stamp) > _MAX_UNIX_NS:
            return "bad_time"
        if not frame:
            return "empty"
        return "oversized" if len(frame) > self._max_frame_bytes else None

    def _lines(self) -> Iterator[bytes]:
        with gzip.open(self.path, "rb") if self._is_gzip else self.path.open("rb") as file:
            is_rest_of_oversized = False
            while True:
                try:
                    line = file.readline(self._max_line_bytes)
                except (EOFError, gzip.BadGzipFile, zlib.error):
                    self.rejected["damaged_gzip"] += 1
                    return
                if not line:
                    return
                is_whole = line.endswith(b"\n")
                if is_rest_of_oversized:
                    is_rest_of_oversized = not is_whole
                elif is_whole:
                    yield line[:-1].removesuffix(b"\r")
                elif len(line) == self._max_line_bytes:
                    self.rejected["oversized"] += 1
                    is_rest_of_oversized = True
                else:
                    self.rejected["cut_line"] += 1


class TapePlayer:
    """Plays a recording at the pace it was recorded: the feed of a paper venue.

    Parameters
    ----------
    reader : iterable of (int, bytes)
        Frames with the Unix nanoseconds of their receipt: a `TapeReader`, or several in a row.
    clock : Clock
        A frame is delivered when this clock shows the time of its receipt, or at once when that
        time is past. A `VirtualClock` that starts at the first frame wastes no time.

    Attributes
    ----------
    settle : callable or None
        On a `VirtualClock`: is called when the frames of one moment have been delivered, before
        anything else happens.
    """

    def __init__(self, reader: Iterable[tuple[int, bytes]], clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self.settle: Callable[[], None] | None = None

    @property
    def is_virtual(self) -> bool:
        """Whether it plays in pretended time."""
        return isinstance(self._clock, VirtualClock)

    async def run(self, symbols: Sequence[str], deliver: Callable[[bytes, int], None]) -> None:
        """Deliver every frame of the recording, whatever its symbol; return at its end."""
        clock = self._clock
        if isinstance(clock, VirtualClock):
            await self._run_virtually(clock, deliver)
            return
        for unix_ns, frame in self._reader:
            delay_ns = unix_ns - clock.time_ns()
            if delay_ns > 0:
                await asyncio.sleep(delay_ns / 1e9)
            deliver(frame, clock.monotonic_ns())

    async def _run_virtually(
        self, clock: VirtualClock, deliver: Callable[[bytes, int], None]
    ) -> None:
        settle = self.settle if self.settle is not None else _nothing
        now_ns = clock.time_ns()
        for unix_ns, frame in self._reader:
            if unix_ns > now_ns:
                settle()
                # A turn of the loop is taken only where something waits for it.
                if not clock.skip_to(unix_ns):
                    await asyncio.sleep((unix_ns - clock.time_ns()) / 1e9)
                now_ns = unix_ns
            deliver(frame, clock.monotonic_ns())
        settle()


def _nothing() -> None:
    pass


class TapeWriter:
    """A new recording. What was flushed survives the end of the process.

    Parameters
    ----------
    path : path-like
        Must not exist yet. Compressed when the name ends in ``.gz``.

    Raises
    ------
    FileExistsError
        A recording is never written over.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.frame_count = 0
        self._raw = self.path.open("xb")
        self._gzip = (
            # No name and no time inside: the same frames make the same file.
            gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, mtime=0)
            if self.path.suffix == ".gz"
            else None
        )

    def write(self, unix_ns: int, frame: bytes | bytearray | memoryview) -> None:
        """Append one frame.

        Line ends inside a frame become spaces: in JSON they can only stand between tokens.

        Raises
        ------
        ValueError
            `unix_ns` is outside 0 .. 2**63 - 1, or the frame is empty.
        """
        if not 0 <= unix_ns <= _MAX_UNIX_NS:
            raise ValueError(f"unix_ns must be within 0 .. {_MAX_UNIX_NS}, was {unix_ns}")
        content = bytes(frame).replace(b"\n", b" ").replace(b"\r", b" ")
        if not content:
            raise ValueError("an empty frame cannot be recorded")
        (self._gzip or self._raw).write(b"%d\t%b\n" % (unix_ns, content))
        self.frame_count += 1

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        if self._gzip is not None:
            self._gzip.flush()
        self._raw.flush()

    def close(self) -> None:
        """Finish the file; once is enough, twice is harmless."""
        if self._gzip is not None:
            self._gzip.close()
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class SymbolSurvey:
    """What a recording holds of one symbol. `market` has as many decimals as were seen."""

    market: Market
    frame_count: int
    book_count: int
    trade_count: int


@dataclass(frozen=True, slots=True)
class TapeSurvey:
    """What a recording holds: symbols (most frames first), methods, times and damage."""

    symbols: dict[str, SymbolSurvey]
    methods: dict[str, int]
    rejected: dict[str, int]
    first_unix_ns: int
    last_unix_ns: int

    @property
    def duration_s(self) -> float:
        """Return the seconds from the first frame to the last."""
        return (self.last_unix_ns - self.first_unix_ns) / 1e9


#: How nearly every frame begins.
_USUAL_HEAD = re.compile(
    rb'\{(?:\s*"jsonrpc"\s*:\s*"2\.0"\s*,)?\s*"method"\s*:\s*"'
    rb"((?:snapshot|update)Orderbook|updateTrades)"
    rb'"\s*,\s*"params"\s*:\s*\{\s*"symbol"\s*:\s*"([A-Za-z0-9]+/[A-Za-z0-9]+)"'
)


@cache
def _longer(price_decimals: int, quantity_decimals: int) -> "re.Pattern[bytes]":
    """Return what finds a price or a quantity with more decimals than these."""
    return re.compile(
        rb'"(?:price"\s*:\s*"?\d*\.\d{%d}|quantity"\s*:\s*"?\d*\.\d{%d})'
        % (price_decimals + 1, quantity_decimals + 1)
    )


class _SymbolCount:
    def __init__(self) -> None:
        self.frames = self.books = self.trades = 0
        self.price_decimals = self.quantity_decimals = 0

    def tells_nothing_new(self, method: bytes, frame: bytes) -> bool:
        """Count a frame whose numbers are no longer than those before; false: look closer."""
        if not frame.endswith(b"}") or _longer(self.price_decimals, self.quantity_decimals).search(
            frame
        ):
            return False
        self.frames += 1
        if method == b"updateTrades":
            self.trades += frame.count(b'"price"')
        else:
            self.books += 1
        return True

    def see(self, method: str, params: dict[str, Any]) -> None:
        self.frames += 1
        if method in ("snapshotOrderbook", "updateOrderbook"):
            self.books += 1
            rows = [*_list(params.get("bids")), *_list(params.get("asks"))]
        elif method in ("snapshotTrades", "updateTrades"):
            rows = _list(params.get("data"))
            self.trades += len(rows) if method == "updateTrades" else 0
        else:
            return
        for row in rows:
            if isinstance(row, dict):
                price, quantity = row.get("price"), row.get("quantity")
                if _may_have_more(price, self.price_decimals):
                    decimals = min(_decimals(price), _MAX_PRICE_DECIMALS)
                    self.price_decimals = max(self.price_decimals, decimals)
                if _may_have_more(quantity, self.quantity_decimals):
                    decimals = min(_decimals(quantity), _MAX_QUANTITY_DECIMALS)
                    self.quantity_decimals = max(self.quantity_decimals, decimals)


def survey(path: str | Path) -> TapeSurvey:
    """Read a recording once and say what it holds.

    Parameters
    ----------
    path : path-like
        A recording, plain or gzip.

    Returns
    -------
    TapeSurvey
        With one `Market` per symbol, made from the most decimals that a price and a quantity were
        written with (at most 13 and 8): its minimums and fees are `Market`'s defaults, since a
        recording does not say them. Frames that are not JSON objects are counted in `rejected`
        as ``not_json``, others without a symbol are counted in `methods` alone.

    Raises
    ------
    OSError
        The file cannot be opened.
    WireError
        It holds no frame at all.
    """
    reader = TapeReader(path)
    counts: dict[str, _SymbolCount] = {}
    methods: Counter[str] = Counter()
    not_json = 0
    first_ns = last_ns = -1
    for unix_ns, frame in reader:
        first_ns = unix_ns if first_ns < 0 else first_ns
        last_ns = unix_ns
        head = _USUAL_HEAD.match(frame)
        if head is not None:
            count = counts.get(head[2].decode())
            if count is not None and count.tells_nothing_new(head[1], frame):
                methods[head[1].decode()] += 1
                continue
        message = _parse_object(frame)
        if message is None:
            not_json += 1
            continue
        method = message.get("method")
        method = method if isinstance(method, str) else "reply"
        methods[method] += 1
        params = message.get("params")
        symbol = params.get("symbol") if isinstance(params, dict) else None
        if isinstance(params, dict) and isinstance(symbol, str) and _is_symbol(symbol):
            counts.setdefault(symbol, _SymbolCount()).see(method, params)
    if first_ns < 0:
        raise WireError(
            f"{reader.path} holds no recorded frame (lines of <unix_ns>\\t<frame>); "
            f"left out: {dict(reader.rejected) or 'nothing, the file is empty'}"
        )
    ranked = sorted(counts.items(), key=lambda item: (-item[1].frames, item[0]))
    rejected = dict(sorted(reader.rejected.items()))
    if not_json:
        rejected["not_json"] = not_json
    return TapeSurvey(
        symbols={
            symbol: SymbolSurvey(
                Market(symbol, count.price_decimals, count.quantity_decimals),
                count.frames,
                count.books,
                count.trades,
            )
            for symbol, count in ranked
        },
        methods=dict(sorted(methods.items())),
        rejected=rejected,
        first_unix_ns=first_ns,
        last_unix_ns=last_ns,
    )


def _parse_object(frame: bytes) -> dict[str, Any] | None:
    # Numbers stay text: their digits are what is surveyed, and no frame can cost a huge integer.
    try:
        value = _DECODER.decode(frame.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_symbol(symbol: str) -> bool:
    base, slash, quote = symbol.partition("/")
    return bool(slash) and all(part.isascii() and part.isalnum() for part in (base, quote))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _may_have_more(number: Any, decimals: int) -> bool:
    # Nearly all numbers have as many decimals as those before them.
    return isinstance(number, str) and len(number) - number.find(".") - 1 > decimals


def _decimals(number: Any) -> int:
    whole, point, fraction = number.partition(".") if isinstance(number, str) else ("", "", "")
    return len(fraction) if point and whole.isdigit() and fraction.isdigit() else 0
