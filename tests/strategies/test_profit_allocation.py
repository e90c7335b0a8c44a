"""Profit of an account: put away once, whoever earned it, and never twice."""

from collections.abc import Mapping
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from strategies.pit import Pit

from nkfast.core.market import Market
from nkfast.strategies import load
from nkfast.strategies.profit_allocation import ProfitAllocation, ProfitAllocationSettings

D = Decimal
PAXG = Market("PAXG/USDT", 2, 6, min_notional="1")


def a_pit(quote: str, lots: int = 10**9, **settings: object) -> Pit:
    chosen = ProfitAllocationSettings.read({"principal": "100", **settings})

    def make(markets: Mapping[str, Market]) -> ProfitAllocation:
        return ProfitAllocation.build(chosen, markets)

    pit = Pit(make, [PAXG], {"PAXG": "0", "USDT": quote})
    pit.show("3990", "4000", lots=lots)
    pit.settle()
    return pit


def test_half_of_what_is_beyond_the_principal_is_put_away() -> None:
    pit = a_pit("130")
    ((_, quote),) = pit.placed
    assert quote.quantity == D("0.003731")  # 15 / (4012 * 1.002)
    allocation = pit.strategy
    assert allocation.principal == 115
    assert allocation.store.converted == D("0.003731") * 4000 * D("1.002")
    for _ in range(5):
        pit.pass_time(61)
        pit.settle()
    assert len(pit.placed) == 1  # the same profit is not put away again


def test_without_a_profit_nothing_is_done() -> None:
    pit = a_pit("99")
    assert pit.placed == []
    assert pit.told == ["PROFIT"]
    assert pit.desired.again_at_ms == pit.now_ms + 60_000
    pit.totals["USDT"] = D(104)
    pit.settle()
    assert pit.placed == []
    pit.pass_time(60)
    pit.settle()
    assert len(pit.placed) == 1


def test_what_waits_is_not_profit_again() -> None:
    pit = a_pit("100")
    pit.show("3990", None)  # nobody sells
    pit.totals["USDT"] = D(130)
    for _ in range(3):
        pit.pass_time(61)
        pit.settle()
    assert (pit.strategy.store.pending, pit.strategy.principal) == (15, 115)


def test_balances_told_late_are_not_profit() -> None:
    pit = a_pit("130")
    before = pit.strategy.principal
    pit.totals["USDT"] = D(130)  # as if nothing had been paid
    pit.pass_time(9)
    pit.settle()
    pit.restart()
    pit.settle()
    assert len(pit.placed) == 1  # a restart does not believe them sooner
    pit.totals["USDT"] = D(130) - pit.strategy.store.converted
    pit.pass_time(1)
    pit.settle()
    assert pit.strategy.principal == before
    assert len(pit.placed) == 1


def test_a_restart_knows_what_was_put_away() -> None:
    pit = a_pit("130", lots=1000)
    assert pit.orders["store-buy"].executed == D("0.001")
    pit.restart()
    pit.settle()
    pit.fill("store-buy")
    pit.settle()
    pit.restart()
    pit.pass_time(61)
    pit.settle()
    assert len(pit.placed) == 1
    assert pit.strategy.principal == 115
    assert load("profit_allocation") is ProfitAllocation


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["earn", "step", "fill", "end", "time", "restart"]),
            st.integers(1, 500),
        ),
        max_size=30,
    ),
    st.integers(1, 100),
)
def test_what_is_put_away_was_earned(events: list[tuple[str, int]], ratio: int) -> None:
    pit = a_pit("100", lots=300, reserve_ratio=D(ratio) / 100)
    earned = D(0)
    for kind, size in events:
        if kind == "earn":
            earned += D(size) / 10
            pit.totals["USDT"] += D(size) / 10
        elif kind == "step":
            pit.step()
        elif kind == "fill" and pit.orders:
            lots = min(size, int(pit.orders["store-buy"].remaining * 10**6))
            pit.fill("store-buy", D(lots) / 10**6)
        elif kind == "end" and pit.orders:
            pit.end("store-buy")
        elif kind == "time":
            pit.pass_time(size)
        elif kind == "restart":
            pit.restart()
        store, principal = pit.strategy.store, pit.strategy.principal
        assert store.pending + store.reserved + store.converted <= earned * ratio / 100 + D("1e-9")
        assert principal + store.pending + store.reserved <= pit.totals["USDT"] + D("1e-9")
        assert principal >= 100
