"""What an instance is and did, as the files that it keeps say it."""

from typing import Any

from nkfast.app.instance import Instance
from nkfast.trading.journal_listing import describe_journal

__all__ = ["describe_instance"]


def describe_instance(instance: Instance) -> dict[str, Any]:
    """Return what the newest run is or was. ``state`` is "gone" when it ended without a word."""
    record = instance.last_run()
    journal = instance.newest_journal
    said = describe_journal(journal) if journal.is_file() else {}
    process = instance.holder()
    state = said.get("life", "") or "started" if process else said.get("life", "")
    if not process and state not in ("stopped", "halted", ""):
        state = "gone"
    return {
        "name": instance.name,
        "mode": "" if record is None else record.mode,
        "strategy": "" if record is None else record.strategy,
        "symbol": "" if record is None else record.symbol,
        "state": state or "never traded",
        "reason": said.get("reason", ""),
        "process_id": int(process) if process.isdigit() else None,
        "config": "" if record is None else record.config,
        "started_ms": None if record is None else record.started_ms,
        "orders": said.get("orders", 0),
        "open_orders": said.get("open_orders", 0),
        "fills": said.get("fills", 0),
        "profit": said.get("profit", {}),
    }
