"""A scripted venue, a strategy that wants what a test says, and an engine between them."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from trading.scripted_venue import ScriptedVenue

from nkfast.core.market import Market
from nkfast.trading.account import AccountOrders
from nkfast.trading.engine import Engine, EngineSettings
from nkfast.trading.heartbeat import Heart
from nkfast.trading.journal import Durability, Journal, verify
from nkfast.trading.life import StopReport, clear_halt
from nkfast.trading.risk import RiskLimits
from nkfast.trading.strategy import Desired, Fill, MarketView, Quote, Strategy
from nkfast.venue.clock import RealClock, run_virtual

SYMBOL = "BTC/USDT"
#: Wide enough for every test that is not about limits.
LIMITS = RiskLimits(
    max_order_notional=Decimal(10**9), max_position=Decimal(10**9), max_daily_loss=Decimal(10**9)
)
START_NS = 1_760_000_000 * 10**9


class Wanting(Strategy):
    """Wants the quotes that the test sets; remembers the fills it was told."""

    name = "wanting"

    def __init__(self) -> None:
        self.desired = Desired()
        self.told: list[Fill] = []
        self.decisions = 0
        self.offered = 0
        self.views: list[MarketView] = []
        self.raises: Exception | None = None
        self.raises_on_fill: Exception | None = None
        self.restored: Mapping[str, Any] | None = None

    def want(self, **quotes: tuple[str, str, str]) -> None:
        self.desired = Desired(
            {
                slot.replace("_", "-"): Quote(side, Decimal(price), Decimal(quantity))
                for slot, (side, price, quantity) in quotes.items()
            }
        )

    def decide(self, view: MarketView) -> Desired:
        if self.raises is not None:
            raise self.raises
        self.decisions += 1
        self.views.append(view)
        return self.desired

    def on_fill(self, fill: Fill) -> None:
        self.offered += 1
        if self.raises_on_fill is not None:
            raise self.raises_on_fill
        self.told.append(fill)

    def state(self) -> dict[str, Any]:
        return {"trades": [fill.trade_id for fill in self.told]}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.restored = state


class Desk:
    """Everything around one engine, for a test's hands."""

    def __init__(self, path: Path, clock: Any) -> None:
        self.path = path
        self.clock = clock
        self.market = Market(SYMBOL, 2, 4, min_notional="1", maker_fee="0.002", taker_fee="0.002")
        self.venue = ScriptedVenue(self.market, clock, {"BTC": "100", "USDT": "100000"})
        self.strategy = Wanting()
        self.show = ("100.00", "100.10")
        self.stopped: StopReport | None = None

    @asynccontextmanager
    async def trading(
        self,
        mode: str = "live",
        limits: RiskLimits | None = None,
        on_exit: str = "cancel",
        verifies: bool = True,
        starts: bool = True,
        durability: Durability | None = "process",
        account: AccountOrders | None = None,
        heart: Heart | None = None,
        **settings: float,
    ):
        """Start an engine on the journal, give it to the test, stop it, verify the journal."""
        self.venue.set_book(*self.show)
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
        with Journal.open(self.path, instance="nk01", durability=durability) as journal:
            engine = Engine(
                venue=self.venue,
                clock=self.clock,
                journal=journal,
                strategy=self.strategy,
                symbol=SYMBOL,
                limits=limits or LIMITS,
                mode=mode,
                account=account,
                heart=heart,
                settings=EngineSettings(**settings),
            )
            try:
                if starts:
                    await engine.start()
                yield engine
            finally:
                self.stopped = await engine.stop(on_exit)
        assert self.venue.is_closed
        assert failures == []
        if verifies:
            report = verify(self.path)
            assert report.ok, report.differences

    def id_without_intent(self) -> str:
        """Return an id of a start that the journal counted, and of no intent."""
        with Journal.open(self.path, instance="nk01") as journal:
            return journal.id_source().next()

    def clear_halt(self, cause: str) -> None:
        """Clear what halted trading, as a person does."""
        with Journal.open(self.path, instance="nk01") as journal:
            clear_halt(journal, cause, self.clock.time_ns() // 1_000_000)

    async def until(self, condition: Callable[[], object], within_s: float = 10.0) -> None:
        """Wait for an effect, with a deadline."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while not condition():
            assert loop.time() < deadline, "it did not happen"
            await asyncio.sleep(0.002)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk on the machine's own clock."""
    return Desk(tmp_path / "journal.db", RealClock())


@pytest.fixture
def on_virtual_desk(tmp_path: Path) -> Callable[[Callable[[Desk], Any]], Any]:
    """Run ``test(desk)`` on a loop whose time is pretended."""

    def run(test: Callable[[Desk], Any], start_ns: int = START_NS) -> Any:
        return run_virtual(lambda clock: test(Desk(tmp_path / "journal.db", clock)), start_ns)

    return run
