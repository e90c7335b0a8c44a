"""The account of paper runs goes on from run to run, and begins anew when it is told to."""

from decimal import Decimal
from pathlib import Path

import pytest

from nkfast.app.instance import Instance
from nkfast.app.paper_account import put_away, resumed_funds
from nkfast.errors import JournalLockedError
from nkfast.trading.journal import Journal
from nkfast.trading.ledger import Profit
from nkfast.trading.orders import Order
from nkfast.venue.port import Execution, OrderUpdate, VenueStatus

D = Decimal
SYMBOL = "BTC/USDT"
BEGINNING = {"USDT": D(500), "BTC": D("0.01")}


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    made = Instance.named("bot", tmp_path)
    made.folder.mkdir()
    return made


def opened(instance: Instance) -> Journal:
    return Journal.open(instance.journal_of("paper"), instance="bot")


def buy(journal: Journal) -> None:
    order = Order(journal.id_source().next(), "s", SYMBOL, "buy", D(50_000), D("0.002"), sent_ms=1)
    journal.intend(order)
    fill = Execution(
        trade_id="t1",
        order_id="o1",
        client_id=order.client_id,
        symbol=SYMBOL,
        side="buy",
        price=D(50_000),
        quantity=D("0.002"),
        fee=D("0.2"),
        fee_asset="USDT",
        is_maker=True,
        time_ms=2,
    )
    update = OrderUpdate(
        order.client_id,
        "o1",
        SYMBOL,
        "buy",
        D(50_000),
        D("0.002"),
        D("0.002"),
        VenueStatus.FILLED,
        fill,
    )
    news = order.hear_update(update)
    assert news is not None
    journal.record([news], profit=Profit("BTC", "USDT").after_fill(fill))


def test_what_fills_made_is_there_at_the_next_start(instance):
    with opened(instance) as journal:
        assert resumed_funds(journal, BEGINNING) == BEGINNING
        buy(journal)
    with opened(instance) as journal:
        # The configuration's funds are those of the beginning; nothing is given twice.
        resumed = resumed_funds(journal, {"USDT": D(9), "ETH": D(1)})
    assert resumed == {"USDT": D("399.8"), "BTC": D("0.012")}


def test_an_older_journal_begins_with_what_it_is_given(instance):
    with opened(instance) as journal:
        buy(journal)
        assert resumed_funds(journal, {"USDT": D(500)}) == {"USDT": D(500), "BTC": D(0)}
    with opened(instance) as journal:
        assert resumed_funds(journal, {}) == {"USDT": D(500), "BTC": D(0)}


def test_a_fresh_account_leaves_the_old_journal_whole(instance):
    assert put_away(instance) == ""
    with opened(instance) as journal:
        resumed_funds(journal, BEGINNING)
        buy(journal)
    with instance.held(), pytest.raises(JournalLockedError, match="runs already"):
        put_away(instance)
    folder = Path(put_away(instance))
    assert not [*instance.folder.glob("journal*")]
    with opened(instance) as journal:
        assert resumed_funds(journal, BEGINNING) == BEGINNING
    with Journal.open(folder / "journal-paper.db", instance="bot") as journal:
        assert resumed_funds(journal, {})["BTC"] == D("0.012")
