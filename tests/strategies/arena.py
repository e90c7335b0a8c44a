"""A strategy, the engine and the exchange on pretended time, with nobody's chance but the test's.

Unlike `nkfast.testing.simulate` nothing goes wrong by itself: a test says what the market does, and
when the process is killed and started again on its journal. Answers take no time, so that two runs
of one story differ only by what the test did differently.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nkfast.core.market import Market
from nkfast.exchange.accounts import Account
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.markets import Listing
from nkfast.exchange.money import text
from nkfast.exchange.orders import Order
from nkfast.strategies import load
from nkfast.testing import Process, ProcessLoop, VirtualClock
from nkfast.testing.simulation import SETTINGS
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.journal import Journal
from nkfast.trading.life import StopReport
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Strategy
from nkfast.venue.port import Side
from nkfast.venue.simulated import SimulatedVenue

D = Decimal
START_NS = 1_790_000_000 * 10**9
_INSTANCE = "nk01"
_RICH = 10**12


class Placed(NamedTuple):
    """An order that the exchange accepted from us, and what became of it."""

    time_ms: int
    side: str
    price: Decimal | None
    quantity: Decimal
    executed: Decimal
    symbol: str


class Arena:
    """Us, and somebody who is rich and does what a test says.

    Parameters
    ----------
    name, settings
        The strategy and what it is told.
    rows : sequence of mapping
        Its markets, in the shape of rows of ``market/getlist``, the home first.
    funds : mapping
        What we own.
    path : Path
        A folder for the journal.
    """

    engine: Engine
    strategy: Strategy

    def __init__(
        self,
        name: str,
        settings: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        funds: Mapping[str, str],
        path: Path,
        *,
        limits: RiskLimits,
        mode: Literal["live", "monitor"] = "live",
        engine_settings: EngineSettings = SETTINGS,
    ) -> None:
        self.kind = load(name)
        self._settings = self.kind.settings_type.read(settings)
        self._limits, self._mode, self._engine_settings = limits, mode, engine_settings
        self._path = path / "journal.db"
        self.loop = ProcessLoop()
        self.clock = VirtualClock(self.loop, START_NS)
        self.exchange = Exchange(rows, seed=1, now_ms=self.now_ms())
        self.account = self.exchange.open_account("us", funds)
        self.listings = {row["symbol"]: self.exchange.listing(row["symbol"]) for row in rows}
        self.home = next(iter(self.listings.values()))
        assets = {asset for one in self.listings.values() for asset in (one.base, one.quote)}
        self.other: Account = self.exchange.open_account(
            "other", dict.fromkeys(assets, _RICH), keeps_history=False
        )
        self.starts = 0
        self._quotes: list[Order] = []
        self._process: Process | None = None
        self._buried: list[Process] = []

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        """Start the process, let a story happen, and end the process without a word."""

        async def whole() -> None:
            await self.begin()
            await story()
            self.kill()

        try:
            self.loop.run_until_complete(whole())
            assert self.loop.failures == []
        finally:
            if self._process is not None:
                self.kill()
            for process in self._buried:
                process.bury()
            self.loop.close()

    # The process -------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Start the process."""
        self.starts += 1
        process = self._process = Process(self.loop, lambda: None)
        ready = asyncio.Event()
        main = process.start(self._live(ready))
        waits = self.loop.create_task(ready.wait())
        await asyncio.wait((main, waits), return_when=asyncio.FIRST_COMPLETED)
        if main.done():
            waits.cancel()
            main.result()
        await asyncio.sleep(0.001)

    async def _live(self, ready: asyncio.Event) -> None:
        markets = {symbol: listing.market for symbol, listing in self.listings.items()}
        self.journal = Journal.open(self._path, instance=_INSTANCE, durability="process")
        self.strategy = self.kind.build(self._settings, markets)
        self._venue = SimulatedVenue(self.exchange, self.account, clock=self.clock, tick_s=0.5)
        home, *more = self.listings
        self.engine = Engine(
            venue=self._venue,
            clock=self.clock,
            journal=self.journal,
            strategy=self.strategy,
            symbol=home,
            more_symbols=more,
            limits=self._limits,
            mode=self._mode,
            settings=self._engine_settings,
        )
        await self.engine.start()
        ready.set()
        await self.loop.create_future()

    def kill(self) -> None:
        """End the process as ``kill -9`` does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._venue.abandon()
            self.journal.close()
            self._buried.append(process)

    async def restart(self) -> None:
        """Kill the process, and start it again on what its journal holds."""
        self.kill()
        await self.begin()

    async def stop(self) -> StopReport:
        """End the process in order, as the strategy has it where nobody says more."""
        assert self._process is not None
        stopping: asyncio.Task[StopReport] = self._process.start(
            self.engine.stop(self.kind.on_exit)
        )
        return await stopping

    async def settle(self, seconds: float = 0.3) -> None:
        """Let everything happen that follows."""
        await asyncio.sleep(seconds)

    # The market --------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return self.clock.time_ns() // 1_000_000

    def show(self, bid: str, ask: str, symbol: str = "", quantity: str = "1000") -> None:
        """Let the other one quote both sides, and nothing else."""
        listing = self.listings[symbol or self.home.symbol]
        self.clear(listing.symbol)
        for side, price in (("buy", bid), ("sell", ask)):
            self._quotes.append(self._place(listing, side, price, quantity))  # type: ignore[arg-type]

    def clear(self, symbol: str = "") -> None:
        """Let the other one quote nothing on a market."""
        name = symbol or self.home.symbol
        for order in self._quotes:
            if order.is_open and order.listing.symbol == name:
                self.exchange.withdraw(order, self.now_ms())

    def _place(self, listing: Listing, side: Side, price: str, quantity: str) -> Order:
        market = listing.market
        ticks, lots = market.price_to_ticks(D(price)), market.quantity_to_lots(D(quantity))
        return self._place_ticks(listing, side, ticks, lots)

    def _place_ticks(self, listing: Listing, side: Side, ticks: int, lots: int) -> Order:
        return self.exchange.place(self.other, listing, side, ticks, lots, self.now_ms())

    def hit(self, order: Order, part: str | Decimal = "1") -> None:
        """Let the other one trade with an order of ours, as a part of what is left of it.

        The market comes to its price and goes back; no side of the book is ever empty. Whatever of
        ours is better priced would be hit before it: take the best.
        """
        listing, ticks = order.listing, order.ticks
        assert ticks is not None
        behind, taker = (-1, "sell") if order.side == "buy" else (1, "buy")
        quotes = [one for one in self._quotes if one.is_open and one.listing is listing]
        beside = [one for one in quotes if one.side == order.side]
        in_front = [one for one in beside if (one.ticks or 0) * behind <= ticks * behind]
        stand_in = None
        if len(in_front) == len(beside):
            stand_in = self._place_ticks(listing, order.side, ticks + behind, 10**9)
        for one in in_front:
            self.exchange.withdraw(one, self.now_ms())
        lots, before = max(1, int(order.remaining_lots * D(part))), order.executed_lots
        self._place_ticks(listing, taker, ticks, lots)  # type: ignore[arg-type]
        assert order.executed_lots == before + lots, "another order of ours was in front"
        for one in in_front:
            again = self._place_ticks(listing, one.side, one.ticks or 0, one.cancelled_lots)
            self._quotes.append(again)
        if stand_in is not None:
            self.exchange.withdraw(stand_in, self.now_ms())

    def cancel(self, order: Order) -> None:
        """Let the owner cancel an order of ours by hand."""
        self.exchange.withdraw(order, self.now_ms())

    # What there is -----------------------------------------------------------------------------

    def resting(self, side: str = "") -> list[Order]:
        """Return our open orders, those of a side the nearest to the market first."""
        found = [o for o in self.account.open_orders.values() if not side or o.side == side]
        return sorted(found, key=lambda order: order.ticks or 0, reverse=side == "buy")

    def placed(self) -> list[Placed]:
        """Return every order that we ever had, oldest first."""
        found = []
        for order in sorted(self.account.orders(), key=lambda order: order.number):
            market = order.listing.market
            price = None if order.ticks is None else market.ticks_to_price(order.ticks)
            found.append(
                Placed(
                    order.created_ms,
                    order.side,
                    price,
                    market.lots_to_quantity(order.lots),
                    market.lots_to_quantity(order.executed_lots),
                    order.listing.symbol,
                )
            )
        return found

    def total(self, asset: str) -> Decimal:
        """Return what we own of an asset, by the exchange."""
        return D(text(self.account.holding(asset).total))

    def market(self, symbol: str = "") -> Market:
        return self.listings[symbol or self.home.symbol].market

    def agree(self) -> None:
        """Check that the engine knows what the exchange does, to the last unit."""
        ours = {order.client_id for order in self.engine.orders.open_orders}
        assert ours == {order.client_id for order in self.account.open_orders.values()}
        ledger = self.engine.ledger
        assert sum(profit.fills for profit in ledger.profits.values()) == len(self.account.trades)
        for asset in ledger.assets:
            assert ledger.total(asset) == self.total(asset)
