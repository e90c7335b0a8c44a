"""The board where processes see each other's own orders: real processes, killed and stopped."""

import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from nkfast.core.board import PriceBoard
from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.trading.account import AccountOrders, Crossed
from nkfast.trading.account_board import GRACE_S, AccountBoard
from nkfast.trading.orders import Order, OrderStore
from nkfast.venue.port import OrderUpdate, VenueStatus

D = Decimal
SYMBOL = "BTC/USDT"
MARKET = Market(symbol=SYMBOL, price_decimals=2, quantity_decimals=4)
NS = 10**9


class Clock:
    """A machine that was started once, and is as old as the test says."""

    def __init__(self) -> None:
        self.now_ns = NS
        self.boot_id = "boot1"

    def boot_ns(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


def traded(folder: Path, clock: Clock, name: str) -> tuple[AccountOrders, OrderStore]:
    """An instance in what might be another process: nothing is shared but the folder."""
    account, orders = AccountOrders(AccountBoard(folder, clock)), OrderStore()
    account.join(SYMBOL, orders)
    account.sit([MARKET], orders, name, f"/state/{name}")
    account.begin(orders)
    return account, orders


def order(name: str, side: str, price: str | None) -> Order:
    kind = "market" if price is None else "limit"
    return Order(name, name, SYMBOL, side, None if price is None else D(price), D(1), kind)


def send(account: AccountOrders, orders: OrderStore, one: Order) -> Crossed | None:
    crossed = account.claim(SYMBOL, one.side, one.price, orders)
    if crossed is None:
        orders.add(one)
    else:
        account.withdraw(SYMBOL, one.side, orders)
    return crossed


def end(orders: OrderStore, one: Order) -> None:
    update = OrderUpdate(
        one.client_id, "x", SYMBOL, one.side, one.price, D(1), D(0), VenueStatus.CANCELLED
    )
    news = one.hear_update(update)
    assert news is not None
    orders.apply(news)
    assert not one.state.is_open


def test_instances_of_other_processes_are_seen_from_the_claim_on(tmp_path, clock):
    a, of_a = traded(tmp_path, clock, "grid-a")
    b, of_b = traded(tmp_path, clock, "grid-b")
    sells = [order("1", "sell", "101"), order("2", "sell", "102.5")]
    assert [send(a, of_a, one) for one in sells] == [None, None]
    assert b.crossed_by(SYMBOL, "buy", D("100.99"), of_b) is None
    assert b.crossed_by(SYMBOL, "buy", D(101), of_b) == Crossed(D(101), "grid-a")
    assert b.crossed_by(SYMBOL, "buy", D(101)) is None  # for nobody of this board
    assert send(b, of_b, order("3", "buy", "102")) == Crossed(D(101), "grid-a")
    assert a.crossed_by(SYMBOL, "sell", D(1), of_a) is None  # it was withdrawn
    end(of_a, sells[0])
    assert send(b, of_b, order("4", "buy", "102")) is None
    assert a.crossed_by(SYMBOL, "sell", D(102), of_a) == Crossed(D(102), "grid-b")
    end(of_a, sells[1])
    assert b.crossed_by(SYMBOL, "buy", D(10**6), of_b) is None


def test_own_orders_are_not_the_boards_affair(tmp_path, clock):
    account, orders = traded(tmp_path, clock, "grid-a")
    send(account, orders, order("1", "sell", "101"))
    assert account.crossed_by(SYMBOL, "buy", D(101), orders) == Crossed(D(101), "own")
    assert account.claim(SYMBOL, "buy", D(101), orders) is None


def test_who_ended_leaves_its_prices_for_a_while_and_finds_its_seat_again(tmp_path, clock):
    a, of_a = traded(tmp_path, clock, "grid-a")
    b, of_b = traded(tmp_path, clock, "grid-b")
    send(a, of_a, order("1", "sell", "101"))
    a.leave(of_a)
    gone = Crossed(D(101), "grid-a, which has ended,")
    assert b.crossed_by(SYMBOL, "buy", D(101), of_b) == gone
    again, of_again = traded(tmp_path, clock, "grid-a")
    # It took up nothing: its earlier life left nothing.
    assert b.crossed_by(SYMBOL, "buy", D(101), of_b) is None
    send(again, of_again, order("2", "sell", "99"))
    again.leave(of_again)
    clock.now_ns += int((GRACE_S - 1) * NS)
    assert b.crossed_by(SYMBOL, "buy", D(101), of_b) is not None
    clock.now_ns += NS
    assert b.crossed_by(SYMBOL, "buy", D(101), of_b) is None
    # And its own earlier life, on a seat that somebody looks at, is not in its way.
    assert again.crossed_by(SYMBOL, "buy", D(101), of_again) is None


def test_what_a_start_takes_up_is_seen(tmp_path, clock):
    b, of_b = traded(tmp_path, clock, "grid-b")
    account, orders = AccountOrders(AccountBoard(tmp_path, clock)), OrderStore()
    account.sit([MARKET], orders, "grid-a", "/state/grid-a")
    orders.adopt(order("1", "buy", "98"))
    orders.adopt(order("2", "buy", "99"))
    account.begin(orders)
    assert b.crossed_by(SYMBOL, "sell", D(99), of_b) == Crossed(D(99), "grid-a")


def test_ticks_that_were_changed_between_two_starts_are_in_more_orders_way(tmp_path, clock):
    a, of_a = traded(tmp_path, clock, "grid-a")
    fine = Market(symbol=SYMBOL, price_decimals=4, quantity_decimals=4)
    b, of_b = AccountOrders(AccountBoard(tmp_path, clock)), OrderStore()
    b.sit([fine], of_b, "grid-b", "/state/grid-b")
    assert b.claim(SYMBOL, "sell", D("100.0099"), of_b) is None
    assert a.crossed_by(SYMBOL, "buy", D(100), of_a) == Crossed(D(100), "grid-b")
    assert b.claim(SYMBOL, "buy", D("99.0001"), of_b) is None
    assert a.crossed_by(SYMBOL, "sell", D("99.01"), of_a) == Crossed(D("99.01"), "grid-b")


def test_a_start_of_the_machine_begins_a_new_board(tmp_path, clock):
    a, of_a = traded(tmp_path, clock, "grid-a")
    send(a, of_a, order("1", "sell", "101"))
    a.leave(of_a)
    clock.boot_id = "boot2"
    b, of_b = traded(tmp_path, clock, "grid-b")
    assert b.crossed_by(SYMBOL, "buy", D(101), of_b) is None
    assert [path.name for path in tmp_path.glob("*.board")] == ["orders-boot2.board"]


def test_there_is_no_seat_more_than_there_are(tmp_path, clock):
    board = AccountBoard(tmp_path, clock)
    seats = [board.sit(str(number), str(number)) for number in range(PriceBoard.SEATS)]
    with pytest.raises(ConfigError, match="128 instances"):
        board.sit("one more", "one more")
    seats[0].leave()
    board.sit("one more", "one more").leave()
    for seat in seats[1:]:
        seat.leave()


def test_a_file_that_is_no_board_is_refused(tmp_path, clock):
    (tmp_path / "orders-boot1.board").write_bytes(b"x")
    with pytest.raises(ConfigError, match="remove it"):
        AccountBoard(tmp_path, clock)


#: Claims, and writes what passed on a second board: there no two may ever cross.
HAMMER = """
import random, sys
from decimal import Decimal
from pathlib import Path
from nkfast.core.market import Market
from nkfast.trading.account_board import AccountBoard
from nkfast.venue.clock import RealClock
folder, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
market = Market(symbol="BTC/USDT", price_decimals=2, quantity_decimals=4)
claims, passed = (AccountBoard(folder / which, RealClock()) for which in ("claims", "passed"))
mine, checked = (board.sit(name, name) for board in (claims, passed))
mine.watch(market), checked.watch(market)
rng, done, refused = random.Random(name), 0, 0
print("ready", flush=True)
sys.stdin.readline()
while done + refused < rounds:
    side, price = rng.choice(["buy", "sell"]), Decimal(rng.randrange(9_998, 10_003)) / 100
    mine.put("BTC/USDT", side, price)
    if mine.crossed_by("BTC/USDT", side, price) is None:
        checked.put("BTC/USDT", side, price)
        other = checked.crossed_by("BTC/USDT", side, price)
        assert other is None or other.has_ended, (name, side, price, other)
        done += 1
        if rng.random() < 0.1:
            print(done, flush=True)
        checked.put("BTC/USDT", side, None)
    else:
        refused += 1
    mine.put("BTC/USDT", side, None)
print(done, refused, flush=True)
"""


def hammer(folder: Path, name: str, rounds: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", "-c", HAMMER, str(folder), name, str(rounds)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def begin(processes: "list[subprocess.Popen[str]]") -> None:
    """Let all of them begin at once."""
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def test_processes_at_once_never_both_pass(tmp_path):
    processes = [hammer(tmp_path, name, 5000) for name in "abc"]
    begin(processes)
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        done, refused = map(int, output.split()[-2:])
        assert done > 0 and done + refused == 5000


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be stopped there")
def test_a_process_that_is_stopped_or_killed_stops_nobody(tmp_path):
    processes = [hammer(tmp_path, name, 10**9) for name in "ab"]
    try:
        begin(processes)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            processes[0].send_signal(number)
            os.waitpid(processes[0].pid, os.WUNTRACED)
            before = int(processes[1].stdout.readline())
            while int(processes[1].stdout.readline()) < before + 200:
                assert processes[1].poll() is None, processes[1].stderr.read()
    finally:
        processes[1].kill()
        for process in processes:
            process.communicate()
