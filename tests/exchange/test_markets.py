"""Market lists: the default one, files, and what is refused."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nkfast.core.market import Market
from nkfast.errors import ConfigError
from nkfast.exchange import shapes
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import DEFAULT_MARKETS, ObjectIds, load_markets
from nkfast.exchange.traders import Crowd

NOW_MS = 1_790_000_000_000


def test_default_markets_have_triangles_and_small_prices() -> None:
    exchange = Exchange(DEFAULT_MARKETS)
    assert len(exchange.listings) == 14
    symbols = set(exchange.listings)
    triangles = [
        base
        for base in exchange.assets
        if f"{base}/USDT" in symbols and f"{base}/BTC" in symbols and "BTC/USDT" in symbols
    ]
    assert len(triangles) == 6
    assert sum(listing.price_decimals >= 8 for listing in exchange.listings.values()) >= 5


def test_what_a_market_says_of_itself_reads_back_as_its_rules() -> None:
    exchange = Exchange(DEFAULT_MARKETS, now_ms=NOW_MS)
    for listing in exchange.listings.values():
        told = shapes.market(exchange, listing, NOW_MS)
        read, own = Market.from_wire(told), listing.market
        for name in ("symbol", "price_decimals", "min_quantity", "min_notional", "maker_fee"):
            assert getattr(read, name) == getattr(own, name), name
        assert told["primaryAsset"] == exchange.assets[own.base]
        assert isinstance(told["primaryAsset"], str)


def test_recorded_list_loads_and_lives_within_seconds(shared_data: Path) -> None:
    started_s = time.process_time()
    exchange = Exchange(load_markets(shared_data / "markets.json"), now_ms=NOW_MS)
    Crowd(exchange, seed=7, speed=1.0, now_ms=NOW_MS)
    assert time.process_time() - started_s < 5.0
    assert len(exchange.listings) == 1242
    both = [x for x in exchange.listings.values() if x.levels["buy"] and x.levels["sell"]]
    assert len(both) == 1242


@pytest.mark.parametrize("content", ["{}", "[]", "[1]", "no", None])
def test_unusable_files_are_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "markets.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"markets\.json"):
        load_markets(path)


def test_file_in_the_shape_of_the_list_loads(tmp_path: Path) -> None:
    path = tmp_path / "markets.json"
    told = Exchange(DEFAULT_MARKETS, now_ms=NOW_MS)
    rows = [shapes.market(told, listing, NOW_MS) for listing in told.listings.values()]
    path.write_text(json.dumps(rows))
    again = Exchange(load_markets(path))
    assert list(again.listings) == list(told.listings)
    assert list(again.listings_by_id) == list(told.listings_by_id)


@pytest.mark.parametrize(
    "row",
    [
        {"symbol": "BTCUSDT", "priceDecimals": 2, "quantityDecimals": 2},
        {"symbol": "BTC/USDT", "priceDecimals": 99, "quantityDecimals": 2},
        {"priceDecimals": 2, "quantityDecimals": 2},
    ],
)
def test_unusable_rows_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Exchange([row])


def test_object_ids_are_unique_and_have_24_digits() -> None:
    ids = ObjectIds(random.Random(1))
    made = [ids.next(NOW_MS + number) for number in range(1000)]
    assert len(set(made)) == 1000
    assert all(len(one) == 24 and int(one, 16) for one in made)
    # The last 24 bits run over without a repetition.
    first = ObjectIds(random.Random(1))
    first._count = 0
    early = {first.next(NOW_MS) for _ in range(5)}
    ids._count = (1 << 24) - 2
    over = [ids.next(NOW_MS) for _ in range(5)]
    assert len(set(over)) == 5
    assert not set(over) & early


def test_fees_of_a_file_are_charged_and_told(make_bench: Callable[..., Any]) -> None:
    row = {"symbol": "ETH/USDT", "priceDecimals": 2, "quantityDecimals": 4, "isActive": True}
    bench = make_bench(row | {"makerFee": "0.001", "takerFee": "0.0025"})
    bench.order(bench.bob, "sell", "1", "100")
    bench.order(bench.alice, "buy", "1", "100")
    listing = bench.exchange.listing("ETH/USDT")
    assert shapes.account_trade(bench.bob.trades[0])["fee"] == "0.1"
    assert shapes.account_trade(bench.alice.trades[0])["fee"] == "0.25"
    assert shapes.market(bench.exchange, listing, NOW_MS)["takerFee"] == "0.0025"


def test_values_in_dollars_come_from_the_last_trade(bench: Any) -> None:
    assert bench.exchange.usd_value("USDT") == 1.0
    assert bench.exchange.usd_value("ETH") == 0.0
    bench.order(bench.bob, "sell", "1", "100.5")
    bench.order(bench.alice, "buy", "1", "100.5")
    assert bench.exchange.usd_value("ETH") == 100.5
    assert shapes.portfolio(bench.exchange, bench.alice)["totalUsdValue"] == "101499999.80"
