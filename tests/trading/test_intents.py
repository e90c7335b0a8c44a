"""Intents on the short way: one record beside the store, taken up once, and never half of it."""

import json
import os
import shutil
import sqlite3
import stat
from decimal import Decimal
from pathlib import Path

import pytest

from nkfast.errors import JournalError
from nkfast.trading.intents import _FILE_BYTES
from nkfast.trading.journal import Journal, verify
from nkfast.trading.orders import Order, OrderState, Outcome


def orders(journal: Journal, count: int) -> list[Order]:
    ids = journal.id_source()
    price, quantity = Decimal("64000.50"), Decimal("0.0125")
    return [
        Order(ids.next(), f"level-{n}", "BTC/USDT", "buy", price, quantity, sent_ms=7)
        for n in range(count)
    ]


def promise(journal: Journal, batch: list[Order], state: str | None = None) -> None:
    journal.hold()
    for order in batch:
        journal.intend(order, state)
    journal.commit()


def stored(path: Path) -> int:
    """How many orders are in the store itself."""
    store = sqlite3.connect(path)
    count: int = store.execute("SELECT count(*) FROM orders").fetchone()[0]
    store.close()
    return count


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j.db"


def test_a_batch_of_intents_is_stored_when_it_is_settled(path: Path) -> None:
    with Journal.open(path, instance="nk01") as journal:
        batch = orders(journal, 3)
        promise(journal, batch)
        assert stored(path) == 0
        journal.settle()
        assert stored(path) == 3
        journal.settle()
        assert verify(path).orders == 3


def test_what_was_promised_is_found_by_the_next_holder(path: Path) -> None:
    with Journal.open(path, instance="nk01") as journal:
        batch = orders(journal, 3)
        promise(journal, batch, '{"anchor":"1"}')
    assert stored(path) == 0
    with Journal.open(path, instance="nk01") as journal:
        found = journal.recover(0)
        journal.record([batch[0].hear_outcome(Outcome.UNKNOWN, "its process ended")])
    assert [order.client_id for order in found.orders] == [order.client_id for order in batch]
    assert {order.state for order in found.orders} == {OrderState.SENDING}
    assert found.strategy_state == {"anchor": "1"}
    report = verify(path)
    assert report.ok, report.differences
    with Journal.open(path, instance="nk01") as journal:
        assert len(journal.recover(0).orders) == 3, "taken up twice"


def test_whoever_reads_finds_what_a_dead_process_promised(path: Path) -> None:
    with Journal.open(path, instance="nk01") as journal:
        promise(journal, orders(journal, 2))
        assert verify(path).orders == 0  # its holder lives, and will store them
    report = verify(path)
    assert (report.ok, report.orders) == (True, 2)
    assert stored(path) == 2


def test_whatever_is_written_next_follows_what_was_promised(path: Path) -> None:
    writes = (
        lambda journal, order: journal.record([order.hear_outcome(Outcome.UNKNOWN, "lost")]),
        lambda journal, order: journal.set_cursor(5),
        lambda journal, order: journal.find_order(order.client_id),
        lambda journal, order: journal.hold(),
    )
    for count, write in enumerate(writes, 1):
        with Journal.open(path, instance="nk01") as journal:
            (order,) = orders(journal, 1)
            promise(journal, [order])
            write(journal, order)
            journal.commit()
            assert stored(path) == count
            assert verify(path).ok


def test_in_a_batch_with_other_writes_it_is_one_transaction(path: Path) -> None:
    with Journal.open(path, instance="nk01") as journal:
        first, second, third = orders(journal, 3)
        journal.hold()
        journal.intend(first)
        journal.record([first.hear_outcome(Outcome.UNKNOWN, "lost")])
        journal.intend(second)
        assert journal.find_order(second.client_id) is not None
        assert stored(path) == 0
        journal.commit()
        assert stored(path) == 2
        # A batch that is not committed is nothing, wherever it would have gone.
        journal.hold()
        journal.intend(third)
    with Journal.open(path, instance="nk01") as journal:
        assert len(journal.recover(0).orders) == 2


