"""The profit store: nothing recorded is lost, whatever its orders come to, and the end is final."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies.pit import Pit

from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.strategies.profit_store import ProfitStore, ProfitStoreSettings, allocate
from nkfast.strategies.storing import Earning, Storing, watched, with_profit_store
from nkfast.trading.exact import add
from nkfast.trading.strategy import Desired, Fill, MarketView, Quote

D = Decimal
ETH = Market("ETH/USDT", 2, 4, min_notional="1")
PAXG = Market("PAXG/USDT", 2, 6, min_notional="1")


class Seller(Earning):
    """Rests one sale at 2100, and earns what a test says with each fill."""

    name = "seller"
    earned_in = "USDT"

    def __init__(self) -> None:
        self.earned = D(0)
        self.extra = D(0)
        self.profit = D(0)  # of the next fill
        self.seen: list[set[str]] = []
        self._state: dict[str, Any] | None = None
        self._desired = Desired({"sale": Quote("sell", D(2100), D("0.5"))})

    def decide(self, view: MarketView) -> Desired:
        self.seen.append(set(view.orders))
        return self._desired

    def on_fill(self, fill: Fill) -> None:
        assert fill.slot == "sale"
        self.earned = add(self.earned, self.profit)
        self._state = None

    def reinvest(self, amount: Decimal) -> None:
        self.extra = add(self.extra, amount)
        self._state = None

    def state(self) -> dict[str, Any]:
        if self._state is None:
            self._state = {"earned": str(self.earned), "extra": str(self.extra)}
        return self._state

    def restore(self, state: Mapping[str, Any]) -> None:
        self.earned, self.extra = D(state["earned"]), D(state["extra"])


def a_pit(fee: str = "0.002", **settings: object) -> Pit:
    chosen = ProfitStoreSettings.read({"enabled": True, **settings})

    def make(markets: Mapping[str, Market]) -> Storing:
        made = with_profit_store(Seller(), chosen, markets)
        assert isinstance(made, Storing)
        return made

    pit = Pit(make, [ETH, PAXG], {"ETH": "4", "USDT": "1000"}, fee)
    pit.show("2000", "2002")
    pit.show("3990", "4000", "PAXG/USDT")
    pit.settle()
    return pit


def earn(pit: Pit, amount: str) -> None:
    pit.strategy.strategy.profit = D(amount)
    pit.fill("sale", "0.0001")


def kept(store: ProfitStore) -> Decimal:
    parts = (store.pending, store.reserved, store.converted, store.reinvested, store.retained)
    return sum(parts, D(0))


# Splitting -----------------------------------------------------------------------------------


def test_a_profit_is_split_exactly() -> None:
    assert allocate(D(130), D(100), D("0.5"), D("0.5")) == (15, D("7.5"), D("7.5"))
    assert allocate(D("137.31"), D(100), D("0.25")) == (D("9.3275"), 0, D("27.9825"))
    assert allocate(D(99), D(100), D(1)) == (0, 0, 0)
    for ratios in ((D("1.1"), D(0)), (D("-0.1"), D(0)), (D(0), D(2))):
        with pytest.raises(ValueError, match="give 0 to 1"):
            allocate(D(130), D(100), *ratios)


@given(
    st.decimals(-(10**9), 10**9, places=8),
    st.decimals(0, 10**9, places=8),
    st.decimals(0, 1, places=6),
    st.none() | st.decimals(0, 1, places=6),
)
def test_what_is_split_adds_up(
    balance: Decimal, principal: Decimal, reserve: Decimal, reinvest: Decimal | None
) -> None:
    parts = allocate(balance, principal, reserve, reinvest)
    assert all(part >= 0 for part in parts)
    assert add(add(*parts[:2]), parts[2]) == max(balance - principal, D(0))


# Putting away --------------------------------------------------------------------------------


def test_small_profits_are_gathered_and_losses_and_other_assets_ignored() -> None:
    store = ProfitStore(ProfitStoreSettings(enabled=True), PAXG)
    store.record(D("0.4"), "USDT")
    store.record(D(-1), "USDT")
    store.record(D(5), "BTC")
    assert (store.pending, store.is_idle) == (D("0.4"), True)
    store.record(D("2.1"), "USDT")
    assert (store.pending, store.is_idle) == (D("2.5"), False)


def test_a_profit_buys_the_target_just_beyond_the_best_price() -> None:
    pit = a_pit()
    earn(pit, "8")
    pit.settle()
    quote = dict(pit.placed)["store-buy"]
    assert (quote.symbol, quote.side) == ("PAXG/USDT", "buy")
    assert quote.price == D("4012.00")
    assert quote.quantity == D("0.001990")  # 8 / (4012 * 1.002), in whole lots
    store = pit.strategy.store
    assert store.converted == D("0.00199") * 4000 * D("1.002")  # what was paid, not what was meant
    assert store.bought == D("0.00199")
    assert kept(store) == 8
    assert "sale" in pit.orders  # the strategy's own order went on resting
    assert {name for names in pit.strategy.strategy.seen for name in names} == {"sale"}


def test_a_cheaper_fill_leaves_the_rest_pending() -> None:
    pit = a_pit(fee="0")
    earn(pit, "8")
    pit.settle()
    store = pit.strategy.store
    assert store.pending == 8 - D("0.00199") * 4000
    assert store.reserved == 0


def test_d47_a_part_that_filled_is_not_spent_twice() -> None:
    pit = a_pit()
    pit.show("3990", "4000", "PAXG/USDT", lots=1000)  # 0.001 PAXG, less than is wanted
    earn(pit, "8")
    pit.settle()
    store = pit.strategy.store
    assert pit.orders["store-buy"].executed == D("0.001")
    assert store.converted == D("4.008")
    pit.end("store-buy")  # cancelled by somebody
    pit.show("3990", "4000", "PAXG/USDT", lots=10)
    pit.settle()
    again = dict(pit.placed)["store-buy"]
    assert D("3.98") < again.quantity * again.price * D("1.002") <= D("3.992")  # not 8 again
    assert kept(store) == 8


def test_d47_what_is_pending_and_reserved_survives_a_restart() -> None:
    pit = a_pit()
    earn(pit, "0.6")
    pit.settle()
    pit.restart()
    assert pit.strategy.store.pending == D("0.6")
    pit.show("3990", "4000", "PAXG/USDT", lots=1)
    earn(pit, "8")
    pit.step()
    pit.restart()
    store = pit.strategy.store
    assert store.reserved + store.pending + store.converted == D("8.6")
    pit.fill("store-buy")
    pit.settle()
    assert kept(store) == D("8.6")
    assert store.converted > D("8.5")


def test_an_order_that_rests_too_long_is_priced_anew() -> None:
    pit = a_pit()
    pit.show("3990", "4000", "PAXG/USDT", lots=1)
    earn(pit, "8")
    pit.settle()
    assert pit.orders["store-buy"].price == 4012
    pit.show("4090", "4100", "PAXG/USDT", lots=1)
    pit.settle()
    assert pit.orders["store-buy"].price == 4012
    pit.pass_time(60)
    pit.settle()
    assert pit.orders["store-buy"].price == D("4112.30")
    assert kept(pit.strategy.store) == 8


def test_below_the_markets_minimum_it_waits() -> None:
    pit = a_pit(min_profit_quote="0.5")
    earn(pit, "0.9")
    pit.settle()
    assert "store-buy" not in dict(pit.placed)
    earn(pit, "0.2")
    pit.settle()
    assert "store-buy" in dict(pit.placed)


def test_without_a_price_it_waits_and_says_so() -> None:
    pit = a_pit()
    pit.show("3990", None, "PAXG/USDT")
    earn(pit, "8")
    pit.settle()
    assert [skip.code for skip in pit.desired.skips] == ["NO_PRICE"]
    assert kept(pit.strategy.store) == pit.strategy.store.pending == 8


def test_a_fee_that_is_not_known_is_not_zero() -> None:
    pit = a_pit()
    pit.show("3990", "4000", "PAXG/USDT", lots=1)
    earn(pit, "8")
    pit.settle()
    before = pit.strategy.store.converted
    pit.fill("store-buy", "0.001", knows_fee=False)
    assert pit.strategy.store.converted - before == D("4.012") * D("1.002")


def test_a_fee_in_the_target_makes_less_of_it() -> None:
    store = ProfitStore(ProfitStoreSettings(enabled=True), PAXG)
    store.on_fill(
        Fill("store-buy", "PAXG/USDT", "buy", D(4000), D("0.01"), D("0.00002"), "PAXG", "t", 0)
    )
    assert (store.bought, store.converted) == (D("0.00998"), 40)


def test_the_part_that_is_reinvested_makes_orders_larger() -> None:
    pit = a_pit(reserve_ratio="0.5", reinvest_ratio="0.25")
    earn(pit, "8")
    assert pit.strategy.strategy.extra == 1
    assert (pit.strategy.store.reinvested, pit.strategy.store.retained) == (1, 3)
    pit.restart()
    assert pit.strategy.strategy.extra == 1
    assert kept(pit.strategy.store) == 8


def test_losses_are_made_up_for_before_anything_is_put_away() -> None:
    pit = a_pit()
    for amount in ("0.5", "-0.4", "0.3", "0.2"):
        earn(pit, amount)
        pit.restart()
    assert pit.strategy.store.pending == D("0.6")


def test_the_same_wish_is_the_same_object() -> None:
    pit = a_pit()
    assert pit.decide() is pit.decide()
    pit.show("3990", "4000", "PAXG/USDT", lots=1)
    earn(pit, "8")
    pit.settle()
    assert "store-buy" in pit.orders
    assert pit.decide() is pit.decide()
    assert pit.strategy.state() is pit.strategy.state()


# The end -------------------------------------------------------------------------------------


def an_ending_pit(**settings: object) -> Pit:
    pit = a_pit(principal_investment_quote="5", **settings)
    earn(pit, "8")
    return pit


def test_d14_after_the_principal_is_put_away_everything_ends() -> None:
    pit = an_ending_pit()
    pit.settle()
    sale = next(quote for slot, quote in pit.placed if slot == "store-sell")
    assert (sale.side, sale.price, sale.quantity) == ("sell", D("1994.00"), D("2.9999"))
    slots = [slot for slot, _ in pit.placed]
    last_buy = pit.placed[slots.index("store-sell") + 1][1]
    proceeds = D("2.9999") * 2000 * D("0.998")
    assert last_buy.quantity == (proceeds / 2 / (D(4012) * D("1.002"))).quantize(
        D("0.000001"), "ROUND_FLOOR"
    )
    assert pit.orders == {}
    asked = len(pit.strategy.strategy.seen)
    assert pit.context.wishes[0][0] == "drain"
    for _ in range(3):
        pit.show("1900", "1902")
        pit.restart()
        pit.settle()
        assert pit.orders == {}
        assert [skip.code for skip in pit.desired.skips] == ["EXITED"]
        assert pit.strategy.strategy.seen == []
    assert asked > 0


def test_the_end_waits_until_every_order_has_ended() -> None:
    pit = an_ending_pit()
    pit.keeps_cancelled = True
    pit.step()  # the store's buy
    for _ in range(3):
        pit.step()
        assert "store-sell" not in pit.orders
        assert "sale" in pit.orders
    before = pit.strategy.strategy.earned
    pit.strategy.strategy.profit = D(1)
    pit.fill("sale", "0.1")  # a fill during the cancel is still told
    assert pit.strategy.strategy.earned == before + 1
    pit.keeps_cancelled = False
    pit.settle()
    sale = next(quote for slot, quote in pit.placed if slot == "store-sell")
    assert sale.quantity == D("2.9249")  # three quarters of what is left, in whole lots


def test_the_end_sells_nothing_before_it_knows_what_is_free() -> None:
    pit = an_ending_pit()
    pit.step()  # the store's buy
    totals, pit.totals = pit.totals, {}
    pit.settle()
    assert not pit.strategy.store.has_exited
    assert pit.told[-1] == "NO_BALANCES"
    pit.totals = totals
    pit.settle()
    assert pit.strategy.store.has_exited
    assert any(slot == "store-sell" for slot, _ in pit.placed)


def test_the_end_survives_a_restart_at_every_step() -> None:
    pit = an_ending_pit()
    for _ in range(20):
        pit.restart()
        pit.step()
        pit.restart()
    assert pit.strategy.store.has_exited
    sold = sum(fill.quantity for fill in pit.fills if fill.slot == "store-sell")
    assert sold == D("2.9999")


def test_the_end_counts_what_a_sale_really_brought() -> None:
    pit = an_ending_pit()
    pit.show("2000", "2002", lots=10_000)  # one ETH is wanted at the bid
    pit.settle()
    assert pit.orders["store-sell"].executed == 1
    pit.show("1500", "1502")
    pit.pass_time(60)
    pit.settle()
    assert pit.strategy.store.has_exited
    bought = sum(fill.quantity * fill.price for fill in pit.fills if fill.slot == "store-buy")
    sold = sum(fill.quantity * fill.price for fill in pit.fills if fill.slot == "store-sell")
    assert sold == 2000 + D("1.9999") * 1500
    assert D("0.49") * sold < bought - 8 < D("0.5") * sold


def test_a_raised_principal_ends_an_end() -> None:
    pit = an_ending_pit()
    pit.settle()
    assert pit.strategy.store.has_exited
    raised = ProfitStoreSettings.read({"enabled": True, "principal_investment_quote": "50"})
    store = ProfitStore(raised, PAXG, ETH)
    store.restore(pit.strategy.store.state())
    assert not store.is_exiting
    assert store.converted == pit.strategy.store.converted


def test_an_end_at_a_multiple_of_the_principal() -> None:
    pit = a_pit(principal_investment_quote="5", exit_profit_pct="2")
    earn(pit, "8")
    pit.settle()
    assert not pit.strategy.store.is_exiting
    earn(pit, "3")
    pit.settle()
    assert pit.strategy.store.has_exited


def test_nothing_to_sell_at_the_end_is_an_end_as_well() -> None:
    pit = an_ending_pit()
    pit.totals["ETH"] = D("0.00001")  # sold by somebody else
    pit.settle()
    assert pit.strategy.store.has_exited
    assert "store-sell" not in [slot for slot, _ in pit.placed]


# Conservation --------------------------------------------------------------------------------

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["earn", "step", "fill", "end", "price", "time", "restart"]),
        st.integers(1, 1000),
    ),
    max_size=40,
)


@given(EVENTS, st.integers(0, 100), st.integers(0, 100), st.booleans())
def test_stored_reinvested_and_retained_are_what_was_realized(
    events: list[tuple[str, int]], reserve: int, reinvest: int, ends: bool
) -> None:
    more = {"principal_investment_quote": "20"} if ends else {}
    pit = a_pit(reserve_ratio=D(reserve) / 100, reinvest_ratio=D(reinvest) / 100, **more)
    pit.show("3990", "4000", "PAXG/USDT", lots=700)
    for kind, size in events:
        before = pit.strategy.store.converted
        if kind == "earn" and "sale" in pit.orders:
            earn(pit, str(D(size - 200) / 10))
        elif kind == "step":
            pit.step()
        elif kind == "fill" and "store-buy" in pit.orders:
            lots = min(size, int(pit.orders["store-buy"].remaining * 10**6))
            pit.fill("store-buy", D(lots) / 10**6, knows_fee=size % 2 == 0)
        elif kind == "end" and "store-buy" in pit.orders:
            pit.end("store-buy")
        elif kind == "price":
            pit.show(D(3500 + size), D(3502 + size), "PAXG/USDT", lots=size)
        elif kind == "time":
            pit.pass_time(size)
        elif kind == "restart":
            pit.restart()
        store, seller = pit.strategy.store, pit.strategy.strategy
        assert kept(store) == pit.strategy._counted
        assert pit.strategy._counted >= seller.earned
        assert seller.extra == store.reinvested
        assert store.converted >= before
        if not store.is_exiting:  # what is spent was earned: the reserve, never more than a fee
            spent = sum(f.price * f.quantity for f in pit.fills if f.slot == "store-buy")
            assert spent <= store.converted <= pit.strategy._counted * reserve / 100 + D("0.1")


# Settings ------------------------------------------------------------------------------------


def test_the_target_must_fit() -> None:
    settings = ProfitStoreSettings.read({"enabled": True, "target_symbol": "eth_usdt"})
    markets = {"ETH/USDT": ETH, "PAXG/USDT": PAXG}
    with pytest.raises(ConfigError, match="take another"):
        with_profit_store(Seller(), settings, markets)
    btc = Market("BTC/EUR", 2, 4)
    with pytest.raises(ConfigError, match="profit is made in EUR"):
        ProfitStore(ProfitStoreSettings(enabled=True), PAXG, btc)
    with pytest.raises(ConfigError, match="not watched"):
        with_profit_store(Seller(), ProfitStoreSettings(enabled=True), {"ETH/USDT": ETH})
    with pytest.raises(ConfigError, match="the market is ETH/USDT"):
        ProfitStore(ProfitStoreSettings(enabled=True), ETH)


def test_what_a_stop_and_a_lost_book_mean_stays_the_strategys() -> None:
    seller = Seller()
    seller.on_exit, seller.cancels_when_blind, seller.refuses_live = "keep", True, "not yet"
    chosen = ProfitStoreSettings.read({"enabled": True})
    made = with_profit_store(seller, chosen, {"ETH/USDT": ETH, "PAXG/USDT": PAXG})
    assert made is not seller
    assert (made.on_exit, made.cancels_when_blind, made.refuses_live) == ("keep", True, "not yet")


def test_a_store_that_is_off_is_not_there() -> None:
    seller = Seller()
    assert with_profit_store(seller, None, {}) is seller
    assert with_profit_store(seller, ProfitStoreSettings(), {}) is seller
    assert watched("ETH/USDT", None) == watched("ETH/USDT", ProfitStoreSettings()) == ("ETH/USDT",)
    assert watched("ETH/USDT", ProfitStoreSettings(enabled=True)) == ("ETH/USDT", "PAXG/USDT")
    assert watched("", None) == ()
    with pytest.raises(ConfigError, match="symbol: is required"):
        watched("", ProfitStoreSettings(enabled=True))


def test_a_store_can_be_given_to_a_strategy_that_had_none() -> None:
    pit = a_pit()
    pit.strategy.restore({"earned": "12", "extra": "0"})
    assert pit.strategy.store.pending == 0  # what was earned before stays where it is
    earn(pit, "2")
    assert pit.strategy.store.pending == 2
