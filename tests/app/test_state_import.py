"""Another bot's state is taken over where the exchange does not contradict it."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nkfast.app.cli import main
from nkfast.app.config.bot import BotConfig, load_config
from nkfast.app.connection import open_rest
from nkfast.app.exits import ExitCode
from nkfast.app.instance import Instance
from nkfast.app.state_import import as_json, import_state
from nkfast.errors import ConfigError
from nkfast.exchange import server
from nkfast.trading.journal import Journal, verify
from nkfast.wire.models import ApiCredentials, OrderRequest

KEY = ApiCredentials("probe-key", "probe-secret")


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NKFAST_API_KEY", KEY.api_key)
    monkeypatch.setenv("NKFAST_API_SECRET", KEY.api_secret)


@pytest.fixture
async def there() -> AsyncIterator[Any]:
    settings = server.ExchangeSettings(
        speed=0.0, key=KEY.api_key, secret=KEY.api_secret, balances={"BTC": "0.5", "USDT": "9000"}
    )
    async with server.serve(settings) as exchange:
        yield exchange


def bot(there: Any, mode: str = "live") -> BotConfig:
    pairs = {
        **{"strategy": "grid", "symbol": "BTC/USDT", "step_pct": "0.01", "mode": mode},
        **{"base_order_size": "0.01", "exchange.rest_url": there.rest_url},
    }
    return load_config(None, pairs.items(), {})


def write(order_id: str = "x", quantity: str = "0.01") -> Path:
    sell = {"side": "sell", "price": "65000", "quantity": quantity, "cost_basis": "64300"}
    orders = {order_id: sell, "y": {"side": "buy", "price": "63000", "quantity": "0.01"}}
    path = Path("grid_state.json")
    path.write_text(json.dumps({"open_orders": orders, "total_profit_quote": "1.5"}))
    return path


async def test_shown_first_and_written_once(there: Any) -> None:
    instance, file = Instance.named("grid"), write()
    shown = await import_state(file, bot(there), instance, writes=False)
    assert shown.journal is None and not instance.folder.exists()
    assert shown.is_compared
    found = await import_state(file, bot(there), instance, writes=True)
    assert found.journal == instance.journal
    assert as_json(found)["orders"] == ["y", "x"]
    with Journal.open(instance.journal, instance="grid") as journal:
        state = journal.recover(0).strategy_state
    assert state is not None
    assert (state["strategy"], state["symbol"]) == ("grid", "BTC/USDT")
    assert state["state"]["earned"] == "1.5"
    assert verify(instance.journal).ok
    with pytest.raises(ConfigError, match="exists already"):
        await import_state(file, bot(there), instance, writes=True)


async def test_orders_of_the_other_bot_that_still_rest_are_named(there: Any) -> None:
    async with open_rest(there.rest_url, KEY, allow_changes=True) as rest:
        order = await rest.create_order(
            OrderRequest(
                symbol="BTC/USDT",
                side="sell",
                quantity=Decimal("0.01"),
                price=Decimal(65000),
                user_provided_id="other",
            )
        )
    file = write(order.order_id)
    with pytest.raises(ConfigError, match=rf"1 of its orders still rest \({order.order_id}\)"):
        await import_state(file, bot(there), Instance.named("grid"), writes=True)


async def test_account_that_holds_less_than_the_file_says(there: Any) -> None:
    file = write(quantity="0.6")
    with pytest.raises(ConfigError, match=r"0\.6 are to be sold, the account holds 0\.5"):
        await import_state(file, bot(there), Instance.named("grid"), writes=True)


async def test_without_a_key_it_is_for_pretended_money_only(
    there: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NKFAST_API_KEY", "NKFAST_API_SECRET"):
        monkeypatch.delenv(name)
    instance = Instance.named("grid")
    with pytest.raises(ConfigError, match="needs an API key to compare with"):
        await import_state(write(), bot(there), instance, writes=True)
    found = await import_state(write(), bot(there, "paper"), instance, writes=True)
    assert (found.is_compared, found.journal) == (False, instance.journal_of("paper"))


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is no JSON"), ("[]", "holds no object"), ("{}", "is no state of")]
)
async def test_file_that_is_something_else(there: Any, text: str, message: str) -> None:
    path = Path("state.json")
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        await import_state(path, bot(there), Instance.named("grid"), writes=True)


def test_command_says_what_is_missing() -> None:
    words = ["import-state", "none.json", "--from", "nonkycbot", "--config", "bot.toml"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == ExitCode.CONFIG
    assert result.stderr == "error[CONFIG] none.json: no such file\n"
