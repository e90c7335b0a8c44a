"""The journal: durable before it counts, one holder, and a tampered row does not go unseen."""

import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from nkfast.errors import JournalCorruptError, JournalError, JournalLockedError
from nkfast.trading import journal as journal_module
from nkfast.trading.journal import Journal, Life, verify
from nkfast.trading.journal_file import MIGRATIONS, SCHEMA_VERSION
from nkfast.trading.journal_rows import chain, encode_json
from nkfast.trading.ledger import Profit
from nkfast.trading.orders import IdSource, Order, OrderState, Outcome
from nkfast.trading.reasons import newest_reasons, reason_totals
from nkfast.venue.port import Execution, OrderUpdate, VenueStatus

SYMBOL = "BTC/USDT"


def an_order(client_id: str, slot: str = "level-1", side: str = "buy") -> Order:
    return Order(
        client_id,
        slot,
        SYMBOL,
        side,
        Decimal("0.00001230"),
        Decimal("1.5"),
        sent_ms=7,
        sent_ns=8,
        sent_boot="b",
    )


def a_fill(trade_id: str, order: Order, quantity: str, fee: str | None) -> Execution:
    return Execution(
        trade_id,
        f"venue-{order.client_id}",
        order.client_id,
        SYMBOL,
        order.side,
        order.price,
        Decimal(quantity),
        None if fee is None else Decimal(fee),
        "USDT",
        True,
        9,
    )


def an_update(order: Order, status: VenueStatus, executed: str = "0", fill=None) -> OrderUpdate:
    return OrderUpdate(
        order.client_id,
        f"venue-{order.client_id}",
        SYMBOL,
        order.side,
        order.price,
        order.quantity,
        Decimal(executed),
        status,
        fill,
    )


def live_a_little(path: Path) -> Profit:
    """Write one life of every kind; return the profit at its end."""
    with Journal.open(path, instance="nk01", mark=0) as journal:
        ids = journal.id_source()
        profit = Profit("BTC", "USDT")
        orders = [an_order(ids.next(), f"level-{n}", "buy" if n % 2 else "sell") for n in range(5)]
        for order in orders:
            journal.intend(order)
        filled, partly, rejected, unknown, _untouched = orders
        for order, fill in (
            (filled, a_fill("t1", filled, "1.5", "0.0001")),
            (partly, a_fill("t2", partly, "0.7", None)),
        ):
            status = VenueStatus.FILLED if order is filled else VenueStatus.PARTLY_FILLED
            news = order.hear_update(an_update(order, status, str(fill.quantity), fill))
            profit = profit.after_fill(fill)
            journal.record([news], profit=profit, strategy_state='{"anchor":"1"}')
            order.apply(news)
        # The history tells the fee, and has its own idea of the rest.
        fee = replace(a_fill("t2", partly, "0.7", "0.00005"), is_maker=False, time_ms=10)
        news = partly.hear_execution(fee)
        profit = profit.after_fee(partly.fills["t2", fee.order_id], fee)
        journal.record([news], profit=profit)
        partly.apply(news)
        journal.record([partly.hear_cancel_wish()])
        journal.record([rejected.hear_outcome(Outcome.REJECTED, "20001")])
        journal.record([unknown.hear_outcome(Outcome.UNKNOWN, "timeout")])
        journal.set_cursor(1234)
        journal.add_reasons({"SELF_CROSS": (2, "1 against 2")}, [(7, "SELF_CROSS", "1 against 2")])
        journal.note_life("halted", "test", 10)
    return profit


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    profit = live_a_little(tmp_path / "j.db")
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        found = journal.recover(now_ms=0)
        assert journal.boot == 2
        missing = journal.find_order("nobody")
    assert missing is None
    assert reason_totals(tmp_path / "j.db") == [("SELF_CROSS", 2, "1 against 2")]
    assert newest_reasons(tmp_path / "j.db", 5) == [(7, "SELF_CROSS", "1 against 2")]
    assert [order.state for order in found.orders] == [
        OrderState.DONE,
        OrderState.LIVE,
        OrderState.REJECTED,
        OrderState.UNKNOWN,
        OrderState.SENDING,
    ]
    assert {(order.sent_ms, order.sent_ns, order.sent_boot) for order in found.orders} == {
        (7, 8, "b")
    }
    partly = found.orders[1]
    assert partly.filled == Decimal("0.7")
    assert partly.facts.cancel_wanted
    assert partly.fills["t2", partly.order_id].fee == Decimal("0.00005")
    assert partly.price == Decimal("0.00001230")
    assert found.orders[2].facts.reason == "20001"
    assert found.profits == {"BTC/USDT": profit}
    assert found.strategy_state == {"anchor": "1"}
    assert found.cursor_ms == 1234


