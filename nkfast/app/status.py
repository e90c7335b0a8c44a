"""What an instance is and did, as the files that it keeps say it."""

from typing import Any

from nkfast.app.instance import Instance, RunRecord
from nkfast.trading.journal_listing import describe_journal
from nkfast.venue.clock import RealClock

__all__ = ["describe_instance"]

#: An instance touches its pulse every second; one that has not for so long stands still.
_STALE_S = 10.0


def describe_instance(instance: Instance) -> dict[str, Any]:
    """Return what the newest run is or was. ``state`` is "gone" when it ended without a word.

    ``health`` is "well", "starting", "paused", "draining", "halted", "stale" for a process that
    stands still, "dead" for one that ended without a word, "down" for one that ended in order.
    """
    record = instance.last_run()
    journal = instance.newest_journal
    said = describe_journal(journal) if journal.is_file() else {}
    process = instance.holder()
    state = said.get("life", "") or "started" if process else said.get("life", "")
    if not process and state not in ("stopped", "halted", ""):
        state = "gone"
    health, uptime_s = _health(instance, record, state, is_running=bool(process))
    return {
        "name": instance.name,
        "mode": "" if record is None else record.mode,
        "strategy": "" if record is None else record.strategy,
        "symbol": "" if record is None else record.symbol,
        "state": state or "never traded",
        "health": health,
        "reason": said.get("reason", ""),
        "process_id": int(process) if process.isdigit() else None,
        "fleet": "" if record is None else record.fleet,
        "uptime_s": uptime_s,
        "config": "" if record is None else record.config,
        "started_ms": None if record is None else record.started_ms,
        "orders": said.get("orders", 0),
        "open_orders": said.get("open_orders", 0),
        "fills": said.get("fills", 0),
        "profit": said.get("profit", {}),
    }


def _health(
    instance: Instance, record: RunRecord | None, state: str, *, is_running: bool
) -> tuple[str, float | None]:
    """Return how well a process does, and for how many seconds it has been there."""
    if not is_running:
        return {"gone": "dead", "halted": "halted"}.get(state, "down"), None
    now_ms = RealClock().time_ns() // 1_000_000
    started_ms = now_ms if record is None else record.started_ms
    uptime_s = max(now_ms - started_ms, 0) / 1000
    try:
        pulse_ms = int(instance.pulse.stat().st_mtime * 1000)
    except FileNotFoundError:
        pulse_ms = 0
    if pulse_ms < started_ms:
        return ("starting" if uptime_s < _STALE_S else "stale"), uptime_s
    if (now_ms - pulse_ms) / 1000 > _STALE_S:
        return "stale", uptime_s
    if state in ("paused", "draining", "halted"):
        return state, uptime_s
    return ("well" if state == "running" else "starting" if state == "started" else state), uptime_s
