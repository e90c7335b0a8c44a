"""Real processes in a storm: killed and stopped at random moments, and nothing is lost or doubled.

A trader with a real journal trades at a simulated exchange of its own process whose weather is
``storm``. Again and again it is killed (``kill -9``) or stopped for a while (``SIGSTOP``), at
moments between its first instruction and some seconds of trading. At the end the weather clears, a
last trader settles what is open, and both sides are compared, order by order and fill by fill.

    NKFAST_KILLS=200 pytest tests/faults/test_kills.py -s

More than 20 kills are shared out over several exchanges at once: a start waits, it does not work.
"""

import json
import multiprocessing
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from faults.killed_trader import INSTANCE, KEY, SECRET, SYMBOL, trade
from faults.wire_tap import WireTap

from nkfast.client.rest import RestClient
from nkfast.trading.journal import Journal, verify
from nkfast.trading.orders import OrderState
from nkfast.wire.models import ApiCredentials

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

KILLS = int(os.environ.get("NKFAST_KILLS", "4"))
LIMIT_S = 60.0
SETTLE_LIMIT_S = 120.0
SCENES = 8 if KILLS > 20 else 1
#: In a storm a start can take long; then a trader is killed in it.
START_LIMIT_S = 25.0 if KILLS > 20 else 8.0
#: One in so many is stopped for a while before it is killed.
STOPPED_ONE_IN = 4
#: One in so many lives long enough to settle what the others left in doubt.
LONG_ONE_IN = 12