def test_old_finished_orders_are_found_one_by_one(tmp_path: Path) -> None:
    live_a_little(tmp_path / "j.db")
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        recovered = journal.recover(now_ms=10**13).orders
        old = journal.find_order(IdSource("nk01", 1).next())
    assert [order.state for order in recovered] == [
        OrderState.LIVE,
        OrderState.UNKNOWN,
        OrderState.SENDING,
    ]
    assert old is not None
    assert old.state is OrderState.DONE


def test_verify_replays_to_the_stored_state(tmp_path: Path) -> None:
    live_a_little(tmp_path / "j.db")
    report = verify(tmp_path / "j.db")
    assert report.differences == []
    assert report.ok
    assert (report.orders, report.fills) == (5, 2)


def test_verify_reads_while_the_journal_is_held(tmp_path: Path) -> None:
    live_a_little(tmp_path / "j.db")
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        journal.intend(an_order(journal.id_source().next()))
        report = verify(tmp_path / "j.db")
    assert report.ok
    assert report.orders == 6


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE orders SET state = 'done' WHERE state = 'live'",
        "UPDATE orders SET executed = '1.4' WHERE executed = '1.5'",
        "UPDATE orders SET price = '0.0000124' WHERE rowid_of = 1",
        "UPDATE orders SET slot = 'level-9' WHERE slot = 'level-0'",
        "UPDATE fill SET fee = '0' WHERE trade_id = 't1'",
        "UPDATE fill SET quantity = '1.6' WHERE trade_id = 't1'",
        "DELETE FROM fill WHERE trade_id = 't2'",
        "DELETE FROM orders WHERE state = 'rejected'",
        "UPDATE state SET value = replace(value, '\"fills\":2', '\"fills\":3')",
        "DELETE FROM state WHERE key LIKE 'profit%'",
        "DELETE FROM event WHERE n = 3",
        "UPDATE event SET body = replace(body, '1.5', '1.6') WHERE kind = 'intent'",
        "UPDATE event SET client_id = 'x' WHERE n = 9",
        "DELETE FROM event WHERE kind = 'news'",
        "UPDATE fill SET client_id = 'x' WHERE trade_id = 't2'",
        "UPDATE event SET body = '[' WHERE kind = 'life'",
    ],
)
def test_verify_finds_a_tampered_row(tmp_path: Path, statement: str) -> None:
    live_a_little(tmp_path / "j.db")
    statement = statement.replace("rowid_of = 1", "slot = 'level-0'")
    store = sqlite3.connect(tmp_path / "j.db", isolation_level=None)
    changed = store.execute(statement).rowcount
    store.close()
    assert changed >= 1
    report = verify(tmp_path / "j.db")
    assert not report.ok
    assert report.differences


