"""The public simulation: repeatable, survived by the engine, and not by engines with a fault."""

import os
import subprocess
import sys

import pytest
from testing.mutants import MUTANTS, NEAR_LIMIT, Mutant

from nkfast.errors import ConfigError
from nkfast.exchange.weather import Rule
from nkfast.testing import INVARIANTS, Incident, Script, Stage, campaign, shrink, simulate
from nkfast.trading.strategy import Strategy

#: The check of every change runs two thousand; see .ci/run.
SEEDS = range(24)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_engine_survives(seed: int) -> None:
    outcome = simulate(seed)
    assert outcome.ok, f"{outcome.violation}\n{outcome.command}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_known_fault_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.break_it(monkeypatch)
    # One seed shows it at once; a change of the engine may move it to another.
    runs = (simulate(seed, mutant.stage) for seed in (mutant.seed, *SEEDS))
    violation = next((run.violation for run in runs if run.violation is not None), None)
    assert violation is not None
    assert violation.invariant in mutant.found_by, violation


@pytest.mark.parametrize("seed", [15, 58])
def test_what_is_executed_counts_before_its_trade_is_told(seed: int) -> None:
    outcome = simulate(seed, NEAR_LIMIT)
    assert outcome.ok, outcome.violation


def test_the_same_seed_is_the_same_run_in_any_process() -> None:
    code = "from nkfast.testing import simulate\nprint([simulate(n).digest for n in range(5)])"
    digests = {
        subprocess.run(
            [sys.executable, "-P", "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    }
    assert digests == {f"{[simulate(n).digest for n in range(5)]}\n"}


def test_a_strategy_that_cannot_be_made_is_told_to_who_wrote_it() -> None:
    def broken(market: object) -> Strategy:
        raise ZeroDivisionError(str(market))

    with pytest.raises(ZeroDivisionError):
        simulate(1, Stage(strategy=broken))


def test_a_script_comes_back_from_its_text() -> None:
    for seed in range(50):
        script = Script.draw(seed)
        assert Script.from_json(script.as_json()) == script
    with pytest.raises(ConfigError, match="is no script"):
        Script.from_json('{"seed": 1, "storm": 2}')
    with pytest.raises(ConfigError, match="known: clock_jump"):
        Incident("flood", 1.0)


def test_a_failure_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    resend = next(mutant for mutant in MUTANTS if mutant.name == "send again")
    resend.break_it(monkeypatch)
    outcome = simulate(resend.seed)
    small = shrink(outcome)
    assert small.violation is not None
    assert small.violation.invariant == "I13"
    faults = small.script.faults
    assert len(faults) < len(outcome.script.faults) / 2
    for left_out in faults:  # none of them can be done without
        without = small.script.only([fault for fault in faults if fault is not left_out])
        assert simulate(without).ok
    again = simulate(Script.from_json(small.script.as_json()))
    assert again.digest == small.digest


def test_what_broke_nothing_cannot_be_made_small() -> None:
    with pytest.raises(ValueError, match="broke no invariant"):
        shrink(simulate(Script(seed=1, storm_s=5.0)))


def test_a_failing_seed_is_printed_with_what_replays_it() -> None:
    code = (
        "from nkfast.trading.risk import RiskGuard\n"
        "RiskGuard.recall = lambda self, orders: None\n"
        "import sys; from nkfast.testing.campaign import main\n"
        "sys.exit(main(['--seeds', '5:6']))"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 1
    assert "seed 5: I17" in run.stdout
    assert "python -m nkfast.testing --script" in run.stdout
    assert "1 of 1 seeds broke an invariant" in run.stdout


def test_a_request_that_is_repeated_on_its_way_is_seen() -> None:
    script = Script(
        seed=1, rules=(Rule("twice", on="create", after=1, times=1),), uniqueness="never"
    )
    outcome = simulate(script)
    assert outcome.violation is not None
    assert outcome.violation.invariant == "I1"


def test_an_owner_who_trades_with_the_engine_again_and_again_halts_it() -> None:
    # Of seed 182. Without the owner's trades the same halt is a violation.
    owner = [Incident("owner_trades", at) for at in (18.13, 33.59, 80.27, 84.54, 84.55)]
    script = Script(
        seed=182,
        storm_s=90.0,
        latency_s=0.03,
        rules=(Rule("reset_before", on="subscribe", after=4, times=1, status=520),),
        lasting=(Rule("error_before", on="read", probability=0.05),),
        incidents=(
            Incident("kill", 2.61),
            Incident("kill_before_write", 7),
            Incident("kill_after_write", 69),
            Incident("disk_full", 126),
            Incident("disk_error", 150),
            *owner,
        ),
        uniqueness="active",
        lookup="active",
        ending="halt",
    )
    outcome = simulate(script)
    assert outcome.ok, outcome.violation
    assert ("cleared", "SELF_TRADES") in {line[1:3] for line in outcome.trace}


def test_a_campaign_whose_canary_lives_is_worth_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign.Canary, "submit", lambda self, order: self._venue.submit(order))
    assert campaign.main(["--seeds", "1:2"]) == 2


def test_a_campaign_looks_for_its_canary_in_a_run_that_sends_orders() -> None:
    assert simulate(4000).intents == 0
    assert campaign.main(["--seeds", "4000:4002"]) == 0


def test_all_twenty_invariants_have_a_name() -> None:
    assert list(INVARIANTS) == [f"I{n}" for n in range(1, 21)]