class Scene:
    """The exchange's process, and one trader's process after the other."""

    def __init__(self, folder: Path, seed: int, seconds: int) -> None:
        self.journal, self.errors = folder / "journal.db", folder / "errors.txt"
        self.chance = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        words = f"exchange serve --json --seed {seed} --speed 60x --control"
        lives = f"--for {seconds}s --weather storm --key {KEY} --secret-stdin"
        self.exchange = subprocess.Popen(
            [sys.executable, "-P", "-m", "nkfast", *words.split(), *lives.split()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.exchange.stdin.write(f"{SECRET}\n")
        self.exchange.stdin.flush()
        ready, _, _ = select.select([self.exchange.stdout], [], [], LIMIT_S)
        assert ready, "the exchange does not start"
        told = json.loads(self.exchange.stdout.readline())
        self.urls = self.rest_url, _ = told["rest_url"], told["ws_url"]
        self.token = told["control_token"]
        port = urlsplit(self.rest_url).port
        self.tap = WireTap(port)
        self.tapped = [url.replace(f":{port}/", f":{self.tap.port}/") for url in self.urls]
        # Traders are forks of a process that has imported everything, and nothing else: they
        # trade within milliseconds.
        self.forks = multiprocessing.get_context("forkserver")
        self.forks.set_forkserver_preload(["pytest", "faults.killed_trader"])
        self.trader: Any = None

    def start_trader(self) -> Any:
        if self.trader is not None:
            self.trader.close()
            self.pipe.close()
        self.pipe, end = self.forks.Pipe()
        self.trader = self.forks.Process(
            target=trade, args=(*self.tapped, self.journal, end, self.errors)
        )
        self.trader.start()
        end.close()
        return self.trader

    def is_ready(self, limit_s: float) -> bool:
        """Wait until the trader trades; return whether it does."""
        try:
            return self.pipe.poll(limit_s) and self.pipe.recv() == "ready"
        except EOFError:  # it has ended
            return False

    def end_trader(self) -> None:
        self.trader.kill()
        self.trader.join()

    def kill_one(self) -> None:
        """Let a trader live for a while, then end it as an operating system would."""
        trader, chance = self.start_trader(), self.chance
        if chance.random() < 0.8:
            self.outcomes["traded" if self.is_ready(START_LIMIT_S) else "did not start"] += 1
        else:
            self.outcomes["killed in its start"] += 1
        is_long = chance.randrange(LONG_ONE_IN) == 0
        time.sleep(chance.uniform(15.0, 25.0) if is_long else chance.uniform(0.0, 2.0))
        if chance.randrange(STOPPED_ONE_IN) == 0 and trader.is_alive():
            os.kill(trader.pid, signal.SIGSTOP)
            time.sleep(chance.uniform(0.1, 5.0))
            os.kill(trader.pid, signal.SIGCONT)
            self.outcomes["stopped"] += 1
            time.sleep(chance.uniform(0.0, 1.5))
        if trader.exitcode is not None:
            self.outcomes[f"ended by itself, code {trader.exitcode}"] += 1
        self.end_trader()
        self.outcomes["killed"] += 1

    def clear_the_sky(self) -> None:
        host = self.rest_url.split("/api/")[0]
        request = urllib.request.Request(
            f"{host}/control/weather",
            data=b'{"weather": "clear"}',
            headers={"Authorization": f"Bearer {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S) as reply:
            self.strikes = json.load(reply)["strikes"]

    def settle(self) -> dict[str, Any]:
        """Start a last trader, let it settle what is in doubt, stop it; return its summary."""
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while time.monotonic() < deadline:
            trader = self.start_trader()
            if self.is_ready(LIMIT_S):
                break
            self.end_trader()
        else:
            raise AssertionError(f"no trader starts any more: {self.last_errors()}")
        while self.doubtful_orders():
            assert time.monotonic() < deadline, "orders stay in doubt"
            time.sleep(0.5)
        self.pipe.send("end")
        assert self.pipe.poll(SETTLE_LIMIT_S), "the trader does not end"
        summary: dict[str, Any] = self.pipe.recv()
        trader.join()
        assert trader.exitcode == 0, self.last_errors()
        return summary

    def doubtful_orders(self) -> int:
        """Count the orders whose end the journal does not know, while a trader holds it."""
        store = sqlite3.connect(f"{self.journal.as_uri()}?mode=ro", uri=True)
        with closing(store):
            row = store.execute(
                "SELECT count(*) FROM orders WHERE state IN ('sending', 'unknown', 'closing')"
            ).fetchone()
        return int(row[0])

    def last_errors(self) -> str:
        return self.errors.read_text()[-4000:]

    def close(self) -> None:
        if self.trader is not None:
            self.end_trader()
            self.pipe.close()
        self.exchange.kill()
        self.exchange.communicate()
        self.tap.close()


def all_pages(read: Any) -> list[Any]:
    rows: list[Any] = []
    while True:
        page = read(limit=500, skip=len(rows))
        rows += page
        if len(page) < 500:
            return rows


def account_trades(rest: RestClient) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    since_ms = 0
    while True:
        page = rest.get_account_trades_since(since_ms, limit=500)
        known = len(found)
        found.update({(row.trade_id, row.order_id): row for row in page})
        if len(page) < 500 or len(found) == known:
            return found
        since_ms = max(row.time_ms for row in page)


def test_T01_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    total: Counter[str] = Counter()
    with ThreadPoolExecutor(SCENES) as pool:
        for found in pool.map(partial(live_and_compare, tmp_path), range(SCENES)):
            total += found
    print(f"\n{dict(sorted(total.items()))}")
    assert total["killed"] == KILLS


def live_and_compare(folder: Path, number: int) -> "Counter[str]":
    """Let traders live and die at one exchange, compare both sides; return what happened."""
    kills = KILLS // SCENES + (number < KILLS % SCENES)
    own = folder / f"scene-{number}"
    own.mkdir()
    scene = Scene(own, seed=KILLS + number, seconds=600 + kills * 60)
    try:
        return compare(scene, kills)
    finally:
        scene.close()


def compare(scene: Scene, kills: int) -> "Counter[str]":
    with RestClient(ApiCredentials(KEY, SECRET), base_url=scene.rest_url, attempts=20) as rest:
        before = {row.asset: row.available + row.held for row in rest.get_balances()}
        for _ in range(kills):
            scene.kill_one()
            report = verify(scene.journal) if scene.journal.exists() else None
            assert report is None or report.ok, report.differences
        scene.clear_the_sky()
        summary = scene.settle()
        orders = all_pages(rest.get_orders)
        trades = account_trades(rest)
        after = {row.asset: row.available + row.held for row in rest.get_balances()}
    with Journal.open(scene.journal, instance=INSTANCE) as journal:
        recovered = journal.recover(now_ms=0)
    intents = {order.client_id: order for order in recovered.orders}
    at_exchange = {row.user_provided_id: row for row in orders}
    fills = {key: fill for order in intents.values() for key, fill in order.fills.items()}
    assert summary["halted"] is None
    assert (summary["open_orders"], summary["unknown_orders"]) == (0, 0)
    # The orders are those that were intended, none twice, and none was even sent twice.
    sent = scene.tap.orders()
    assert max(sent.values(), default=1) == 1, sent.most_common(3)
    assert at_exchange.keys() <= sent.keys() <= intents.keys()
    assert len(at_exchange) == len(orders), "an id was accepted twice"
    assert at_exchange.keys() <= intents.keys(), "orders that nobody intended"
    for client_id, intent in intents.items():
        row = at_exchange.get(client_id)
        if row is None:
            assert intent.state in (OrderState.REJECTED, OrderState.ABANDONED), client_id
            assert not intent.fills
            continue
        assert intent.state is OrderState.DONE, f"{client_id} is {intent.state}"
        assert (row.symbol, row.side) == (SYMBOL, intent.side)
        assert (row.price, row.quantity) == (intent.price, intent.quantity)
        assert row.filled_quantity == intent.filled
    # Every fill is counted once.
    assert fills.keys() == trades.keys()
    assert recovered.strategy_state["state"] == {"trades": len(fills)}, "told not once"
    for key, fill in fills.items():
        row = trades[key]
        assert (fill.price, fill.quantity, fill.fee) == (row.price, row.quantity, row.fee)
    # The ledger is the exchange's.
    for asset, total in after.items():
        moved = sum(
            (change for fill in fills.values() for change in moves(fill, asset)), Decimal(0)
        )
        assert total == before[asset] + moved, asset
        if asset in summary["ledger"]:
            assert total == Decimal(summary["ledger"][asset]), asset
    counts = {
        "intents": len(intents),
        "sent": len(sent),
        "orders": len(orders),
        "fills": len(fills),
    }
    faults = sum(scene.strikes.values())
    return scene.outcomes + Counter({**counts, "faults": faults})


def moves(fill: Any, asset: str) -> list[Decimal]:
    base, quote = fill.symbol.split("/")
    sign = 1 if fill.side == "buy" else -1
    changes = {base: sign * fill.quantity, quote: -sign * fill.price * fill.quantity}
    return [changes.get(asset, Decimal(0)), -fill.fee if asset == fill.fee_asset else Decimal(0)]
