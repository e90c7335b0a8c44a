"""What it costs to make an intent durable before its order is sent, and to write a fill.

Measures the public calls that the engine makes, on a journal file in the temporary folder.
"process" survives kill -9, "power" also the loss of power; the difference is the disk's sync.
Run:  pytest benchmarks/bench_journal.py --benchmark-columns=min,median,ops
"""

from decimal import Decimal

import pytest

from nkfast.trading.journal import Journal
from nkfast.trading.ledger import Profit
from nkfast.trading.orders import Order
from nkfast.venue.port import Execution, OrderUpdate, VenueStatus

ROUNDS = 3000


@pytest.fixture(params=["process", "power"])
def journal(request, tmp_path):
    with Journal.open(
        tmp_path / "journal.db", instance="nk01", durability=request.param
    ) as journal:
        yield journal


def orders(journal):
    ids = journal.id_source()
    while True:
        yield Order(
            ids.next(),
            "level+3",
            "BTC/USDT",
            "buy",
            Decimal("123.45"),
            Decimal("0.5"),
            "limit",
            1_700_000_000_000,
        )


def test_intend(benchmark, journal):
    source = orders(journal)
    benchmark.pedantic(
        journal.intend, setup=lambda: ((next(source),), {}), rounds=ROUNDS, iterations=1
    )


def test_record_fill(benchmark, journal):
    source = orders(journal)
    profit = Profit("BTC", "USDT")

    def setup():
        order = next(source)
        journal.intend(order)
        fill = Execution(
            f"t{order.client_id}",
            f"v{order.client_id}",
            order.client_id,
            order.symbol,
            order.side,
            order.price,
            order.quantity,
            Decimal("0.12345"),
            "USDT",
            True,
            1_700_000_000_000,
        )
        update = OrderUpdate(
            order.client_id,
            fill.order_id,
            order.symbol,
            order.side,
            order.price,
            order.quantity,
            order.quantity,
            VenueStatus.FILLED,
            fill,
        )
        news = order.hear_update(update)
        return ([news],), {"profit": profit.after_fill(fill), "strategy_state": '{"cells":{}}'}

    benchmark.pedantic(journal.record, setup=setup, rounds=ROUNDS, iterations=1)
