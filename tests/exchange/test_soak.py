"""A million orders: money is conserved, and memory stops growing when the histories are full."""

import gc
import random
import sys
from pathlib import Path

import pytest
from exchange.conftest import NOW_MS, market_row

from nkfast.errors import RejectedError
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.invariants import violations
from nkfast.exchange.rules import OrderForm

ORDER_COUNT = 1_000_000
STEP_COUNT = 100_000
HISTORY_MAX = 2_000
#: By then each of two accounts remembers as many client ids as it may, ten for each order, and the
#: tables that hold them were made larger for the last time.
FULL_COUNT = 300_000
OPEN_COUNT_MAX = 500


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat_over_a_million_orders(capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(5)
    exchange = Exchange([market_row()], now_ms=NOW_MS, history_max=HISTORY_MAX)
    accounts = [
        exchange.open_account(name, {"ETH": "10000000", "USDT": "10000000000"}) for name in "ab"
    ]
    curve: list[tuple[int, int]] = []
    trades = 0
    for number in range(1, ORDER_COUNT + 1):
        account = accounts[chance.getrandbits(1)]
        fields = {
            "symbol": "ETH/USDT",
            "side": "buy" if chance.getrandbits(1) else "sell",
            "quantity": f"{chance.randint(10, 30_000) / 10_000}",
            "price": f"{3000 + chance.randint(-300, 300) / 100}",
        }
        try:
            order = exchange.submit(account, OrderForm.from_wire(fields), NOW_MS + number)
        except RejectedError:
            order = None
        trades += order is not None and order.executed_lots > 0
        if len(account.open_orders) > OPEN_COUNT_MAX:
            oldest = next(iter(account.open_orders.values()))
            exchange.withdraw(oldest, NOW_MS + number)
        if number % STEP_COUNT == 0:
            assert violations(exchange) == []
            curve.append((number, resident_bytes()))
    with capsys.disabled():
        for count, size in curve:
            sys.stdout.write(f"\n{count:>9,} orders {size >> 20:>5} MiB")
    full = [size for count, size in curve if count >= FULL_COUNT]
    assert trades > ORDER_COUNT // 4
    assert max(full) - min(full) < 0.02 * min(full)
