"""The market maker: between the others, never against itself, and still where it may be still."""

from collections.abc import Mapping
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies.pit import Pit

from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.strategies import load
from nkfast.strategies.market_maker import (
    MarketMaker,
    MarketMakerSettings,
    Prices,
    quote_prices,
    quote_sizes,
)
from nkfast.strategies.sizing import Steps
from nkfast.trading.strategy import Fill, Quote, Skip
from nkfast.venue.port import PublicTrade, Side

D = Decimal
ETH = Market("ETH/USDT", 2, 3, min_notional="1", maker_fee="0.001", taker_fee="0.001")


def a_pit(base: str = "1", quote: str = "2010", **settings: object) -> Pit:
    given = {"sell_quote_target": "25", **settings}
    chosen = MarketMakerSettings.read(given)

    def make(markets: Mapping[str, Market]) -> MarketMaker:
        return MarketMaker.build(chosen, markets)

    pit = Pit(make, [ETH], {"ETH": base, "USDT": quote}, "0.001")
    pit.show("2000", "2020")
    pit.settle()
    return pit


def prices(pit: Pit) -> tuple[Decimal | None, Decimal | None]:
    buy, sell = pit.orders.get("buy"), pit.orders.get("sell")
    return (buy and buy.price, sell and sell.price)


def derive(base: str, quote: str = "2010", bid: str = "2000", ask: str = "2020", **given: object):
    settings = MarketMakerSettings.read(given)
    return quote_prices(D(bid), D(ask), D(base), D(quote), settings, Steps(ETH))


# Where and how much --------------------------------------------------------------------------


def test_quotes_stand_inside_the_spread() -> None:
    pit = a_pit()
    assert prices(pit) == (2002, 2018)
    assert pit.orders["buy"].quantity == D("0.010")
    assert pit.orders["sell"].quantity == D("0.012")
    assert all(quote.post_only for _, quote in pit.placed)


def test_d37_too_much_base_moves_both_quotes_down_behind_the_touch() -> None:
    found = derive("1.25")
    assert isinstance(found, Prices)
    assert (found.buy, found.sell, found.skew) == (1998, 2014, 4)  # 2000.01 in the reference
    found = derive("1.25", may_retreat=False)
    assert isinstance(found, Prices)
    assert (found.buy, found.sell) == (D("2000.01"), 2014)


def test_too_little_base_moves_both_quotes_up() -> None:
    found = derive("0")
    assert isinstance(found, Prices)
    assert (found.buy, found.sell, found.skew) == (2006, 2022, -4)


def test_an_inventory_within_its_tolerance_moves_nothing() -> None:
    for base in ("0.82", "1.2"):
        found = derive(base)
        assert isinstance(found, Prices)
        assert found.skew == 0


@pytest.mark.parametrize(
    ("bid", "ask", "given", "code"),
    [
        ("2000", "2004", {}, "SPREAD_TOO_NARROW"),
        ("2000", "2300", {}, "DEAD_BOOK"),
        ("2000", "2006", {"inside_spread_pct": "0.4"}, "UNPROFITABLE"),
        ("0.01", "0.02", {"max_spread_pct": 2, "inventory_skew_pct": 5}, "NO_PRICE"),
    ],
)
def test_where_nothing_is_quoted(bid: str, ask: str, given: dict[str, object], code: str) -> None:
    found = derive("1000000", "0", bid, ask, **given)
    assert isinstance(found, Skip)
    assert found.code == code


def test_a_quote_never_takes_however_far_the_inventory_moves_it() -> None:
    found = derive("9", inventory_skew_pct=3)
    assert isinstance(found, Prices)
    assert found.sell == D("2000.01")
    assert found.buy == 1942
    found = derive("0", inventory_skew_pct=3)
    assert isinstance(found, Prices)
    assert found.buy == D("2019.99")


def test_what_is_too_little_is_not_quoted() -> None:
    settings = MarketMakerSettings.read({})
    steps = Steps(ETH)
    assert quote_sizes(D(2002), D(2018), D("0.0004"), D("0.9"), settings, steps) == (0, 0)
    assert quote_sizes(D(2000), D(2018), D(1), D(20), settings, steps)[0] == D("0.009")  # its fee


# Still while it may be -----------------------------------------------------------------------


