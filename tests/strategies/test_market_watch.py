"""What is remembered of a market: each window ends, each guard is strict at its limit."""

import json
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from nkfast.strategies.market_watch import ImpactGuard, MarketWatch, Window, adjust, vwap

D = Decimal
FACTORS = {"size_factor": D("0.5"), "spacing_factor": D("1.5"), "pause_threshold": D("1.05")}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 100)), max_size=30))
def test_a_window_is_of_the_newest_span(rows: list[tuple[int, int]]) -> None:
    window, seen, now = Window(100), [], 0
    for wait, number in rows:
        now += wait
        window.add(now, D(number))
        seen.append((now, number))
        newest = [number for at, number in seen if at > now - 100]
        assert window.sum(now) == sum(newest)
        assert window.count(now) == len(newest)
        assert window.mean(now) == D(sum(newest)) / len(newest)
    assert window.mean(now + 100) is None
    assert window.sum(now + 100) == 0


def test_averages_begin_with_the_first_sample_and_stay_short() -> None:
    watch = MarketWatch(D("0.01"), 3, 1_000, 2_000)
    assert watch.volatility == 0
    for number in range(2_000):
        mid = D(100) + D(number % 7) / 7
        watch.sample(number * 10, mid - D("0.01"), mid + D("0.01"))
        if number == 0:
            assert (watch.ema, watch.mean_move) == (mid, 0)
    assert watch.ema is not None
    assert len(watch.ema.as_tuple().digits) <= 28
    assert watch.mids.count(19_990) == 100
    assert 200 <= watch.moved.count(19_990) <= 203  # a sixtieth of the window is one
    assert len(watch.moved.state()) <= 61
    assert D("100.3") < watch.ema < D("100.6")


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(1, 100)), max_size=40))
def test_what_is_restored_is_what_was_remembered(rows: list[tuple[int, int]]) -> None:
    watch, now = MarketWatch(D("0.1"), 5, 3_000, 1_000), 0
    for wait, number in rows:
        now += wait
        watch.sample(now, D(number), D(number + 1))
        watch.traded.add(now, D(number))
    again = MarketWatch(D("0.1"), 5, 3_000, 1_000)
    again.restore(json.loads(json.dumps(watch.state())))
    assert again.state() == watch.state()
    for later in (now, now + 900, now + 2_000):
        for one in (watch, again):
            one.sample(later, D(50), D(51))
        assert again.state() == watch.state()
        assert again.mids.mean(later) == watch.mids.mean(later)
        assert again.traded.sum(later) == watch.traded.sum(later)
        assert again.volatility == watch.volatility
        assert again.median_spread == watch.median_spread


def test_a_mean_move_is_of_the_last_moves() -> None:
    watch = MarketWatch(D(1), 2, 1_000, 1_000)
    for number, mid in enumerate((100, 110, 111, 109)):
        watch.sample(number, D(mid), D(mid))
    assert watch.mean_move == D("1.5")
    assert watch.volatility == D("1.5") / 109


def test_the_median_is_the_upper_one() -> None:
    watch = MarketWatch(D(1), 2, 1_000, 1_000)
    watch.sample(0, D(99), D(101))
    watch.sample(1, D(98), D(102))
    assert watch.median_spread == D("0.04")
    watch.sample(2, D(97), D(103))
    assert watch.median_spread == D("0.04")


def test_paying_more_makes_smaller_and_wider_and_at_last_stops() -> None:
    assert vwap([]) is None
    assert vwap([(D(101), D(1)), (D(102), D(3))]) == D("101.75")
    for paid, market, expected in (
        (None, D(100), (1, 1, False)),
        (D(100), None, (1, 1, False)),
        (D(100), D(100), (1, 1, False)),
        (D(105), D(100), (D("0.5"), D("1.5"), False)),
        (D("105.01"), D(100), (0, 1, True)),
    ):
        assert adjust(paid, market, **FACTORS) == expected


def test_touches_count_within_their_window() -> None:
    guard = ImpactGuard(
        fill_ms_min=2_000,
        mid_jump_max=D("0.005"),
        spread_ratio_max=D(2),
        touches_max=3,
        touch_window_ms=1_000,
        pause_ms=300_000,
    )
    assert [guard.check_touch(at) for at in (0, 600, 1_000, 1_200)] == [False, False, False, True]
    assert guard.paused_until_ms == 301_200
    assert guard.is_paused(301_199)
    assert not guard.is_paused(301_200)
    assert not guard.check_fill(400_000, 2_000)
    assert guard.triggers == 1
