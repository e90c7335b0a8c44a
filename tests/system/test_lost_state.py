"""An instance whose state directory was lost: its ids are new, what it left behind is judged."""

import json
import shutil
from pathlib import Path
from typing import Any

from system.conftest import KEY, SECRET
from system.test_run import GRID, LIVE, ended, failed

from nkfast.app.exits import ExitCode
from nkfast.client.rest import RestClient
from nkfast.wire.models import ApiCredentials


def test_T12_after_the_state_was_lost_ids_are_new_and_orphans_are_left_alone(
    start: Any, exchange: Any, tmp_path: Path
) -> None:
    (tmp_path / "bot.toml").write_text(GRID)
    env = exchange.environment()

    def run(on_exit: str) -> Any:
        pairs = exchange.pairs(on_exit=on_exit)
        return start("run", "bot.toml", *LIVE, "--for", "1s", "--json", *pairs, env=env)

    for on_exit in ("cancel", "keep"):
        summary = json.loads(ended(run(on_exit), ExitCode.OK))
        assert summary["orders"] >= 6
        assert summary["rejects"] == summary["unknown_orders"] == 0
        shutil.rmtree(exchange.home / "bot")
    key = ApiCredentials(KEY, SECRET)
    with RestClient(key, base_url=exchange.rest_url, allow_changes=True) as rest:
        resting = {order.user_provided_id for order in rest.get_orders(status="active")}
        assert "which this journal did not count" in failed(run("cancel"), ExitCode.UNRECONCILED)
        orphans = rest.get_orders(status="active")  # but for those that were filled meanwhile
        assert orphans
        assert {order.user_provided_id for order in orphans} <= resting
        # As a person does who sees that no other copy runs.
        mending = start("recover", "--name", "bot", "--rest-url", exchange.rest_url, env=env)
        assert "bot may be started" in ended(mending, ExitCode.OK)
        assert rest.get_orders(status="active") == []
    summary = json.loads(ended(run("cancel"), ExitCode.OK))
    assert summary["orders"] >= 6
    assert summary["rejects"] == summary["unknown_orders"] == 0
