"""Bars of every resolution are the sum of the trades in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.exchange.candles import DAY_MS, RESOLUTIONS, CandleHistory

START_MS = 1_790_000_000_000


@given(
    st.lists(
        st.tuples(st.integers(0, 3_600_000), st.integers(1, 1000), st.integers(1, 50)),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from(RESOLUTIONS),
)
def test_bars_agree_with_a_sum_over_all_trades(
    steps: list[tuple[int, int, int]], minutes: int
) -> None:
    history, width_ms = CandleHistory(), minutes * 60_000
    groups: dict[int, list[tuple[int, int]]] = {}
    now_ms = START_MS
    for passed_ms, ticks, lots in steps:
        now_ms += passed_ms
        history.add(ticks, lots, now_ms)
        groups.setdefault(now_ms - now_ms % width_ms, []).append((ticks, lots))
    bars = list(history.bars(minutes))
    assert [bar.start_ms for bar in bars] == sorted(groups, reverse=True)
    for bar in bars:
        trades = groups[bar.start_ms]
        prices = [ticks for ticks, _ in trades]
        assert (bar.open, bar.close) == (prices[0], prices[-1])
        assert (bar.high, bar.low) == (max(prices), min(prices))
        assert bar.volume == sum(lots for _, lots in trades)
        assert bar.turnover == sum(ticks * lots for ticks, lots in trades)


def test_unknown_resolution_is_refused() -> None:
    with pytest.raises(ValueError, match="resolution 7"):
        next(CandleHistory().bars(7))


def test_day_forgets_what_is_older_and_keeps_its_price() -> None:
    history = CandleHistory()
    history.add(500, 1, START_MS)
    history.add(100, 2, START_MS + DAY_MS)
    history.add(120, 3, START_MS + DAY_MS + 600_000)
    day = history.day(START_MS + DAY_MS + 700_000)
    assert (day.high, day.low, day.volume, day.turnover) == (120, 100, 5, 560)
    assert day.previous == 500


def test_memory_is_bounded_to_thirty_days() -> None:
    history = CandleHistory()
    for day in range(40):
        for bar in range(288):
            history.add(1, 1, START_MS + day * DAY_MS + bar * 300_000)
    assert len(list(history.bars(5))) == 30 * 288
