import json

import pytest

from nkfast.errors import ConfigError
from nkfast.wire.symbols import TradingPair


@pytest.mark.parametrize("text", ["BTC/USDT", "BTC-USDT", "BTC_USDT", "btc/usdt", " Btc_Usdt "])
def test_every_spelling_is_the_same_pair(text):
    pair = TradingPair.parse(text)
    assert pair == ("BTC", "USDT")
    assert (pair.symbol, pair.render("_"), str(pair)) == ("BTC/USDT", "BTC_USDT", "BTC/USDT")


def test_a_ticker_may_begin_with_a_digit():
    assert TradingPair.parse("1INCH/BTC") == ("1INCH", "BTC")


@pytest.mark.parametrize(
    "text", ["", "/", "BTC", "BTC/", "/USDT", "BTC//USDT", "BTC/USDT/X", "B TC/USDT", "BTC/ÜSD"]
)
def test_what_is_no_pair_is_refused(text):
    with pytest.raises(ConfigError, match="is not BASE/QUOTE"):
        TradingPair.parse(text)


def test_every_listed_market_is_parsed(shared_data):
    for market in json.loads((shared_data / "markets.json").read_text()):
        assert TradingPair.parse(market["symbol"]).symbol == market["symbol"]
