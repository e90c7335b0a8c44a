"""What a screen shows, and that it fits: 80 x 24 and everything larger."""

import io
from dataclasses import replace
from decimal import Decimal

import pytest
from rich.console import Console

from nkfast.app.screens import (
    BookRow,
    FillRow,
    HoldingRow,
    OrderRow,
    ProgressLines,
    TradingView,
    render,
)

VIEW = TradingView(
    mode="demo",
    title="demo",
    state="running",
    reasons={"MAX_OPEN_ORDERS": 12},
    place="simulated exchange 127.0.0.1:41873",
    details="seed 7, 60x, process 4194304",
    symbol="BTC/USDT",
    book_state="live",
    bids=[BookRow(Decimal("64122.10"), Decimal("0.5"), Decimal("0.001"))],
    asks=[BookRow(Decimal("64124.10"), Decimal("0.25"))],
    orders=[
        OrderRow("level--1", "buy", Decimal("64122.10"), Decimal("0.002"), Decimal("0.001")),
        OrderRow("level-1", "sell", Decimal("64724.10"), Decimal("0.001"), Decimal(0), True),
    ],
    fills=[
        FillRow(3_661_000, "buy", Decimal("64122.10"), Decimal("0.001"), None, "USDT"),
    ],
    holdings=[HoldingRow("BTC", Decimal("1.00100000"), Decimal(0))],
    mids=[Decimal("64000"), Decimal("64123.10")],
    quote="USDT",
    order_count=2,
    fill_count=1,
    reject_count=0,
    unknown_count=1,
    realized=Decimal("-1.5"),
    fees={"USDT": Decimal("0.128")},
    equity_change=None,
    tick_to_order_us={"p50": 45.4, "p99": None},
    frame_count=1234,
    elapsed_s=12.0,
    total_s=30.0,
    health={"book": "0.3 s", "order answered": "2.1 ms", "clock": "+3 ms", "reconnects": "1"},
)


def drawn(view: TradingView, width: int, height: int) -> list[str]:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None
    )
    lines = console.render_lines(render(view, width, height), console.options)
    return ["".join(segment.text for segment in line) for line in lines]


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 36), (200, 60)])
def test_screen_fills_the_terminal_and_no_more(size: tuple[int, int]) -> None:
    lines = drawn(VIEW, *size)
    assert len(lines) == size[1]
    assert {len(line) for line in lines} == {size[0]}
    assert lines[1].startswith(" BTC/USDT 64 123.10")


def test_small_terminal_shows_every_figure_whole() -> None:
    shown = "\n".join(drawn(VIEW, 80, 24))
    assert "…" not in shown
    for figure in (
        "demo  simulated exchange 127.0.0.1:41873",
        "64 123.10 +0.19 %",
        "64 124.10",
        "0.003 %",
        "50 %",
        "01:01:01",
        "-1.5 USDT",
        "1 unknown",
        "tick→order 45 µs p99 -",
        "12 of 30 s",
    ):
        assert figure in shown
    assert [line for line in drawn(VIEW, 80, 24) if "64 122.10" in line and "●" in line]


def test_orders_near_the_price_are_shown_before_those_far_away() -> None:
    orders = [
        OrderRow(f"level{n:+}", "sell", Decimal(64124 + 100 * n), Decimal(1), Decimal(0))
        for n in range(30)
    ]
    shown = "\n".join(drawn(replace(VIEW, orders=orders), 80, 24))
    assert "level+0 " in shown
    assert "level+29 " not in shown
    assert "19 more, farther away" in shown


def test_own_orders_are_rungs_of_the_ladder_however_far() -> None:
    asks = [BookRow(Decimal(64124 + n), Decimal(1)) for n in range(40)]
    orders = [
        OrderRow(f"level+{n}", "sell", Decimal(64130 + 500 * n), Decimal(2), Decimal(1))
        for n in range(3)
    ]
    asks[6] = BookRow(Decimal(64130), Decimal(1), Decimal(1))
    view = replace(VIEW, asks=asks, bids=(), orders=orders)
    for size, prices in (
        ((80, 24), ["64 630", "64 130"]),
        ((120, 40), ["65 130", "64 630", "64 130"]),
    ):
        left = [line.partition("││")[0] for line in drawn(view, *size)]
        rungs = [line for line in left if "●" in line]
        assert [price in line for price, line in zip(prices, rungs, strict=True)] == [True] * len(
            prices
        )
        assert any("64 124" in line for line in left)  # the best of the market is there still


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 36), (124, 36), (200, 60)])
def test_fills_are_shown_whole(size: tuple[int, int]) -> None:
    fill = FillRow(3_661_000, "sell", Decimal("64122.10"), Decimal("0.003"), Decimal("0.38"), "")
    fill = replace(fill, quantity=Decimal("0.003000"), fee=Decimal("0.37905984"))
    shown = "\n".join(drawn(replace(VIEW, fills=[fill] * 3), *size))
    assert "…" not in shown
    assert "64 122.10" in shown and "0.003000" in shown
    assert ("fee 0.37905984" in shown) == (size[0] in (100, 200))


def test_health_and_why_are_told_in_every_size() -> None:
    wide = "\n".join(drawn(VIEW, 120, 36))
    for figure in (
        "Health",
        "0.3 s",
        "2.1 ms",
        "+3 ms",
        "reconnects",
        "Why not",
        "MAX_OPEN_ORDERS",
    ):
        assert figure in wide
    small = "\n".join(drawn(VIEW, 80, 24))
    assert "0.3 s old" in small
    assert "why not: MAX_OPEN_ORDERS 12" in small
    stale = "\n".join(drawn(replace(VIEW, book_state="stale"), 80, 24))
    assert "book is stale" in stale and "0.3 s old" not in stale


def test_newest_warning_takes_the_last_line() -> None:
    console = Console(file=io.StringIO(), width=80, height=24, color_system=None)
    lines = console.render_lines(render(VIEW, 80, 24, "the connection was lost"), console.options)
    assert "the connection was lost" in "".join(segment.text for segment in lines[-1])


def test_nothing_yet_is_shown_as_nothing() -> None:
    empty = replace(
        VIEW, bids=(), asks=(), orders=(), fills=(), holdings=(), mids=(), fees={}, elapsed_s=0.0
    )
    shown = "\n".join(drawn(empty, 80, 24))
    assert "no price yet" in shown
    assert "none yet" in shown


def test_pipe_gets_plain_ascii_lines() -> None:
    stream = io.StringIO()
    with ProgressLines(stream) as screen:
        assert screen.interval_s(30.0) == 3.0
        for elapsed_s in (0.0, 3.0):
            screen.show(replace(VIEW, elapsed_s=elapsed_s))
    assert stream.getvalue().isascii()
    assert stream.getvalue().splitlines() == [
        "DEMO demo: BTC/USDT on simulated exchange 127.0.0.1:41873 (seed 7, 60x, process 4194304)",
        "DEMO   0.0 s  mid 64123.1  2 orders  2 open  1 fills  realized -1.5 USDT  "
        "tick to order p50 45 us",
        "DEMO   3.0 s  mid 64123.1  2 orders  2 open  1 fills  realized -1.5 USDT  "
        "tick to order p50 45 us",
    ]
