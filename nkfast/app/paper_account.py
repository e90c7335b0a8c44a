"""The pretended account of a paper bot: it outlives a run, because its journal does."""

from collections.abc import Mapping
from decimal import Decimal

from nkfast.app.instance import Instance
from nkfast.trading.exact import ZERO, add, plain, subtract
from nkfast.trading.journal import Journal
from nkfast.venue.clock import RealClock

__all__ = ["put_away", "resumed_funds"]

#: Name under which the journal keeps what the account began with.
_FUNDS = "paper_funds"


def resumed_funds(journal: Journal, beginning: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return what the account of a journal holds: what it began with, and what its fills made.

    Parameters
    ----------
    journal : Journal
        Of the instance in mode paper. It keeps ``beginning`` if it has none yet.
    beginning : mapping of str to Decimal
        By asset; only the first run's counts.
    """
    made: dict[str, Decimal] = {}
    for profit in journal.recover(RealClock().time_ns() // 1_000_000).profits.values():
        for asset, change in (
            (profit.base_asset, profit.position),
            (profit.quote_asset, profit.cash),
        ):
            made[asset] = add(made.get(asset, ZERO), change)
    kept = journal.kept(_FUNDS)
    if kept is None:
        # A journal that has fills and no beginning is older than this: it holds so much now.
        begun = {
            asset: subtract(beginning.get(asset, ZERO), made.get(asset, ZERO))
            for asset in (*beginning, *(asset for asset in made if asset not in beginning))
        }
        kept = {asset: plain(amount) for asset, amount in begun.items()}
        journal.keep(_FUNDS, kept)
    begun = {asset: Decimal(amount) for asset, amount in kept.items()}
    return {
        asset: add(begun.get(asset, ZERO), made.get(asset, ZERO))
        for asset in (*begun, *(asset for asset in made if asset not in begun))
    }


def put_away(instance: Instance) -> str:
    """Move the journal of an instance's paper runs aside; return where to, empty if there is none.

    Raises
    ------
    nkfast.errors.JournalLockedError
        The instance runs.
    """
    journal = instance.journal_of("paper")
    with instance.held():
        if not journal.is_file():
            return ""
        folder = instance.folder / f"paper-{RealClock().time_ns() // 1_000_000}"
        folder.mkdir(mode=0o700)
        for path in sorted(instance.folder.glob(f"{journal.name}*"), reverse=True):
            path.replace(folder / path.name)
    return str(folder)