def test_d25_a_record_that_was_torn_at_any_byte_is_nothing(path: Path, tmp_path: Path) -> None:
    with Journal.open(path, instance="nk01") as journal:
        file = path.with_name("j.db.intents")
        before = file.read_bytes()
        promise(journal, orders(journal, 2))
        after = file.read_bytes()
    size = 20 + int.from_bytes(after[16:20])
    assert before == bytes(_FILE_BYTES)
    assert after[size:] == bytes(_FILE_BYTES - size)
    for whole in range(0, size, 11):
        file.write_bytes(after[:whole] + before[whole:])
        with Journal.open(shutil.copytree(tmp_path, tmp_path / "c") / "j.db", instance="nk01") as j:
            assert j.recover(0).orders == [], f"the first {whole} bytes"
        shutil.rmtree(tmp_path / "c")
    for damaged in (0, 15, 19, 20, size - 1):
        file.write_bytes(after[:damaged] + bytes([after[damaged] ^ 1]) + after[damaged + 1 :])
        assert verify(path).orders == 0
    file.write_bytes(after)
    assert verify(path).orders == 2


def test_a_record_of_another_history_is_nothing(path: Path) -> None:
    """A journal that was put back from a copy does not take up what followed another event."""
    with Journal.open(path, instance="nk01") as journal:
        promise(journal, orders(journal, 1))
    record = path.with_name("j.db.intents").read_bytes()
    with Journal.open(path, instance="nk01") as journal:
        assert len(journal.recover(0).orders) == 1
    path.with_name("j.db.intents").write_bytes(record)
    with Journal.open(path, instance="nk01") as journal:
        assert len(journal.recover(0).orders) == 1
    assert verify(path).ok


def test_a_batch_too_large_for_the_file_is_stored_at_once(path: Path) -> None:
    with Journal.open(path, instance="nk01") as journal:
        promise(journal, orders(journal, 2), json.dumps({"much": "x" * _FILE_BYTES}))
        assert stored(path) == 2
    assert verify(path).ok


def test_a_store_that_is_full_keeps_what_was_promised(path: Path) -> None:
    with Journal.open(path, instance="nk01") as journal:
        pages = journal._execute("PRAGMA page_count").fetchone()[0]
        journal._execute(f"PRAGMA max_page_count = {pages}")
        promise(journal, orders(journal, 50))
        with pytest.raises(JournalError, match="full"):
            journal.settle()
        with pytest.raises(JournalError, match="failed before"):
            journal.hold()
    report = verify(path)
    assert (report.ok, report.orders) == (True, 50)


@pytest.mark.parametrize("failing", ["write", "mmap"])
def test_a_file_that_cannot_hold_a_record_is_an_error(path: Path, monkeypatch, failing) -> None:
    if failing == "write":
        write = os.write
        monkeypatch.setattr(
            os, "write", lambda file, content: write(file, content[: _FILE_BYTES - 1])
        )
    else:
        monkeypatch.setattr("nkfast.trading.intents.mmap.mmap", refuse)
    with pytest.raises(JournalError, match="cannot be written"):
        Journal.open(path, instance="nk01")
    monkeypatch.undo()
    Journal.open(path, instance="nk01").close()  # the lock was given back


def refuse(*_: object) -> None:
    raise OSError("no such device")


def test_what_must_survive_power_is_stored_at_once(path: Path) -> None:
    with Journal.open(path, instance="nk01") as journal:
        first, second = orders(journal, 2)
        promise(journal, [first])
        assert stored(path) == 0
        journal.expect_real_money()
        promise(journal, [second])
        assert stored(path) == 2
    with Journal.open(path, instance="nk01", durability="power") as journal:
        promise(journal, orders(journal, 1))
        assert stored(path) == 3


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of this kind")
def test_only_its_owner_may_use_it(path: Path) -> None:
    Journal.open(path, instance="nk01").close()
    file = path.with_name("j.db.intents")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)
    with pytest.raises(JournalError, match="mode 0644"):
        Journal.open(path, instance="nk01")
    file.unlink()
    file.symlink_to(path)
    with pytest.raises(JournalError, match="link"):
        Journal.open(path, instance="nk01")
    file.unlink()
    Journal.open(path, instance="nk01").close()  # the lock was given back each time
