"""Several engines in one process: each lives and falls alone.

They may share a venue (`nkfast.venue.shared.SharedVenue`) and, when they trade with one account,
its open orders (`nkfast.trading.account.AccountOrders`), so that they never trade with each other.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from nkfast.trading.engine import Engine
from nkfast.trading.life import OnExit, StopReport

__all__ = ["Ended", "Fleet"]


class Ended(NamedTuple):
    """How one engine ended: what ended it (None: it was asked to, or had nothing left to do)."""

    error: BaseException | None
    report: StopReport


class Fleet:
    """Runs engines side by side. What ends one ends no other.

    Parameters
    ----------
    engines : mapping of str to Engine
        By the name of the instance; none started yet. Journals stay the caller's to close.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self.engines = MappingProxyType(dict(engines))
        self._ended: dict[str, Ended] = {}

    @property
    def ended(self) -> Mapping[str, Ended]:
        """How those ended that have, by name, in the order in which they did."""
        return MappingProxyType(self._ended)

    async def run(self, stop: asyncio.Event, on_exit: OnExit = "cancel") -> Mapping[str, Ended]:
        """Start every engine, and stop each when it ends or when ``stop`` is set.

        An engine that cannot start, halts or has drained is stopped at once, by ``on_exit``, while
        the others trade on.

        Returns
        -------
        mapping of str to Ended
            How each ended; all have.
        """
        async with asyncio.TaskGroup() as group:
            for name, engine in self.engines.items():
                group.create_task(self._live(name, engine, stop, on_exit), name=f"nkfast-{name}")
        return self.ended

    async def _live(self, name: str, engine: Engine, stop: asyncio.Event, on_exit: OnExit) -> None:
        error: Exception | None = None
        try:
            await engine.start()
            await engine.run(stop)
        except Exception as failure:
            error = failure
        finally:
            report = await engine.stop(on_exit)
            self._ended[name] = Ended(error, report)