def test_d37_it_does_not_outbid_itself() -> None:
    # In the reference 2002/2018 walk to 2007.89/2012.11 in twelve polls, with 22 orders.
    pit = a_pit()
    for _ in range(100):
        pit.pass_time(5)
        pit.step()
    assert prices(pit) == (2002, 2018)
    assert len(pit.placed) == 2


def test_d37_an_order_that_has_ended_is_not_outbid_while_it_is_still_seen() -> None:
    pit = a_pit()
    bids, asks = ([(200_000, 10**9), (200_200, 10)], [(201_800, 12), (202_000, 10**9)])
    pit.end("buy")
    pit.books["ETH/USDT"].apply_snapshot(bids, asks, 10_000)
    quote = pit.decide().quotes["buy"]
    assert quote.price == 2002
    pit.pass_time(1)  # now it is somebody else's
    assert pit.decide().quotes["buy"].price == D("2003.80")


def test_a_quote_behind_others_sees_those_behind_it() -> None:
    pit = a_pit()
    bids = [(200_200, 10), (200_150, 5), (199_000, 10**6)]
    pit.books["ETH/USDT"].apply_snapshot(bids, [(201_800, 12), (202_000, 10)], 10_000)
    pit.pass_time(5)
    assert pit.decide().quotes["buy"].price == D("2003.35")
    alone = [(200_200, 10)]
    pit.books["ETH/USDT"].apply_snapshot(alone, [(201_800, 12), (202_000, 10)], 10_001)
    assert pit.decide().quotes == {}
    assert pit.desired.skips[0].code == "NO_PRICE"


def test_a_small_move_is_left_alone() -> None:
    pit = a_pit(reprice_threshold_ticks=20)
    pit.pass_time(5)
    pit.show("2000.10", "2020.10")
    pit.settle()
    assert prices(pit) == (2002, 2018)
    pit.show("2000.30", "2020.30")
    pit.settle()
    assert prices(pit) == (D("2002.30"), D("2018.30"))
    assert pit.cancelled == ["buy", "sell"]


def test_a_young_quote_is_left_alone_and_looked_at_again() -> None:
    pit = a_pit()
    start_ms = pit.now_ms
    pit.pass_time(0.5)
    pit.show("2001", "2021")
    assert pit.decide().quotes["buy"].price == 2002
    assert pit.desired.again_at_ms == start_ms + 1000
    pit.pass_time(0.5)
    pit.settle()
    assert prices(pit) == (2003, 2019)


def test_an_old_quote_is_set_right_and_one_that_is_right_stays() -> None:
    pit = a_pit()
    pit.pass_time(40)
    pit.settle()
    assert len(pit.placed) == 2
    pit.fill("buy", "0.004")
    pit.settle()
    assert pit.orders["buy"].quantity == D("0.010")
    assert len(pit.placed) == 3
    pit.fill("buy", "0.004")
    pit.pass_time(20)
    pit.settle()
    assert pit.orders["buy"].remaining == D("0.006")  # keeps its place in the queue ...
    pit.pass_time(10)
    pit.settle()
    assert pit.orders["buy"].remaining == D("0.010")  # ... until it is old


def test_the_new_quote_waits_for_the_end_of_the_old_one() -> None:
    pit = a_pit()
    pit.pass_time(5)
    pit.show("1950", "1970")
    pit.keeps_cancelled = True
    pit.step()
    wanted = pit.decide().quotes
    assert wanted["sell"].price == D("2002.01")  # the old bid may still be there
    assert wanted["buy"].price == 1952
    pit.keeps_cancelled = False
    pit.pass_time(5)
    pit.settle()
    assert prices(pit) == (1952, 1968)


def test_a_bid_stays_below_an_ask_that_is_too_young_to_move() -> None:
    pit = a_pit("0", "2010", max_spread_pct=1)
    pit.end("buy")
    pit.show("2000", "2100")
    pit._place("sell", Quote("sell", D(2005), D("0.012")))
    pit.show_own()  # with so little base it would bid 2030
    quotes = pit.decide().quotes
    assert quotes["sell"].price == 2005
    assert quotes["buy"].price == D("2004.99")


def test_a_full_fill_is_quoted_anew() -> None:
    pit = a_pit()
    pit.fill("sell")
    pit.settle()
    assert prices(pit) == (2002, 2018)


