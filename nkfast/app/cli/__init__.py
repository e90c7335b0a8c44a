"""The command line: ``nkfast`` and ``python -m nkfast``. One module for each kind of command."""

from nkfast.app.cli import (
    alerts,
    bots,
    configs,
    control,
    documents,
    fleet,
    journals,
    keys,
    machine,
    market,
    simulation,
    status,
    strategies,
)
from nkfast.app.cli.program import main

__all__ = ["main"]

for _module in (
    *(simulation, bots, fleet, strategies, status, market),
    *(configs, keys, alerts, journals, control, machine, documents),
):
    for _command in _module.COMMANDS:
        main.add_command(_command)

main.sections = {
    "First steps": ("demo", "docs", "init", "check", "plan", "paper", "run"),
    "See what runs": ("status", "ps", "orders", "fills", "pnl", "why", "logs", "export"),
    "Steer what runs": (
        *("up", "down", "pause", "resume", "drain", "stop", "kill"),
        *("guard", "reconcile", "recover", "service"),
    ),
    "The exchange": ("keys", "balances", "markets", "ticker", "book", "candles"),
    "Ideas and data": ("strategies", "backtest", "replay", "exchange"),
}
