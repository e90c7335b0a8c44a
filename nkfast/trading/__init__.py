"""Strategies' interface and the engine: orders, risk, ledger, journal, reconciliation."""
