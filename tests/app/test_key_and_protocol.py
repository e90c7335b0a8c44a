"""What a key may do, and which readings of the protocol an exchange takes: asked by reads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nkfast.app.check import _of_budgets
from nkfast.app.config.bot import load_config
from nkfast.app.config.sections import ExchangeSettings
from nkfast.app.key_permissions import examine_key
from nkfast.app.outlook import look_ahead
from nkfast.app.protocol_matrix import probe_protocol
from nkfast.exchange import server
from nkfast.exchange.weather import Rule
from nkfast.wire.models import ApiCredentials

KEY = ApiCredentials("probe-key", "probe-secret")


@pytest.fixture(autouse=True)
def _own_nonces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path))


@asynccontextmanager
async def exchange(**settings: Any) -> AsyncIterator[Any]:
    options = {"speed": 0.0, "key": KEY.api_key, "secret": KEY.api_secret} | settings
    async with server.serve(server.ExchangeSettings(**options)) as there:
        yield there


async def test_key_that_may_do_everything() -> None:
    async with exchange() as there:
        reads, trades, withdraws = await examine_key(there.rest_url, KEY)
    assert (reads.verdict, reads.detail) == ("ok", "yes")
    assert (trades.verdict, trades.detail) == ("ok", "yes")
    assert (withdraws.verdict, withdraws.detail) == ("warn", "not asked")


async def test_key_that_may_only_read() -> None:
    forbidden = (Rule("error_before", on="cancel", status=403),)
    async with exchange(weather=forbidden) as there:
        reads, trades, _ = await examine_key(there.rest_url, KEY)
    assert reads.verdict == "ok"
    assert (trades.verdict, trades.detail[:3]) == ("warn", "no:")


async def test_key_that_is_refused_says_how_to_mend_it() -> None:
    async with exchange() as there:
        wrong = ApiCredentials(KEY.api_key, "another")
        found = await examine_key(there.rest_url, wrong)
    assert [row.verdict for row in found] == ["fail", "fail", "warn"]
    assert all("nkfast keys set" in row.fix for row in found[:2])
    assert [row.code.name for row in found[:2]] == ["AUTH", "AUTH"]


async def asked(**settings: Any) -> dict[str, str]:
    async with exchange(**settings) as there:
        addresses = ExchangeSettings(rest_url=there.rest_url, ws_url=there.ws_url)
        return {row.tried: row.answer for row in await probe_protocol(addresses, KEY)}


async def test_matrix_of_an_exchange_that_wants_new_nonces() -> None:
    found = await asked(speed=1.0)
    taken = {tried for tried, answer in found.items() if answer == "taken"}
    assert taken >= {
        "nonce of 14 digits, ours",
        "an unused nonce of an hour ago",
        "13 digits, milliseconds, after 14",
        "16 digits, microseconds",
        "ours, after all of these",
        "query with BTC/USDT as it is, signed as sent",
        "query with BTC%2FUSDT, signed as sent",
        "HTTP Basic in place of a signature",
    }
    assert found["the same nonce again"] == "refused: 401, code 401, Bad Nonce"
    assert found["signed over the path, not the whole URL"].startswith("refused: 401")
    assert found["a private call without a key"].startswith("refused: 401")
    assert found["the time of a book"].startswith("a number")
    assert found["levels of a book asked for 10"] == "10 bids, 10 asks"
    assert sum(tried.startswith("WebSocket") for tried in taken) >= 1


async def test_matrix_never_shuts_the_key_out() -> None:
    # Nonces that must grow, compared as times: a width is another unit.
    found = await asked(nonce_policy="increasing")
    assert found["an unused nonce of an hour ago"] == "refused: 401, code 401, Bad Nonce"
    assert found["13 digits, milliseconds, after 14"].startswith(("refused", "taken"))
    assert found["ours, after all of these"] == "taken"


async def test_wide_nonces_are_left_alone_where_narrow_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nkfast.exchange.authentication._TIME_DIGITS", (14,))
    found = await asked(nonce_policy="increasing")
    assert found["13 digits, milliseconds, after 14"] == "refused: 401, code 401, Bad Nonce"
    assert found["16 digits, microseconds"] == "not tried: it could shut the key out"
    assert found["ours, after all of these"] == "taken"


async def test_amounts_in_another_asset_are_told_in_usdt() -> None:
    # A daily budget of "10.00" was meant in dollars, and the market is quoted in bitcoin.
    async with exchange(speed=1.0) as there:
        config = load_config(
            None,
            [
                *{"strategy": "grid", "symbol": "ETH/BTC", "step_pct": "0.01"}.items(),
                *{"base_order_size": "1", "min_notional_quote": "0.0001"}.items(),
                *{"risk.max_daily_loss": "10", "exchange.rest_url": there.rest_url}.items(),
                ("mode", "paper"),
            ],
            {},
        )
        outlook = await look_ahead(config)
    assert outlook.quote_worth is not None and outlook.quote_worth > 1000
    [told] = _of_budgets(config, outlook)
    wanted = f"max_daily_loss 10 BTC is {outlook.quote_worth * 10:,.2f} USDT"
    assert told.detail.endswith(wanted)