def test_an_order_and_its_news_need_an_intent_first(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        order = an_order("c1")
        journal.intend(order)
        with pytest.raises(JournalError):
            journal.intend(order)


def test_a_failed_journal_takes_nothing_more(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        journal.intend(an_order("c1"))
        blocker = sqlite3.connect(tmp_path / "j.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        journal._execute("PRAGMA busy_timeout = 1")
        with pytest.raises(JournalError, match="trading stops"):
            journal.intend(an_order("c2"))
        blocker.execute("ROLLBACK")
        blocker.close()
        with pytest.raises(JournalError, match="failed before"):
            journal.intend(an_order("c3"))
        with pytest.raises(JournalError, match="failed before"):
            journal.set_cursor(1)
    report = verify(tmp_path / "j.db")
    assert report.ok
    assert report.orders == 1


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j.db", instance="nk01")
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="closed"):
        journal.intend(an_order("c1"))


def test_d60_only_one_holder(tmp_path: Path) -> None:
    with (
        Journal.open(tmp_path / "j.db", instance="nk01"),
        pytest.raises(JournalLockedError, match=f"process {os.getpid()} holds"),
    ):
        Journal.open(tmp_path / "j.db", instance="nk01")
    Journal.open(tmp_path / "j.db", instance="nk01").close()


def test_another_process_is_refused_and_told_who_holds(tmp_path: Path) -> None:
    code = (
        "import sys; from nkfast.trading.journal import Journal\n"
        "try: Journal.open(sys.argv[1], instance='nk01')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    with Journal.open(tmp_path / "j.db", instance="nk01"):
        told = subprocess.run(
            [sys.executable, "-P", "-c", code, str(tmp_path / "j.db")],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    assert told.startswith("JournalLockedError")
    assert f"process {os.getpid()} holds" in told


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of this kind")
def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        journal.intend(an_order("c1"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes.keys() == {"j.db", "j.db-wal", "j.db-shm", "j.db.lock", "j.db.intents"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_durability_is_what_was_asked(tmp_path: Path, durability: str, level: int) -> None:
    with Journal.open(tmp_path / "j.db", instance="nk01", durability=durability) as journal:
        assert journal._execute("PRAGMA synchronous").fetchone() == (level,)
        assert journal._execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(JournalError, match="durability"):
        Journal.open(tmp_path / "j.db", instance="nk01", durability="none")


@pytest.mark.parametrize(
    ("durability", "level"), [(None, 2), ("process", 1), ("power", 2)], ids=str
)
def test_real_money_survives_the_loss_of_power_unless_somebody_chose(
    tmp_path: Path, durability, level: int
) -> None:
    with Journal.open(tmp_path / "j.db", instance="nk01", durability=durability) as journal:
        if durability is None:
            assert journal._execute("PRAGMA synchronous").fetchone() == (1,)
        journal.expect_real_money()
        assert journal._execute("PRAGMA synchronous").fetchone() == (level,)


def test_a_journal_belongs_to_one_instance(tmp_path: Path) -> None:
    Journal.open(tmp_path / "j.db", instance="nk01").close()
    with pytest.raises(JournalCorruptError, match="belongs to instance"):
        Journal.open(tmp_path / "j.db", instance="nk02")
    Journal.open(tmp_path / "j.db", instance="nk01").close()


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    Journal.open(tmp_path / "j.db", instance="nk01").close()
    store = sqlite3.connect(tmp_path / "j.db")
    store.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(JournalCorruptError, match="schema version 99"):
        Journal.open(tmp_path / "j.db", instance="nk01")
    with pytest.raises(JournalCorruptError, match="schema version 99"):
        verify(tmp_path / "j.db")


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_text("these are the notes of somebody else" * 100)
    (tmp_path / "j.db").chmod(0o600)
    with pytest.raises(JournalCorruptError):
        Journal.open(tmp_path / "j.db", instance="nk01")
    with pytest.raises(JournalCorruptError):
        verify(tmp_path / "j.db")
    with pytest.raises(JournalError, match="does not exist"):
        verify(tmp_path / "absent.db")


def test_T11_T12_no_journal_makes_the_ids_of_another(tmp_path: Path) -> None:
    made: list[str] = []
    for life in range(4):
        path = tmp_path / f"{life % 2}" / "j.db"  # two copies, each started twice
        with Journal.open(path, instance="nk01") as journal:
            ids = journal.id_source()
            made += [ids.next() for _ in range(3)]
    assert len(set(made)) == 12
    with Journal.open(tmp_path / "0" / "j.db", instance="nk01") as journal:
        ids = journal.id_source()
    known = [ids.knows_start(ids.owns(client_id)) for client_id in made]
    assert known == [True] * 3 + [False] * 3 + [True] * 3 + [False] * 3


def test_boots_are_counted_before_anything_else(tmp_path: Path) -> None:
    for boot in (1, 2, 3):
        with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
            assert journal.boot == boot


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes of this kind")
def test_T08_a_file_that_others_may_use_is_refused(tmp_path: Path) -> None:
    Journal.open(tmp_path / "j.db", instance="nk01").close()
    (tmp_path / "j.db").chmod(0o640)
    with pytest.raises(JournalError, match="mode 0640"):
        Journal.open(tmp_path / "j.db", instance="nk01")
    (tmp_path / "j.db").chmod(0o600)
    (tmp_path / "link.db").symlink_to(tmp_path / "j.db")
    with pytest.raises(JournalError, match="is a link"):
        Journal.open(tmp_path / "link.db", instance="nk01")
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(JournalError, match="is no file"):
        Journal.open(tmp_path / "folder.db", instance="nk01")
    Journal.open(tmp_path / "j.db", instance="nk01").close()


def make_old(path: Path, version: int) -> None:
    """Turn a journal of today into one of an earlier version, with all that it holds."""
    assert version == 1
    store = sqlite3.connect(path, isolation_level=None)
    store.execute("DROP TABLE reason_log")
    store.execute("ALTER TABLE orders DROP COLUMN sent_ns")
    store.execute("ALTER TABLE orders DROP COLUMN sent_boot")
    # The bodies of its intents were shorter, and so were the hashes others.
    last = b""
    for n, kind, client_id, body in store.execute(
        "SELECT n, kind, client_id, body FROM event ORDER BY n"
    ).fetchall():
        if kind == "intent":
            body = encode_json(json.loads(body)[:-2])
        last = chain(last, kind, client_id, body)
        store.execute("UPDATE event SET body = ?, hash = ? WHERE n = ?", (body, last, n))
    store.execute("UPDATE state SET key = 'profit' WHERE key LIKE 'profit:%'")
    store.execute("PRAGMA user_version = 1")
    store.close()


def columns(path: Path) -> set[tuple[str, ...]]:
    store = sqlite3.connect(path)
    tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE sql > ''")]
    found = {
        (table, *map(str, row))
        for table in tables
        for row in store.execute(f"PRAGMA table_info({table})")
    }
    store.close()
    return found


@pytest.mark.parametrize("version", MIGRATIONS)
def test_an_old_journal_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    profit = live_a_little(tmp_path / "j.db")
    of_today = columns(tmp_path / "j.db")
    make_old(tmp_path / "j.db", version)
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        assert journal.recover(now_ms=0).profits == {"BTC/USDT": profit}
        journal.add_reasons({"A": (1, "b")}, [(1, "A", "b")])
    assert verify(tmp_path / "j.db").ok
    assert columns(tmp_path / "j.db") == of_today
    copy = sqlite3.connect(tmp_path / f"j.db.v{version}")
    assert copy.execute("PRAGMA user_version").fetchone() == (version,)
    assert copy.execute("SELECT count(*) FROM fill").fetchone() == (2,)
    copy.close()


@pytest.mark.parametrize("version", MIGRATIONS)
def test_an_upgrade_that_is_interrupted_changes_nothing(
    tmp_path: Path, monkeypatch, version
) -> None:
    live_a_little(tmp_path / "j.db")
    make_old(tmp_path / "j.db", version)
    before = columns(tmp_path / "j.db")
    broken = {version: MIGRATIONS[version] + "; CREATE TABLE meta (again TEXT)"}
    monkeypatch.setattr("nkfast.trading.journal_file.MIGRATIONS", broken)
    with pytest.raises(JournalCorruptError, match="already exists"):
        Journal.open(tmp_path / "j.db", instance="nk01")
    assert columns(tmp_path / "j.db") == before
    monkeypatch.undo()
    Journal.open(tmp_path / "j.db", instance="nk01").close()
    assert verify(tmp_path / "j.db").ok


def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    Journal.open(tmp_path / "j.db", instance="nk01").close()
    store = sqlite3.connect(tmp_path / "j.db")
    store.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    store.close()
    with pytest.raises(JournalCorruptError, match=f"version {SCHEMA_VERSION + 1}"):
        Journal.open(tmp_path / "j.db", instance="nk01")


def test_a_batch_becomes_durable_as_one(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        ids = journal.id_source()
        journal.hold()
        journal.hold()
        orders = [an_order(ids.next(), f"level-{n}") for n in range(3)]
        for order in orders:
            journal.intend(order)
        journal.record([orders[0].hear_outcome(Outcome.UNKNOWN, "timeout")])
        assert verify(tmp_path / "j.db").orders == 0, "it is visible before it is durable"
        journal.commit()
        journal.commit()
        report = verify(tmp_path / "j.db")
        assert (report.ok, report.orders) == (True, 3)
        journal.intend(an_order(ids.next()))
        assert verify(tmp_path / "j.db").orders == 4


def test_a_batch_that_fails_is_lost_whole(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        journal.intend(an_order("c1"))
        journal.hold()
        journal.set_cursor(5)
        journal.intend(an_order("c2"))
        with pytest.raises(JournalError, match="UNIQUE"):
            journal.intend(an_order("c1"))
        with pytest.raises(JournalError, match="failed before"):
            journal.intend(an_order("c3"))
        with pytest.raises(JournalError, match="failed before"):
            journal.hold()
        with pytest.raises(JournalError, match="failed before"):
            journal.commit()
    report = verify(tmp_path / "j.db")
    assert (report.ok, report.orders) == (True, 1)


def test_a_full_disk_stops_it(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        ids = journal.id_source()
        pages = journal._execute("PRAGMA page_count").fetchone()[0]
        journal._execute(f"PRAGMA max_page_count = {pages + 4}")
        written = 0
        with pytest.raises(JournalError, match="full"):
            for _ in range(200):
                journal.intend(an_order(ids.next()))
                written += 1
        assert written
        with pytest.raises(JournalError, match="failed before"):
            journal.note_life("halted", "full", 10)
    report = verify(tmp_path / "j.db")
    assert (report.ok, report.orders) == (True, written)


def test_what_is_kept_survives(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        assert journal.kept("day") is None
        assert journal.life() is None
        journal.keep("day", {"baseline": "100.5"})
        journal.keep("day", {"baseline": "101.5"})
        journal.note_life("running", "started", 5)
        journal.note_life("halted", "daily loss 5 above 4", 6)
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        assert journal.kept("day") == {"baseline": "101.5"}
        assert journal.kept("night") is None
        assert journal.life() == Life("halted", "daily loss 5 above 4", 6)
    assert verify(tmp_path / "j.db").ok


def test_orders_sent_since_a_time(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        ids = journal.id_source()
        for sent_ms in (10, 20, 30):
            order = an_order(ids.next())
            order.sent_ms = sent_ms
            journal.intend(order)
        assert [order.sent_ms for order in journal.sent_since(20)] == [20, 30]
        assert journal.sent_since(31) == []


def test_the_newest_reasons_are_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "REASONS_KEPT", 3)
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        rows = [(n, "EVEN" if n % 2 == 0 else "ODD", f"{n} of 5") for n in range(5)]
        journal.add_reasons({}, rows[:2])
        journal.add_reasons({"ODD": (2, "3 of 5"), "EVEN": (3, "4 of 5")}, rows[2:])
        assert newest_reasons(tmp_path / "j.db", 10) == [
            (4, "EVEN", "4 of 5"),
            (3, "ODD", "3 of 5"),
            (2, "EVEN", "2 of 5"),
        ]
        assert reason_totals(tmp_path / "j.db") == [("EVEN", 3, "4 of 5"), ("ODD", 2, "3 of 5")]
        assert newest_reasons(tmp_path / "j.db", 1, "ODD") == [(3, "ODD", "3 of 5")]


@pytest.mark.parametrize("content", [b"", b"SQLite", b"\0" * 50])
def test_an_empty_file_is_no_new_journal(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "j.db").write_bytes(content)
    (tmp_path / "j.db").chmod(0o600)
    with pytest.raises(JournalCorruptError):
        Journal.open(tmp_path / "j.db", instance="nk01")


def test_T06_d26_no_damaged_file_is_taken(tmp_path: Path) -> None:
    """Whatever is done to the file: it is refused, or everything it says is as it was."""
    live_a_little(tmp_path / "j.db")
    whole = (tmp_path / "j.db").read_bytes()
    store = sqlite3.connect(tmp_path / "j.db")
    said = [
        store.execute(f"SELECT * FROM {table}").fetchall() for table in ("orders", "fill", "event")
    ]
    store.close()
    generator = random.Random(7)
    refused = 0
    for number in range(300):
        path = tmp_path / f"damaged-{number}.db"
        damaged = bytearray(whole)
        kind = number % 3
        if kind == 0:
            damaged = damaged[: generator.randrange(1, len(damaged))]
        elif kind == 1:
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        else:
            at = generator.randrange(len(damaged))
            damaged[at : at + 64] = generator.randbytes(64)[: len(damaged) - at]
        path.write_bytes(damaged)
        path.chmod(0o600)
        try:
            journal = Journal.open(path, instance="nk01")
        except JournalError:
            refused += 1
            continue
        with journal:
            tables = [
                journal._rows(f"SELECT * FROM {name}") for name in ("orders", "fill", "event")
            ]
            assert [tables[0], tables[1], tables[2][:-1]] == said, f"damage {number} went unseen"
    assert refused > 150


def test_P10_a_fork_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal.open(tmp_path / "j.db", instance="nk01") as journal:
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        with pytest.raises(JournalError, match=f"is process {parent}'s"):
            journal.set_cursor(1)
        with pytest.raises(JournalError, match="is a fork"):
            journal.commit()
        monkeypatch.undo()
        journal.set_cursor(1)
    assert verify(tmp_path / "j.db").ok
