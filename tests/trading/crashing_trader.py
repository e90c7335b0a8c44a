"""A trader that kills its own process, as `kill -9` would, at a moment of the test's choice.

    python -m trading.crashing_trader JOURNAL WIRE MOMENT

WIRE is where it writes every request that has left, one JSON line each, before anything else
happens: what the venue knows after the crash. MOMENT is one of `MOMENTS`.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from trading.conftest import LIMITS, SYMBOL, Desk

from nkfast.trading.engine import Engine
from nkfast.trading.journal import Journal
from nkfast.venue.clock import RealClock

MOMENTS = ("intent", "sent", "answered", "fill", "cancel")


def die() -> None:
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(9)


async def trade(journal_path: Path, wire_path: Path, moment: str) -> None:
    desk = Desk(journal_path, RealClock())
    venue, strategy = desk.venue, desk.strategy
    submit, cancel = venue.submit, venue.cancel

    def log(**line: object) -> None:
        with wire_path.open("a") as wire:
            wire.write(json.dumps(line) + "\n")

    def dying_submit(order):
        if moment == "intent":
            die()
        log(
            do="submit",
            client_id=order.client_id,
            side=order.side,
            price=str(order.price),
            quantity=str(order.quantity),
        )
        if moment == "sent":
            die()
        return submit(order)

    def dying_cancel(symbol, client_id, order_id):
        log(do="cancel", client_id=client_id)
        if moment == "cancel":
            die()
        return cancel(symbol, client_id, order_id)

    venue.submit, venue.cancel = dying_submit, dying_cancel
    venue.set_book("100.00", "100.10")
    strategy.want(low=("buy", "99.00", "1"))
    with Journal.open(journal_path, instance="nk01") as journal:
        engine = Engine(
            venue=venue,
            clock=desk.clock,
            journal=journal,
            strategy=strategy,
            symbol=SYMBOL,
            limits=LIMITS,
            mode="live",
        )
        await engine.start()
        await desk.until(lambda: engine.summary().open_orders == 1)
        await desk.until(lambda: next(iter(engine.orders)).facts.is_accepted)
        if moment == "answered":
            die()
        true = venue.at_price("buy", "99")
        if moment == "fill":
            record = journal.record

            def dying_record(news, **more):
                assert more["strategy_state"]
                die()  # the venue has told of the fill, nothing is written
                record(news, **more)

            log(do="fill", client_id=true.order.client_id, quantity="0.4")
            journal.record = dying_record
            venue.fill(true, "0.4")
        strategy.want()
        venue.tell_book()
        await desk.until(lambda: engine.summary().open_orders == 0)
    raise AssertionError(f"still alive after {moment}")


if __name__ == "__main__":
    asyncio.run(trade(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))


def read_wire(path: Path) -> list[dict[str, str]]:
    """Return every request that left, with quantities as text."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def replay_onto(venue, wire: list[dict[str, str]]) -> None:
    """Bring a venue to where the requests of the dead process have brought it."""
    for line in wire:
        if line["do"] == "submit":
            venue.place_foreign(line["client_id"], line["side"], line["price"], line["quantity"])
            venue.wire.append(line["client_id"])
        elif line["do"] == "fill":
            venue.fill(venue.truth[line["client_id"]], line["quantity"], told=False)
        else:
            venue.end(venue.truth[line["client_id"]], told=False)
