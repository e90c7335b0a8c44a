"""Where the instances of all processes that trade with one account see each other's best prices.

Each engine has a seat on a board, which is a mapped file of the account. It writes the best bid and
the best ask of its own orders there before an order leaves, and looks at the seats of the others
afterwards (`nkfast.core.board`): of two that do so at once at least one sees the other, and does
not send. Nobody waits for anybody.

A seat belongs to whoever holds the lock of its file, which the system takes from a process that
ends, however it ends. What rests then is tended by nobody; its prices stay for `GRACE_S`, by when
the others have read it from the venue (`nkfast.trading.account`), as they see what a person placed.
"""

import hashlib
from contextlib import suppress
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nkfast.core.board import PriceBoard
from nkfast.errors import ConfigError, FixedPointError, JournalLockedError
from nkfast.mapped_file import map_file
from nkfast.trading.exact import EXACT
from nkfast.trading.journal_file import FileLock
from nkfast.venue.port import Side

if TYPE_CHECKING:
    from nkfast.core.market import Market
    from nkfast.venue.clock import Clock

__all__ = ["GRACE_S", "AccountBoard", "BoardSeat", "Sitter"]

#: So long after its end an instance's orders count on the board: two comparisons with the venue.
GRACE_S = 60.0
_MAGIC = b"nkBoard1"
_WHAT = "board of own orders"
_WAY_OUT = "Give the account a folder that can be written to"
_NS = 1_000_000_000


class Sitter(NamedTuple):
    """Whose price it is."""

    name: str
    price: Decimal
    has_ended: bool

    def __str__(self) -> str:
        return f"{self.name}, which has ended," if self.has_ended else self.name


class AccountBoard:
    """The board of one account.

    Parameters
    ----------
    folder : Path
        The account's, on a disk of this machine; made if it is not there.
    clock : Clock
        Tells which start of the machine it is: a board does not outlive it.

    Raises
    ------
    nkfast.errors.ConfigError
        It cannot be made, mapped or understood.
    """

    def __init__(self, folder: Path, clock: "Clock") -> None:
        path = folder / f"orders-{clock.boot_id or 'boot'}.board"
        memory = map_file(path, _MAGIC, PriceBoard.SIZE, _WHAT, _WAY_OUT)
        for old in folder.glob("orders-*.board"):
            if old != path:
                with suppress(OSError):  # another process is doing the same
                    old.unlink()
        self.prices = PriceBoard(memoryview(memory))
        self._folder = folder
        self._clock = clock

    def sit(self, name: str, identity: str) -> "BoardSeat":
        """Take a seat: the one that this instance had before where it is free.

        Parameters
        ----------
        name : str
            What others call the instance when it is in their way.
        identity : str
            Tells it from all others: nobody else sits here with it at the same time.

        Raises
        ------
        nkfast.errors.ConfigError
            All seats are taken.
        """
        owner = _hash(identity)
        seats = range(PriceBoard.SEATS)
        for index in sorted(seats, key=lambda seat: self.prices.sitter(seat)[0] != owner):
            lock = self._lock(index)
            if lock is None:
                continue
            if self.prices.sitter(index)[0] in (0, owner) or self._is_over(index):
                self.prices.take_seat(index, owner, name.encode("ascii", "replace"))
                return BoardSeat(self, index, owner, lock)
            lock.release()
        raise ConfigError(
            f"{len(seats)} instances trade with this account already, and no more can"
        )

    def sitter(self, seat: int, ticks: int, decimals: int, owner: int) -> Sitter | None:
        """Return whose a price is; None when it counts no more, or is `owner`'s of before."""
        found, name, _ = self.prices.sitter(seat)
        if found in (0, owner):
            return None
        lock = self._lock(seat)
        if lock is not None:
            is_over = self._is_over(seat)
            lock.release()
            if is_over:
                return None
        price = Decimal(ticks).scaleb(-decimals)
        return Sitter(name.decode("ascii", "replace"), price, has_ended=lock is not None)

    def leave(self, seat: int, *, is_clear: bool) -> None:
        """Give a seat up; what is not clear stays in the way of others for a while."""
        if is_clear:
            self.prices.clear_seat(seat)
        else:
            self.prices.leave_seat(seat, self._clock.boot_ns())

    def _lock(self, seat: int) -> FileLock | None:
        try:
            return FileLock(self._folder / f"seat-{seat}.lock")
        except JournalLockedError:
            return None

    def _is_over(self, seat: int) -> bool:
        """Clear the seat of one who ended, once that is long enough ago. Its lock is ours."""
        now_ns = self._clock.boot_ns()
        _, _, ended_ns = self.prices.sitter(seat)
        if not ended_ns:
            self.prices.leave_seat(seat, now_ns)
            return False
        if ended_ns <= now_ns < ended_ns + int(GRACE_S * _NS):
            return False
        self.prices.clear_seat(seat)
        return True


