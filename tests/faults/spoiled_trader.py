"""Lives of a trader whose disk is spoiled at a chosen call; see `io_shim.c`.

    LD_PRELOAD=io_shim.so python -m faults.spoiled_trader < TASKS

Each line of TASKS is a task as JSON: ``folder`` (the journal is `JOURNAL` in it), ``durability``,
``strikes_at`` (which call, 0: none), ``mode`` (of `MODES`) and ``logs`` (whether every call is
logged). A task is a fork of this process, so that it begins at once; a line of the answer says how
it ended and how many calls it made. A life leaves ``FOLDER.wire``, all requests that left; one that
is logged leaves ``FOLDER.io``, in which they are in their place, as writes to `WIRE`.
"""

import asyncio
import ctypes
import json
import os
import sys
from pathlib import Path
from typing import Any

from trading.conftest import LIMITS, START_NS, SYMBOL, Desk

from nkfast.errors import JournalError
from nkfast.trading.engine import Engine
from nkfast.trading.journal import Journal
from nkfast.venue.clock import VirtualClock, run_virtual

#: What becomes of a call; the numbers are those of `io_shim.c`.
MODES = {
    name: number
    for number, name in enumerate(
        ("none", "die_before", "die_after", "die_torn", "full", "error", "error_ever", "short")
    )
}
#: How a life ends whose journal failed.
FAILED = 70
JOURNAL = Path("state", "bot", "j.db")
WIRE = "wire"


async def live(clock: VirtualClock, task: dict[str, Any], wire: int) -> None:
    """Trade a little of everything: rest, fill in parts, replace, cancel."""
    desk = Desk(Path(task["folder"]) / JOURNAL, clock)
    venue, strategy = desk.venue, desk.strategy
    submit, cancel = venue.submit, venue.cancel

    def log(**line: object) -> None:
        os.write(wire, (json.dumps(line) + "\n").encode())

    def logged_submit(order: Any) -> Any:
        price, quantity = str(order.price), str(order.quantity)
        log(
            do="submit",
            client_id=order.client_id,
            side=order.side,
            price=price,
            quantity=quantity,
        )
        return submit(order)

    def logged_cancel(symbol: str, client_id: str, order_id: str) -> Any:
        log(do="cancel", client_id=client_id)
        return cancel(symbol, client_id, order_id)

    def fill(price: str, quantity: str) -> None:
        true = venue.at_price("buy", price)
        log(do="fill", client_id=true.order.client_id, quantity=quantity)
        venue.fill(true, quantity)

    venue.submit, venue.cancel = logged_submit, logged_cancel
    venue.set_book("100.00", "100.10")
    strategy.want(low=("buy", "99.00", "1"), lower=("buy", "98.00", "2"))
    path, durability = desk.path, task["durability"]
    with Journal.open(path, instance="nk01", durability=durability, mark=0) as journal:
        engine = Engine(
            venue=venue,
            clock=clock,
            journal=journal,
            strategy=strategy,
            symbol=SYMBOL,
            limits=LIMITS,
            mode="live",
        )
        await engine.start()
        trading = asyncio.create_task(engine.run(asyncio.Event()))
        script = [
            lambda: fill("99", "0.4"),
            lambda: fill("99", "0.6"),
            lambda: strategy.want(low=("buy", "97.00", "1"), lower=("buy", "98.00", "2")),
            lambda: fill("98", "0.5"),
            lambda: strategy.want(lower=("buy", "96.00", "1"), high=("sell", "103.00", "1")),
        ]
        for step in script:
            await asyncio.sleep(1)
            if trading.done():
                break
            step()
            venue.tell_book()
        await asyncio.sleep(1)
        await engine.stop("keep")
        if trading.done():
            trading.result()
        trading.cancel()


def run_task(task: dict[str, Any], shim: ctypes.CDLL) -> int:
    """Live one life in this process; return how it ended."""
    folder = Path(task["folder"])
    folder.mkdir(exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    wire = os.open(folder.with_suffix(".wire"), flags, 0o600)
    if task["logs"]:
        shim.nk_io_log(os.open(folder.with_suffix(".io"), flags, 0o600))
        wire = os.open(folder / WIRE, flags, 0o600)  # logged in its place between the writes
    shim.nk_io_watch(str(folder.resolve()).encode())
    shim.nk_io_arm(task["strikes_at"], MODES[task["mode"]], wire)
    try:
        run_virtual(lambda clock: live(clock, task, wire), START_NS)
    except JournalError:
        return FAILED
    return 0


def main() -> None:
    shim = ctypes.CDLL(None)
    shim.nk_io_arm.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int]
    shim.nk_io_calls.restype = ctypes.c_long
    for line in sys.stdin:
        task = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            code = run_task(task, shim)
            os.write(writing, str(shim.nk_io_calls()).encode())
            os._exit(code)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        calls = os.read(reading, 32).decode()
        os.close(reading)
        answer = {"code": os.waitstatus_to_exitcode(status), "calls": calls}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
