"""The crowd: deterministic, two-sided, lively, honest."""

import hashlib

import pytest

from nkfast.exchange.exchange import Exchange
from nkfast.exchange.invariants import BookWitness, violations
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.exchange.money import atoms
from nkfast.exchange.traders import Crowd

NOW_MS = 1_790_000_000_000


def live(seed: int, speed: float, steps: int) -> tuple[Exchange, str]:
    exchange = Exchange(DEFAULT_MARKETS, seed=seed, now_ms=NOW_MS)
    witness = BookWitness(exchange)
    crowd = Crowd(exchange, seed=seed, speed=speed, now_ms=NOW_MS)
    for number in range(steps):
        crowd.step(NOW_MS + 50 * (number + 1))
    assert witness.differences() == []
    assert violations(exchange) == []
    trail = hashlib.sha256()
    for listing in exchange.listings.values():
        trail.update(repr((listing.depth(), listing.sequences)).encode())
        for trade in listing.trades:
            trail.update(f"{trade.id} {trade.ticks} {trade.lots} {trade.side}".encode())
    return exchange, trail.hexdigest()


def test_same_seed_lives_the_same_life() -> None:
    assert live(7, 100, 100)[1] == live(7, 100, 100)[1]
    assert live(7, 100, 100)[1] != live(8, 100, 100)[1]


@pytest.mark.parametrize("seed", range(3))
def test_books_stay_two_sided_and_trade(seed: int) -> None:
    exchange, _ = live(seed, 100, 400)
    for listing in exchange.listings.values():
        bids, asks = listing.depth()
        assert len(bids) >= 5 and len(asks) >= 5, listing.symbol
        assert len(listing.trades) >= 20, listing.symbol
        assert (asks[0][0] - bids[0][0]) / bids[0][0] < 0.05, listing.symbol


def test_quotients_of_triangles_stay_close() -> None:
    exchange, _ = live(3, 100, 400)

    def mid(symbol: str) -> float:
        listing = exchange.listing(symbol)
        bid, ask = listing.engine.best_bid, listing.engine.best_ask
        assert bid is not None and ask is not None
        return (bid[0] + ask[0]) / 2 / 10**listing.price_decimals

    for base in ("ETH", "XMR", "LTC", "DOGE", "SAL", "GRAIN"):
        direct, around = mid(f"{base}/USDT"), mid(f"{base}/BTC") * mid("BTC/USDT")
        assert abs(direct / around - 1) < 0.05, base


def test_a_triangle_pays_now_and_then_and_closes_again() -> None:
    exchange = Exchange(DEFAULT_MARKETS, seed=2, now_ms=NOW_MS)
    crowd = Crowd(exchange, seed=2, speed=1, now_ms=NOW_MS)
    fees = 0.998**3
    pays: list[bool] = []

    def price(symbol: str, side: str) -> float:
        listing = exchange.listing(symbol)
        best = listing.engine.best_bid if side == "bid" else listing.engine.best_ask
        assert best is not None
        return best[0] / 10.0**listing.price_decimals

    for number in range(3_600):
        crowd.step(NOW_MS + 1_000 * (number + 1))
        for base in ("ETH", "XMR", "LTC", "DOGE", "SAL", "GRAIN"):
            direct, cross = f"{base}/USDT", f"{base}/BTC"
            forth = price(cross, "bid") * price("BTC/USDT", "bid") / price(direct, "ask")
            back = price(direct, "bid") / price(cross, "ask") / price("BTC/USDT", "ask")
            pays.append(max(forth, back) * fees > 1)
            assert max(forth, back) < 1.05
    assert 0.002 < sum(pays) / len(pays) < 0.1


def test_speed_is_how_much_happens() -> None:
    def trades(speed: float) -> int:
        exchange, _ = live(5, speed, 200)
        return sum(len(listing.trades) for listing in exchange.listings.values())

    assert trades(10) * 3 < trades(100)
    assert trades(0) == 0


def test_without_a_crowd_the_books_are_empty() -> None:
    exchange, _ = live(5, 0, 10)
    assert all(listing.depth() == ([], []) for listing in exchange.listings.values())


def test_time_that_stands_still_or_runs_back_changes_nothing() -> None:
    exchange = Exchange(DEFAULT_MARKETS, now_ms=NOW_MS)
    crowd = Crowd(exchange, seed=1, speed=100, now_ms=NOW_MS)
    before = {symbol: listing.depth() for symbol, listing in exchange.listings.items()}
    for now_ms in (NOW_MS, NOW_MS - 5_000, NOW_MS):
        crowd.step(now_ms)
    assert before == {symbol: listing.depth() for symbol, listing in exchange.listings.items()}


def test_a_long_pause_does_not_end_in_a_flood() -> None:
    exchange = Exchange(DEFAULT_MARKETS, now_ms=NOW_MS)
    crowd = Crowd(exchange, seed=1, speed=100, now_ms=NOW_MS)
    crowd.step(NOW_MS + 86_400_000)
    assert sum(len(listing.trades) for listing in exchange.listings.values()) < 500
    assert violations(exchange) == []


def test_stakes_are_worth_the_same_everywhere() -> None:
    exchange = Exchange(DEFAULT_MARKETS, now_ms=NOW_MS)
    stake = Crowd(exchange, seed=1, speed=0, now_ms=NOW_MS).stake()
    assert set(stake) == set(exchange.assets)
    assert stake["USDT"] == "10000"
    assert atoms(stake["BTC"]) == atoms("0.156")


def test_crowd_leaves_a_paused_market_alone() -> None:
    exchange = Exchange(DEFAULT_MARKETS, now_ms=NOW_MS)
    crowd = Crowd(exchange, seed=1, speed=1000, now_ms=NOW_MS)
    listing = exchange.listing("BTC/USDT")
    listing.is_paused = True
    before = listing.depth()
    for number in range(20):
        crowd.step(NOW_MS + 50 * number)
    assert listing.depth() == before


def test_past_leads_up_to_the_present() -> None:
    exchange = Exchange(DEFAULT_MARKETS, now_ms=NOW_MS)
    crowd = Crowd(exchange, seed=1, speed=1, now_ms=NOW_MS)
    crowd.recall(86_400)
    for listing in exchange.listings.values():
        times = [trade.time_ms for trade in listing.trades]
        assert times == sorted(times) and NOW_MS - 86_400_000 <= times[0] < times[-1] < NOW_MS
        assert listing.sequences.trades == len(times) == 288
        bids, asks = listing.depth()
        assert bids[0][0] * 0.99 <= listing.last_ticks <= asks[0][0] * 1.01
        assert len(list(listing.candles.bars(60))) >= 24
    assert violations(exchange) == []
