"""The beginning of a run: one read that fails does not end it, and what ends it says why."""

import asyncio
from pathlib import Path

import pytest
from trading.test_legs import Floor

from nkfast.errors import AuthenticationError, UnreachableError
from nkfast.exchange.weather import Rule, Weather
from nkfast.trading.engine import Engine

BUY = ("buy", "99.00", "1")


@pytest.mark.parametrize("failures", [1, 6])
def test_a_comparison_that_fails_at_the_start_is_tried_again(on_virtual_desk, failures) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.reads.extend(["fail"] * failures)
        async with desk.trading() as engine:
            assert engine.reasons["RECONCILE_FAILED"] == failures
            await desk.until(lambda: desk.venue.wire)

    on_virtual_desk(scenario)


def test_a_start_that_cannot_compare_says_what_failed_and_what_to_do(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.strategy.want(low=BUY)
        desk.venue.reads.extend(["fail"] * 1000)
        began_s = desk.clock.monotonic_ns() / 1e9
        with pytest.raises(UnreachableError) as caught:
            async with desk.trading(start_timeout_s=20):
                pass  # pragma: no cover
        assert 20 <= desk.clock.monotonic_ns() / 1e9 - began_s < 21
        text = str(caught.value)
        assert "within 20 s, in 8 attempts; the last one: read: HTTP 502" in text
        assert "Nothing was sent. See whether the exchange is up" in text
        assert desk.venue.wire == []
        desk.venue.reads.clear()
        async with desk.trading():  # nothing was halted by it
            await desk.until(lambda: desk.venue.wire)

    on_virtual_desk(scenario)


def test_a_venue_that_hangs_ends_a_start_at_its_limit(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        desk.venue.holdings = asyncio.Event().wait
        with pytest.raises(UnreachableError, match=r"in 1 attempts; the last one: no answer"):
            async with asyncio.timeout(300), desk.trading():
                pass  # pragma: no cover

    on_virtual_desk(scenario)


def test_a_refused_key_ends_a_start_at_once(on_virtual_desk) -> None:
    async def scenario(desk) -> None:
        async def refuse() -> None:
            raise AuthenticationError("who are you", code=1001, endpoint="/balances", sent="yes")

        desk.venue.holdings = refuse
        began_ns = desk.clock.monotonic_ns()
        with pytest.raises(AuthenticationError):
            async with desk.trading():
                pass  # pragma: no cover
        assert desk.clock.monotonic_ns() - began_ns < 10**9

    on_virtual_desk(scenario)


def test_starts_in_bad_weather_succeed(tmp_path: Path) -> None:
    floor = Floor(tmp_path / "journal.db")
    failures = []

    async def note(engine: Engine) -> None:
        assert engine.has_started
        failures.append(engine.reasons["RECONCILE_FAILED"])

    for seed in range(12):
        reads = ("account/orders", "account/trades", "balances")
        rules = [Rule("error_before", on=name, probability=0.15) for name in reads]
        floor.weather = Weather(rules, seed)
        floor.run(note)
    assert len(failures) == 12
    assert sum(failures) > 6
