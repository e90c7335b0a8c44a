"""``nkfast recover``: a damaged journal is put aside, what rests is cancelled, others' is not."""

import json
from pathlib import Path

import pytest
from app.test_reconcile_command import SETTINGS, US, request

from nkfast.app import recover
from nkfast.app.exits import ExitCode
from nkfast.app.instance import Instance
from nkfast.app.recover import recover_instance
from nkfast.client.async_rest import AsyncRestClient
from nkfast.errors import JournalLockedError, LifeError
from nkfast.exchange.server import serve
from nkfast.trading.journal import Journal
from nkfast.trading.orders import IdSource


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recover, "_PAUSE_S", 0.01)


@pytest.mark.parametrize("fate", ["damaged", "lost", "unreconciled"])
async def test_T06_T12_an_instance_begins_anew(tmp_path: Path, capsys, fate: str) -> None:
    instance = Instance.named("grid-1", tmp_path)
    with Journal.open(instance.journal, instance="grid-1") as journal:
        own = journal.id_source().next()
        if fate == "unreconciled":
            journal.note_life("halted", "UNRECONCILED: an order of another start", 1)
    if fate == "damaged":
        instance.journal.write_bytes(b"once upon a time" * 999)
    elif fate == "lost":
        instance.journal.unlink()
    async with (
        serve(SETTINGS) as server,
        AsyncRestClient(US, base_url=server.rest_url, allow_changes=True) as rest,
    ):
        for client_id, price in ((own, "150"), ("by-hand", "140"), (IdSource("b", 1).next(), "1")):
            await rest.create_order(request(client_id, f"{price}.00"))
        code = await recover_instance(instance, US, base_url=server.rest_url, as_json=True)
        assert code is ExitCode.OK
        told = json.loads(capsys.readouterr().out)
        assert (told["cancelled"], told["left"]) == ([own], [])
        left = [order.user_provided_id for order in await rest.get_orders(status="active")]
        assert len(left) == 2
        assert own not in left
    if fate == "damaged":
        assert Path(told["kept_as"]).read_bytes().startswith(b"once upon a time")
    with Journal.open(instance.journal, instance="grid-1") as journal:
        life = journal.life()
        assert life is None or life.state == "stopped"
        assert journal.boot == (4 if fate == "unreconciled" else 1)


async def test_what_is_sound_or_runs_is_left_alone(tmp_path: Path) -> None:
    instance = Instance.named("grid-1", tmp_path)
    Journal.open(instance.journal, instance="grid-1").close()
    with pytest.raises(LifeError, match="its journal can be read"):
        await recover_instance(instance, US, base_url="http://127.0.0.1:9", as_json=False)
    with instance.held(), pytest.raises(JournalLockedError):
        await recover_instance(instance, US, base_url="http://127.0.0.1:9", as_json=False)


async def test_while_orders_are_left_the_journal_stays(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_desk: object, _order: object) -> None:
        """Answers, and cancels nothing."""

    monkeypatch.setattr("nkfast.venue.cancel_desk.RestCancelDesk.cancel", nothing)
    instance = Instance.named("grid-1", tmp_path)
    with Journal.open(instance.journal, instance="grid-1") as journal:
        own = journal.id_source().next()
    instance.journal.write_bytes(b"")
    async with (
        serve(SETTINGS) as server,
        AsyncRestClient(US, base_url=server.rest_url, allow_changes=True) as rest,
    ):
        await rest.create_order(request(own, "150.00"))
        code = await recover_instance(instance, US, base_url=server.rest_url, as_json=False)
    assert code is ExitCode.INCOMPLETE_STOP
    assert f"STILL OPEN  {own} on " in capsys.readouterr().out
    assert instance.journal.read_bytes() == b""
