"""Every strategy while its markets are odd: M02, an empty side or book, and M03, a crash."""

from pathlib import Path

import pytest
from strategies.test_event_matrix import HOME, SCENES, arena_of, show

from nkfast.strategies import load, names


@pytest.mark.parametrize("name", names())
def test_M02_M03_an_empty_book_an_empty_side_and_a_crash_raise_nothing(
    name: str, tmp_path: Path
) -> None:
    mode = "monitor" if load(name).refuses_live else "live"
    arena = arena_of(name, tmp_path, mode=mode)

    async def story() -> None:
        for symbol in SCENES[name].tops:
            arena.clear(symbol)
        await arena.settle(30)  # there never was a price
        show(arena, name)
        await arena.settle(30)
        arena.clear()
        await arena.settle(30)
        for side in ("buy", "sell"):
            home = arena.listings[HOME]
            price = "49000.00" if side == "buy" else "51000.00"
            arena._quotes.append(arena._place(home, side, price, "1"))
            await arena.settle(30)
            arena.clear()
        arena.show("10000.00", "10010.00")  # -80 % at once, and back
        await arena.settle(1)
        show(arena, name)
        await arena.settle(30)
        assert arena.engine.halted is None
        assert arena.engine.reasons["STRATEGY_ERROR"] == 0
        await arena.stop()

    arena.run(story)
