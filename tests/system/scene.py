"""An exchange, a trader with orders there and a guard: processes of their own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from system.guarded_trader import INSTANCE, KEY, SYMBOL

from nkfast.client.rest import RestClient
from nkfast.trading.orders import instance_code, parse_client_id
from nkfast.wire.models import ApiCredentials, OrderRequest, OrderStatus

TESTS = Path(__file__).parent.parent
SECRET = "s" * 40
LIMIT_S = 30.0
#: The heart beats every 0.1 s.
CANCEL_S = 2.0


class Scene:
    """An exchange, a trader with four orders there, one order by hand, and a guard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def open(self) -> None:
        exchange = self.spawn(
            *("nkfast", "exchange", "serve", "--json", "--seed", "7", "--for", "120s"),
            *("--key", KEY, "--secret-stdin"),
        )
        told = json.loads(exchange.stdout.readline())
        self.rest_url, self.ws_url = told["rest_url"], told["ws_url"]
        self.rest = RestClient(
            ApiCredentials(KEY, SECRET), base_url=self.rest_url, allow_changes=True
        )
        bid = self.rest.get_order_book(symbol=SYMBOL).bids[0][0]
        self.rest.create_order(
            OrderRequest(
                symbol=SYMBOL,
                side="buy",
                quantity=Decimal("0.01"),
                price=round(bid / 2, 2),
                user_provided_id="hand",
            )
        )

    def spawn(self, module: str, *words: str) -> "subprocess.Popen[str]":
        paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *words],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "NKFAST_API_KEY": KEY,
                "NKFAST_API_SECRET": SECRET,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        process.stdin.write(f"{SECRET}\n")
        process.stdin.flush()
        self.processes.append(process)
        return process

    def start_trader(self) -> "subprocess.Popen[str]":
        trader = self.spawn("system.guarded_trader", self.rest_url, self.ws_url, str(self.folder))
        assert trader.stdout.readline() == "ready\n"
        until(lambda: len(self.own()) == 4)
        return trader

    def start_guard(self) -> "subprocess.Popen[str]":
        guard = self.spawn(
            *("nkfast", "guard", "--name", INSTANCE, "--state-dir", str(self.folder), "--json"),
            *("--rest-url", self.rest_url),
            *("--alarm", "0.5s", "--cancel", f"{CANCEL_S}s", "--linger", "1s"),
        )
        assert json.loads(guard.stdout.readline())["event"] == "watching"
        return guard

    def open_orders(self) -> list[OrderStatus]:
        return self.rest.get_orders(status="active", limit=500)

    def own(self) -> list[OrderStatus]:
        made_by = [(parse_client_id(row.user_provided_id), row) for row in self.open_orders()]
        code = instance_code(INSTANCE)
        return [row for parsed, row in made_by if parsed is not None and parsed.instance == code]

    def by_hand(self) -> bool:
        return [row.user_provided_id for row in self.open_orders()].count("hand") == 1

    def end(self, process: "subprocess.Popen[str]") -> list[dict[str, Any]]:
        """Let a process end by itself; return what it told."""
        output, _ = process.communicate(timeout=LIMIT_S)
        return [json.loads(line) for line in output.splitlines() if line.startswith("{")]

    def close(self) -> None:
        if hasattr(self, "rest"):
            self.rest.close()
        for process in self.processes:
            process.kill()
            process.communicate()


def until(condition: Callable[[], bool]) -> float:
    """Wait for an effect; return how many seconds it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < LIMIT_S, "it did not happen"
        time.sleep(0.02)
    return time.monotonic() - start