def test_a_dead_or_missing_book_cancels_both_quotes_and_says_so_once() -> None:
    pit = a_pit()
    pit.show("2000", "2003")
    pit.settle()
    assert pit.orders == {}
    for step in range(20):
        pit.show(D(2000) + D(step) / 100, "2003")
        pit.settle()
    pit.show(None, "2020")
    pit.settle()
    pit.books["ETH/USDT"].mark_stale()
    pit.settle()
    assert pit.told == ["SPREAD_TOO_NARROW", "NO_PRICE"]


def test_the_same_wish_is_the_same_object() -> None:
    pit = a_pit()
    assert pit.decide() is pit.decide()
    pit.show("2000", "2020", lots=77)
    assert pit.decide() is pit.decide()
    assert pit.strategy.state() is pit.strategy.state()


# What is owned -------------------------------------------------------------------------------


def test_what_its_own_orders_hold_is_owned() -> None:
    pit = a_pit("1", "2010", base_order_size="0.9", sell_quote_target="1900")
    assert pit.view().available["USDT"] < 210
    pit.pass_time(60)
    pit.settle()
    assert prices(pit) == (2002, 2018)
    assert len(pit.placed) == 2


def test_one_who_only_looks_sees_what_would_be_quoted() -> None:
    pit = a_pit()
    pit.end("buy")
    pit.end("sell")
    pit.totals.clear()
    pit.pass_time(5)
    quotes = pit.decide().quotes
    assert (quotes["buy"].quantity, quotes["sell"].quantity) == (D("0.010"), D("0.012"))


def test_d23_a_shortage_ends_when_there_is_something_again() -> None:
    pit = a_pit("1", "0.5")
    assert prices(pit) == (None, D("2014.00"))
    assert pit.told == ["SHORTAGE"]
    pit.totals["USDT"] = D(2010)
    pit.settle()
    assert pit.orders["buy"].price == 2002


def test_d38_a_side_that_took_rests_and_then_goes_on() -> None:
    pit = a_pit()
    pit.fill("buy", is_maker=False)
    for seconds in (0, 5, 4):
        pit.pass_time(seconds)
        pit.settle()
        assert set(pit.orders) == {"sell"}
        pit.restart()
    assert "COOLING_DOWN" in pit.told
    pit.pass_time(1)
    pit.settle()
    assert set(pit.orders) == {"buy", "sell"}


@pytest.mark.parametrize("is_told_first", [True, False])
def test_d38_who_took_is_told_by_the_public_trade(is_told_first: bool) -> None:
    # NonKYC's reports do not say it.
    def tell(taker: Side) -> None:
        pit.strategy.on_trade(PublicTrade("ETH/USDT", "t7", D(2018), D(1), taker, pit.now_ms))

    for taker, resting in ("buy", {"buy", "sell"}), ("sell", {"buy"}):
        pit = a_pit()
        if is_told_first:
            tell(taker)
        order = pit.orders["sell"]
        fill = Fill("sell", "ETH/USDT", "sell", order.price, D("0.001"), D(0), "USDT", "t7", 1)
        pit.strategy.on_fill(fill)
        if not is_told_first:
            tell(taker)
        pit.restart()
        pit.settle()
        assert set(pit.orders) == resting


def test_what_it_remembers_of_trades_has_an_end() -> None:
    pit = a_pit()
    for number in range(1000):
        pit.strategy.on_trade(PublicTrade("ETH/USDT", f"p{number}", D(1), D(1), "buy", 0))
        fill = Fill("buy", "ETH/USDT", "buy", D(1), D(1), D(0), "USDT", f"t{number}", 0)
        pit.strategy.on_fill(fill)
    assert len(pit.strategy._takers) == len(pit.strategy._unexplained) == 64


def test_a_clock_that_was_set_back_lets_no_side_rest_for_ever() -> None:
    pit = a_pit()
    pit.fill("buy", is_maker=False)
    pit.settle()
    pit.pass_time(-3600)
    pit.show("2000", "2021")
    pit.settle()
    assert "buy" in pit.orders


def test_a_restart_keeps_its_quotes() -> None:
    pit = a_pit()
    pit.restart()
    pit.settle()
    assert len(pit.placed) == 2


