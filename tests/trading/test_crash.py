"""A process that dies at any moment: the next one loses nothing and sends nothing twice."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from trading.crashing_trader import MOMENTS, read_wire, replay_onto

from nkfast.trading.journal import verify
from nkfast.trading.orders import OrderState
from nkfast.venue.clock import RealClock

TESTS = Path(__file__).parent.parent


def crash(journal: Path, wire: Path, moment: str) -> None:
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.run(
        [sys.executable, "-P", "-m", "trading.crashing_trader", journal, wire, moment],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode in (-9, 9), child.stderr


@pytest.mark.parametrize("moment", MOMENTS)
def test_T01_nothing_is_lost_and_nothing_sent_twice(on_virtual_desk, tmp_path, moment) -> None:
    async def scenario(desk) -> None:
        wire_path = tmp_path / "wire.jsonl"
        crash(desk.path, wire_path, moment)
        # What was written before the crash is whole.
        report = verify(desk.path)
        assert report.ok, report.differences
        assert report.orders == 1
        assert report.fills == 0
        wire = read_wire(wire_path)
        replay_onto(desk.venue, wire)
        desk.strategy.want(low=("buy", "99.00", "0.6" if moment == "fill" else "1"))
        async with desk.trading() as engine:
            (first,) = [o for o in engine.orders if o.client_id.startswith("nknk0100001")]
            if moment == "intent":
                # Written, never sent: the venue knows nothing, and that takes the horizon to prove.
                assert first.state is OrderState.UNKNOWN
                await desk.until(lambda: first.state is OrderState.ABANDONED, 150)
                await desk.until(lambda: len(desk.venue.wire) == 1)
                assert first.client_id not in desk.venue.wire
            elif moment == "cancel":
                assert first.state is OrderState.DONE
                assert first.facts.cancel_wanted
                await desk.until(lambda: len(desk.venue.wire) == 2)
            else:
                assert first.state is OrderState.LIVE
                await desk.until(lambda: engine.may_decide)
                # Adopted: the desired order rests already, so nothing is sent.
                assert desk.venue.wire == [first.client_id]
            told = [fill.quantity for fill in desk.strategy.told]
            assert told == ([Decimal("0.4")] if moment == "fill" else [])
        assert len(set(desk.venue.wire)) == len(desk.venue.wire)
        assert desk.venue.open_own() == []

    # The dead process wrote real times.
    on_virtual_desk(scenario, RealClock().time_ns())