class _Row(NamedTuple):
    number: int
    decimals: int  # of the prices in the row
    market: "Market"


class BoardSeat:
    """One instance's seat; `AccountBoard.sit` makes it.

    Prices are those of the instance's own orders; per market and side the best one counts.
    """

    def __init__(self, board: AccountBoard, index: int, owner: int, lock: FileLock) -> None:
        self._board = board
        self._index = index
        self._owner = owner
        self._lock = lock
        self._rows: dict[str, _Row] = {}
        self._best: dict[tuple[str, Side], int] = {}

    def watch(self, market: "Market") -> None:
        """Find the row of a market.

        Raises
        ------
        nkfast.errors.ConfigError
            The board has no row left.
        """
        try:
            index, decimals = self._board.prices.row_of(_hash(market.symbol), market.price_decimals)
        except OverflowError as error:
            raise ConfigError(f"{error}", market.symbol) from error
        self._rows[market.symbol] = _Row(index, decimals, market)

    def widen(self, symbol: str, side: Side, price: Decimal) -> None:
        """Let others see a price, if it is better than those that they see."""
        row = self._rows[symbol]
        self._widen(row, symbol, side, _ticks(row, side, price))

    def claim(self, symbol: str, side: Side, price: Decimal) -> Sitter | None:
        """Let others see a price, then look at theirs: `widen` and `crossed_by`."""
        row = self._rows[symbol]
        ticks = _ticks(row, side, price)
        self._widen(row, symbol, side, ticks)
        return self._crossed_by(row, side == "buy", ticks)

    def put(self, symbol: str, side: Side, price: Decimal | None) -> None:
        """Let others see a price in the place of what they see; None: there is none."""
        row = self._rows[symbol]
        ticks = 0 if price is None else _ticks(row, side, price)
        if ticks != self._best.get((symbol, side), 0):
            self._write(row, symbol, side, ticks)

    def is_best(self, symbol: str, side: Side, price: Decimal) -> bool:
        """Return whether a price is the one that others see, or beyond it."""
        best = self._best.get((symbol, side), 0)
        ticks = _ticks(self._rows[symbol], side, price)
        return not best or (ticks >= best if side == "buy" else ticks <= best)

    def crossed_by(self, symbol: str, side: Side, price: Decimal) -> Sitter | None:
        """Return another instance with an order that one at this price would trade with."""
        row = self._rows[symbol]
        return self._crossed_by(row, side == "buy", _ticks(row, side, price))

    def _widen(self, row: _Row, symbol: str, side: Side, ticks: int) -> None:
        best = self._best.get((symbol, side), 0)
        if not best or (ticks > best if side == "buy" else ticks < best):
            self._write(row, symbol, side, ticks)

    def _crossed_by(self, row: _Row, is_buy: bool, ticks: int) -> Sitter | None:
        prices, first = self._board.prices, 0
        while True:
            found = prices.find_crossed(row.number, is_buy, ticks, first)
            if found is None:
                return None
            seat, other_ticks = found
            if seat != self._index:
                other = self._board.sitter(seat, other_ticks, row.decimals, self._owner)
                if other is not None:
                    return other
            first = seat + 1

    def begin(self) -> None:
        """Take away what an earlier life of the instance left, but for what was put by this one."""
        kept = {(self._rows[symbol].number, side) for symbol, side in self._best}
        for index in range(PriceBoard.ROWS):
            for side in ("buy", "sell"):
                if (index, side) not in kept:
                    self._board.prices.write(self._index, index, side == "buy", 0)

    def leave(self) -> None:
        """Give the seat up. Prices that are left count for `GRACE_S` on."""
        self._board.leave(self._index, is_clear=not any(self._best.values()))
        self._lock.release()

    def _write(self, row: _Row, symbol: str, side: Side, ticks: int) -> None:
        self._board.prices.write(self._index, row.number, side == "buy", ticks)
        self._best[symbol, side] = ticks


def _ticks(row: _Row, side: Side, price: Decimal) -> int:
    """Return a price as the row has them; between two ticks, the one that is in more orders' way.

    That can only be where the market's ticks were changed since another process, or the order.
    """
    if row.decimals == row.market.price_decimals:
        try:
            return row.market.price_to_ticks(price)
        except FixedPointError:
            pass  # an order of before the market's ticks were changed
    scaled = EXACT.scaleb(price, row.decimals)
    return int(scaled.to_integral_value(ROUND_CEILING if side == "buy" else ROUND_FLOOR))


def _hash(text: str) -> int:
    """Return 59 bits of a hash, shifted to where the board wants them; never 0."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big", signed=True) | 32) & ~31
