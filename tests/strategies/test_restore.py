"""Every strategy, killed after every event and restored, trades as if nothing had happened.

One market moves twice, by the same dice: once past a process that lives through it, once past
processes of which each dies after some events and is followed by another one on the same journal.
The orders, to the millisecond and the last unit, and what is owned in the end must be the same.

Deaths in the midst of a decision, of a write or of a request are those of `nkfast.testing`: an
intent that was not sent keeps its slot until it is proven absent, so that the orders differ, and
what must be the same is the exchange's word and ours.

A start also asks at once for what a limit had refused, as a sell beyond the collar: an infinity
grid that has climbed for long places it sooner.

After every single event: NKFAST_RESTORE_EVERY=1; longer: NKFAST_RESTORE_EVENTS=1000; other dice:
NKFAST_RESTORE_SEED=7.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest
from strategies.arena import Arena, Placed
from strategies.test_scenarios import HOME, LIMITS, ROWS, SCENARIOS

from nkfast.strategies import load, names
from nkfast.testing.simulation import SETTINGS
from nkfast.testing.tide import Tide

EVENTS = int(os.environ.get("NKFAST_RESTORE_EVENTS", "60"))
SEED = os.environ.get("NKFAST_RESTORE_SEED", "0")
EVERY = int(os.environ.get("NKFAST_RESTORE_EVERY", "5"))
TRADING = [name for name in names() if not load(name).refuses_live]
#: Which need not send the same orders, and why: what was sent must agree with the exchange.
LOOKS_AGAIN = {
    "infinity_grid_value": "without a mid it takes the last trade, which a start has not seen",
    "market_maker": "asked at its start, it moves a quote that had just become old enough",
    "arbitrage": "a plan that was under way is brought back, and all cycles are looked at anew",
    "accumulation": "asked at its start, it may lay a step before the next sample",
}


class Story(NamedTuple):
    """What came of a run."""

    placed: "Counter[Placed]"
    totals: Mapping[str, Decimal]
    fills: int
    starts: int


def tell(name: str, folder: Path, every: int, *, is_deaf: bool = False) -> Story:
    """Let a market move, and the process die after every so many of its events.

    One that is deaf dies before it has heard of the event.
    """
    scenario = SCENARIOS[name]
    rows = [ROWS[HOME], *(ROWS[symbol] for symbol in scenario.more)]
    arena = Arena(
        name,
        scenario.settings,
        rows,
        scenario.funds,
        folder,
        limits=LIMITS,
        engine_settings=replace(SETTINGS, plan_failures_max=10**6),
    )
    tides = []
    for row in rows:
        listing = arena.listings[row["symbol"]]
        start = listing.market.price_to_ticks(str(row["lastPrice"]))
        tide = Tide(
            arena.exchange,
            listing,
            random.Random(f"restore/{SEED}/{listing.symbol}"),
            start_ticks=start,
            spread_ticks=max(1, round(start * scenario.stage.get("spread", 0.00016))),
            size_lots=20_000 if listing is arena.home else 100_000,
            now_ms=arena.now_ms(),
        )
        tides.append(tide)

    async def story() -> None:
        for event in range(EVENTS):
            for tide in tides:
                tide.step(arena.now_ms())
            dies = every and event % every == every - 1
            if dies and is_deaf:
                await arena.restart()
                await asyncio.sleep(0.5)
                continue
            await asyncio.sleep(0.5)
            if dies:
                await arena.restart()
            else:
                await asyncio.sleep(0.001)

        await arena.settle(10)  # and what came last is compared
        arena.agree()

    arena.run(story)
    totals = {asset: arena.total(asset) for asset in scenario.funds}
    return Story(Counter(arena.placed()), totals, len(arena.account.trades), arena.starts)


@pytest.mark.parametrize("name", TRADING)
def test_a_process_that_dies_again_and_again_trades_as_one_that_lives(
    name: str, tmp_path: Path
) -> None:
    folders = [tmp_path / kind for kind in ("lives", "dies")]
    lives, dies = (
        tell(name, folder, every) for folder, every in zip(folders, (0, EVERY), strict=True)
    )
    assert lives.starts == 1
    assert dies.starts == 1 + EVENTS // EVERY
    assert lives.fills or SEED != "0", "nothing was seen of the strategy"
    if name not in LOOKS_AGAIN:
        assert dies == lives._replace(starts=dies.starts)


@pytest.mark.parametrize("name", TRADING)
def test_a_process_that_has_not_heard_of_the_event_finds_out(name: str, tmp_path: Path) -> None:
    story = tell(name, tmp_path, EVERY, is_deaf=True)
    assert story.fills or SEED != "0"