def test_coarser_grids_hold() -> None:
    pit = a_pit(tick_size="0.5", step_size="0.01", base_order_size="0.029", sell_quote_target="45")
    assert pit.orders["buy"].quantity == D("0.02")
    assert pit.orders["sell"].quantity == D("0.02")
    pit.pass_time(5)
    pit.show("2000.30", "2020.30")
    pit.settle()
    assert all(order.price % D("0.5") == 0 for order in pit.orders.values())


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"tick_size: is 0\.015; give a multiple"):
        MarketMaker(MarketMakerSettings.read({"tick_size": "0.015"}), ETH)
    with pytest.raises(ConfigError, match="is 'BTC/USDT', the market is ETH/USDT"):
        MarketMaker(MarketMakerSettings.read({"symbol": "BTC_USDT"}), ETH)
    with pytest.raises(ConfigError, match="did you mean 'fee_rate'"):
        MarketMakerSettings.read({"fee_rat": "0.1"})
    assert load("market_maker") is MarketMaker


# Always --------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["step", "fill", "take", "end", "time", "restart", "move", "hold"]),
        st.integers(1, 3000),
        st.integers(2, 4000),
    ),
    max_size=40,
)


@given(STEPS, st.integers(0, 300), st.booleans(), st.booleans())
def test_it_never_crosses_itself_or_the_book(
    steps: list[tuple[str, int, int]], base: int, may_retreat: bool, is_post_only: bool
) -> None:
    pit = a_pit(
        str(D(base) / 100),
        min_quote_life_ms=500,
        may_retreat=may_retreat,
        post_only=is_post_only,
        inventory_skew_pct=1,
    )
    _check(pit)
    for kind, size, spread in steps:
        if kind == "step":
            pit.step()
        elif kind in ("fill", "take") and pit.orders:
            slot = sorted(pit.orders)[size % len(pit.orders)]
            lots = min(size, int(pit.orders[slot].remaining * 1000))
            pit.fill(slot, D(lots) / 1000, is_maker=kind == "fill")
        elif kind == "end" and pit.orders:
            pit.end(sorted(pit.orders)[size % len(pit.orders)])
        elif kind == "time":
            pit.pass_time(size / 100)
        elif kind == "restart":
            pit.restart()
        elif kind == "hold":
            pit.keeps_cancelled = size % 2 == 0
        elif kind == "move":
            bid, ask = D(190_000 + 10 * size) / 100, D(190_000 + 10 * size + spread) / 100
            for slot, order in list(pit.orders.items()):  # what is reached is filled
                if order.price >= ask if slot == "buy" else order.price <= bid:
                    pit.fill(slot)
            pit.show(bid, ask)
        _check(pit)


def _check(pit: Pit) -> None:
    quotes = pit.decide().quotes
    buys = [quote.price for quote in quotes.values() if quote.side == "buy"]
    sells = [quote.price for quote in quotes.values() if quote.side == "sell"]
    # Neither what is wanted nor what may still rest: an old order is there until its end is known.
    for slot, order in pit.orders.items():
        (buys if slot == "buy" else sells).append(order.price)
    assert not buys or not sells or max(buys) < min(sells)
    bid, ask, _ = pit._tops["ETH/USDT"]
    for slot, quote in quotes.items():
        if slot in pit.orders:
            continue
        assert quote.price < D(ask) if slot == "buy" else quote.price > D(bid)
    assert all(fill.is_maker or fill.price for fill in pit.fills)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), min_size=1, max_size=8),
    st.integers(1, 50),
    st.integers(1, 9),
)
def test_the_best_of_others_is_that_of_the_book_without_us(
    levels: list[tuple[int, int]], own_ticks: int, own_lots: int
) -> None:
    pit = a_pit()
    book = pit.books["ETH/USDT"]
    bids = {ticks + 1000: lots for ticks, lots in levels}
    bids[own_ticks + 1000] = bids.get(own_ticks + 1000, 0) + own_lots
    book.apply_snapshot(list(bids.items()), [(5000, 1)], 10_000)
    pit.orders = {}
    pit._place(
        "buy", Quote("buy", ETH.ticks_to_price(own_ticks + 1000), ETH.lots_to_quantity(own_lots))
    )
    others = book.without([(own_ticks + 1000, own_lots)])
    found = pit.strategy._best_of_others(book, "buy", pit.orders, pit.now_ms)
    assert found == (None if others.best_bid is None else others.best_bid[0])
