"""``nkfast reconcile --dry-run``: what the next start will find, read over REST and shown."""

import json
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner

from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.app.instance import Instance
from nkfast.app.reconcile import show_plan
from nkfast.client.async_rest import AsyncRestClient
from nkfast.exchange.server import ExchangeSettings, serve
from nkfast.trading.journal import Journal
from nkfast.trading.orders import IdSource, Order, Outcome
from nkfast.wire.models import ApiCredentials, OrderRequest

SYMBOL = "XMR/USDT"
US = ApiCredentials("us", "our-secret")
SETTINGS = ExchangeSettings(
    speed=0, key=US.api_key, secret=US.api_secret, balances={"XMR": "10", "USDT": "10000"}
)


def request(client_id: str, price: str) -> OrderRequest:
    return OrderRequest(
        symbol=SYMBOL,
        side="buy",
        quantity=Decimal(1),
        price=Decimal(price),
        user_provided_id=client_id,
    )


def intend(instance: Instance, prices: list[str]) -> list[str]:
    """Leave a journal of orders whose answers were lost; return their ids."""
    with Journal.open(instance.journal, instance=instance.name) as journal:
        ids = journal.id_source()
        orders = [
            Order(ids.next(), f"s{n}", SYMBOL, "buy", Decimal(price), Decimal(1), sent_ms=1)
            for n, price in enumerate(prices)
        ]
        for order in orders:
            journal.intend(order)
            journal.record([order.hear_outcome(Outcome.UNKNOWN, "the answer was lost")])
        return [order.client_id for order in orders]


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("NKFAST_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


async def test_its_nonces_are_those_of_all_processes_of_the_key(tmp_path: Path, home: Path) -> None:
    instance = Instance.named("grid-1", tmp_path)
    intend(instance, ["150.00"])
    async with serve(SETTINGS) as server:
        await show_plan(instance, US, base_url=server.rest_url, as_json=False)
    [kept] = (home / "nonces").iterdir()
    assert int.from_bytes(kept.read_bytes()[8:], sys.byteorder) > 0


async def test_the_plan_is_shown_and_nothing_is_done(tmp_path: Path, capsys) -> None:
    instance = Instance.named("grid-1", tmp_path)
    accepted, _ = intend(instance, ["150.00", "140.00"])
    async with (
        serve(SETTINGS) as server,
        AsyncRestClient(US, base_url=server.rest_url, allow_changes=True) as rest,
    ):
        await rest.create_order(request(accepted, "150.00"))
        await rest.create_order(request("by-hand", "130.00"))
        for as_json in (False, True):
            code = await show_plan(instance, US, base_url=server.rest_url, as_json=as_json)
            assert code is ExitCode.OK
        assert len(await rest.get_orders(status="active")) == 2
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[:-1]] == ["leave", "adopt", "look"]
        assert [step["kind"] for step in json.loads(lines[-1])] == ["leave", "adopt", "look up"]
        await rest.create_order(request(IdSource("grid-1", 0).next(), "120.00"))
        code = await show_plan(instance, US, base_url=server.rest_url, as_json=False)
        assert code is ExitCode.UNRECONCILED
        assert "which the journal did not count" in capsys.readouterr().out


async def test_agreement_is_said(tmp_path: Path, capsys) -> None:
    instance = Instance.named("grid-1", tmp_path)
    intend(instance, [])
    async with serve(SETTINGS) as server:
        code = await show_plan(instance, US, base_url=server.rest_url, as_json=False)
    assert code is ExitCode.OK
    assert capsys.readouterr().out == "journal and exchange agree\n"


@pytest.mark.parametrize("is_running", [False, True])
def test_without_a_journal_or_beside_a_running_instance_it_refuses(
    tmp_path: Path, is_running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NKFAST_API_KEY", "k")
    monkeypatch.setenv("NKFAST_API_SECRET", "s3cr3t")
    words = ["reconcile", "--name", "grid-1", "--dry-run"]
    words += ["--state-dir", str(tmp_path)]
    path = Instance.named("grid-1", tmp_path).journal
    if not is_running:
        result = CliRunner().invoke(main, words)
        assert result.exit_code == ExitCode.CONFIG
        assert "there is no journal yet" in result.stderr
        assert not path.exists()
        return
    with Journal.open(path, instance="grid-1"):
        result = CliRunner().invoke(main, words)
    assert result.exit_code == ExitCode.WRONG_STATE
    assert "holds the journal" in result.stderr
