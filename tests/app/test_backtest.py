"""A backtest is the live engine over recordings; its report adds up, and opens anywhere."""

import asyncio
import json
import random
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal as D
from html.parser import HTMLParser
from pathlib import Path

import pytest
from app.test_replay import MS, SYMBOL, T0, frame, levels, record
from click.testing import CliRunner

from nkfast.app.backtest import Backtest, backtest
from nkfast.app.backtest_report import as_html
from nkfast.app.cli import main
from nkfast.app.config.bot import load_config
from nkfast.app.exits import ExitCode
from nkfast.app.recorded import LATENCY_NS, Recordings
from nkfast.app.replay import replay
from nkfast.core.market import Market
from nkfast.errors import ConfigError, WireError
from nkfast.strategies import load
from nkfast.trading.engine import Engine
from nkfast.trading.journal import Journal
from nkfast.trading.risk import RiskLimits
from nkfast.venue import paper_market
from nkfast.venue import tape as tape_module
from nkfast.venue.clock import VirtualClock, run_virtual
from nkfast.venue.paper import PaperVenue
from nkfast.venue.tape import TapePlayer, TapeReader, TapeWriter

GRID = {
    "step_pct": "0.0002",
    "base_order_size": "1",
    "fee_rate": "0",
    "fee_buffer_pct": "0",
    "min_notional_quote": "0",
}
FUNDS = {"AAA": "1000", "USDT": "100000"}


def bot(folder: Path, *, strategy: str = "grid", funds: Mapping[str, str] = FUNDS, **keys: object):
    rows = [f"strategy = {json.dumps(strategy)}"]
    rows += [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
    rows += ["[paper]", "latency_ms = 300", "[paper.funds]"]
    rows += [f'{asset} = "{amount}"' for asset, amount in funds.items()]
    path = folder / "bot.toml"
    path.write_text("\n".join(rows) + "\n")
    return load_config(path, environment={})


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("tape") / "walk.tsv")


@pytest.fixture(scope="module")
def clean(tape: Path, tmp_path_factory: pytest.TempPathFactory) -> Backtest:
    return backtest(bot(tmp_path_factory.mktemp("bot"), symbol=SYMBOL, **GRID), [tape])


def test_what_it_earned_is_what_its_fills_made(clean: Backtest) -> None:
    assert clean.result.error is None
    assert clean.result.journal.ok
    assert len(clean.fills) == clean.result.engine.fills > 5
    owned = {asset: D(amount) for asset, amount in FUNDS.items()}
    fees = D(0)
    for fill in clean.fills:
        sign = 1 if fill.side == "buy" else -1
        owned["AAA"] += sign * fill.quantity
        owned["USDT"] -= sign * fill.quantity * fill.price + fill.fee
        fees += fill.fee
    # What rests is owned as well.
    before = [one for one in clean.samples if one.time_ms < clean.fills[0].time_ms]
    assert len(before) > 5
    assert all(one.owned == {asset: D(amount) for asset, amount in FUNDS.items()} for one in before)
    last = clean.samples[-1]
    assert last.owned == owned
    assert last.fees == fees == clean.result.engine.fees["USDT"]
    assert last.equity == owned["AAA"] * last.price + owned["USDT"]
    held = D(FUNDS["AAA"]) * last.price + D(FUNDS["USDT"])
    assert clean.against_holding == last.equity - held
    assert clean.equity_change == last.equity - clean.samples[0].equity
    heights = [one.equity for one in clean.samples if one.equity is not None]
    falls = [max(heights[: n + 1]) - equity for n, equity in enumerate(heights)]
    assert clean.drawdown == max(falls) > 0


def test_the_wealth_is_looked_at_from_the_first_to_the_last_frame(clean: Backtest) -> None:
    times = [one.time_ms for one in clean.samples]
    assert times == sorted(times)
    assert times[0] * MS == T0
    assert times[-1] * MS - T0 >= clean.duration_s * 1e9 - MS
    # At every book, as the steps are shorter than the time between two; and after the end.
    assert len(times) == clean.result.frames["update"] + 2


def test_the_json_report_has_everything(clean: Backtest) -> None:
    told = json.loads(json.dumps(clean.as_json()))
    assert told["equity_change"] == str(clean.equity_change.normalize())
    assert len(told["executions"]) == told["fills"]
    assert told["settings"]["strategy.step_pct"] == "0.0002"
    assert told["frames"] == {"snapshot": 1, "trades": 799, "update": 799}
    equity = [None if one["equity"] is None else D(one["equity"]) for one in told["series"]]
    assert equity == [one.equity for one in clean.samples]
    assert equity.count(None) < len(equity) / 2  # moments in which a side of the book was empty


class _Page(HTMLParser):
    """Checks that every element ends, and collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.counts: dict[str, int] = {}
        self.loads: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.loads += [str(value) for name, value in attrs if name in ("src", "href", "data")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_html_report_draws_and_needs_no_network(clean: Backtest) -> None:
    html = as_html(clean)
    page = _Page()
    page.feed(html)
    assert not page.open
    assert not page.loads
    assert "url(" not in html
    assert "script" not in page.counts
    assert page.counts["svg"] == 6  # wealth, ahead of holding, price, two assets, fees
    assert len(re.findall(r"<title>\d{4}-", html)) == len(clean.fills)
    assert f"{clean.equity_change:+,.8f}".rstrip("0") + " USDT" in page.text
    assert clean.result.hash in page.text


def test_recordings_in_a_row_are_one_recording(tape: Path, clean: Backtest, tmp_path: Path) -> None:
    lines = tape.read_bytes().splitlines(keepends=True)
    first, second = tmp_path / "2.tsv", tmp_path / "1.tsv"
    first.write_bytes(b"".join(lines[:700]))
    second.write_bytes(b"".join(lines[700:]))
    again = backtest(clean.config, [second, first])  # in the order of their times, as it comes
    assert again.result.hash == clean.result.hash
    assert again.frame_count == clean.frame_count


def _paper_orders(path: Path, tape: Path) -> list[tuple[object, ...]]:
    """Trade as `nkfast run` does in paper mode, the recording in place of the live feed."""
    market = Recordings([tape]).markets()[SYMBOL]
    draw = random.Random(7)

    async def trade(clock: VirtualClock) -> None:
        venue = PaperVenue(
            feed=TapePlayer(TapeReader(tape), clock),
            markets=[market],
            funds={asset: D(amount) for asset, amount in FUNDS.items()},
            clock=clock,
            latency_ns=lambda: draw.randint(*LATENCY_NS),
        )
        kind = load("grid")
        with Journal.open(path, instance="rply", mark=0) as journal:
            engine = Engine(
                venue=venue,
                clock=clock,
                journal=journal,
                strategy=kind.build(kind.settings_type.read(GRID), {SYMBOL: market}),
                symbol=SYMBOL,
                limits=RiskLimits(),
                mode="paper",
            )
            await engine.start()
            await venue.ended
            await engine.stop("cancel")
            done.extend(
                (order.client_id, order.side, order.price, order.quantity, tuple(order.fills))
                for order in engine.orders
            )
            told.extend(engine.recent_fills)

    done: list[tuple[object, ...]] = []
    told: list[object] = []
    run_virtual(trade, T0)
    assert told
    return done


def test_parity_paper_replay_and_backtest_give_the_same_orders_and_fills(
    tape: Path, tmp_path: Path
) -> None:
    config = bot(tmp_path, symbol=SYMBOL, **GRID)
    tested = backtest(config, [tape], seed=7, latency_ns=LATENCY_NS)
    funds = {asset: D(amount) for asset, amount in FUNDS.items()}
    replayed = replay(tape, settings=GRID, seed=7, funds=funds)
    assert tested.result.hash == replayed.hash  # of every order, cancel and fill, and its time
    assert tested.result.hash != backtest(config, [tape], seed=8, latency_ns=LATENCY_NS).result.hash
    paper = _paper_orders(tmp_path / "paper.db", tape)
    assert len(paper) == tested.result.engine.orders == replayed.orders
    fills = {(fill.client_id, fill.trade_id) for fill in tested.fills}
    assert fills == {(order[0], key[0]) for order in paper for key in order[4]}  # type: ignore[index, misc, union-attr]


def test_a_run_without_orders_and_one_of_one_fill_are_reported(clean: Backtest) -> None:
    engine = clean.result.engine
    idle = replace(clean, fills=[], result=replace(clean.result, engine=replace(engine, orders=0)))
    page = _Page()
    page.feed(as_html(idle))
    assert "No order was placed; below is said why not." in page.text
    assert "bought" not in page.text
    unseen = as_html(replace(idle, samples=[]))
    assert "There was never a price: nothing can be drawn." in unseen
    assert "<svg" not in unseen
    single = as_html(replace(clean, fills=clean.fills[:1], samples=clean.samples[:1]))
    assert single.count("<title>2") == 1
    assert not re.search(r"nan|inf\b", single)


def test_a_report_of_a_hundred_thousand_fills_stays_small(clean: Backtest) -> None:
    fills = (clean.fills * (100_000 // len(clean.fills) + 1))[:100_000]
    html = as_html(replace(clean, fills=fills))
    assert len(html) < 1_000_000
    assert "(one of 50 of 100,000)" in html


def test_a_limit_that_is_broken_ends_the_run_and_is_reported(tape: Path, tmp_path: Path) -> None:
    test = backtest(bot(tmp_path, symbol=SYMBOL, max_daily_loss="0.01", **GRID), [tape])
    assert test.result.error is not None
    assert "MAX_DAILY_LOSS" in as_html(test)
    assert test.as_json()["halted"]


def test_what_no_market_prices_is_left_out_and_named(tape: Path, tmp_path: Path) -> None:
    more = {**FUNDS, "XYZ": "5"}
    test = backtest(bot(tmp_path, symbol=SYMBOL, funds=more, **GRID), [tape])
    assert test.unpriced == ["XYZ"]
    assert test.samples[-1].owned["XYZ"] == 5
    assert test.equity_change is not None
    assert "prices XYZ" in as_html(test)
    assert test.as_json()["unpriced"] == ["XYZ"]


def test_what_the_recording_does_not_hold_is_named(tape: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not hold BBB/USDT; there are AAA/USDT"):
        backtest(bot(tmp_path, symbol="BBB/USDT", **GRID), [tape])
    (tmp_path / "empty.tsv").write_bytes(b"")
    with pytest.raises(WireError, match="no recorded frame"):
        backtest(bot(tmp_path, symbol=SYMBOL, **GRID), [tmp_path / "empty.tsv"])


def _triangle(path: Path) -> Path:
    """Record three markets; now and then one of them falls behind, and the way around pays."""
    prices = {"BTC/USDT": 1_000_000, "ETH/USDT": 5_000_000, "ETH/BTC": 500}
    with TapeWriter(path) as tape:
        for step in range(400):
            now, lags = T0 + step * 500 * MS, 10 < step % 40 < 20
            for symbol, mid in prices.items():
                at = mid * 103 // 100 if lags and symbol == "ETH/USDT" else mid
                gap = max(mid // 1000, 1)
                sides = {
                    "bids": levels([(at - gap, 40_000)]),
                    "asks": levels([(at + gap, 40_000)]),
                }
                tape.write(
                    now, frame("snapshotOrderbook", symbol=symbol, sequence=step + 1, **sides)
                )
    return path


def test_an_arbitrage_is_reported_leg_by_leg_predicted_and_realized(tmp_path: Path) -> None:
    config = bot(
        tmp_path,
        strategy="arbitrage",
        funds={"USDT": "100000"},
        trade_amount=40_000,
        max_book_age_ms=2_000,
        max_unwind_cost_pct="0.05",
        max_consecutive_failures=1_000,
    )
    rules = [Market(symbol, 2, 4) for symbol in ("BTC/USDT", "ETH/USDT", "ETH/BTC")]
    test = backtest(config, [_triangle(tmp_path / "three.tsv")], rules=rules)
    assert set(test.symbols) == {"BTC/USDT", "ETH/USDT", "ETH/BTC"}
    done = [plan for plan in test.result.plans if plan.result == "done"]
    assert done
    for plan in done:
        assert plan.predicted_profit > 0
        assert plan.profit == plan.predicted_profit
    for asset in ("USDT", "BTC", "ETH"):
        moved = sum(plan.moved[asset] for plan in test.result.plans)
        assert test.samples[-1].owned[asset] == test.funds.get(asset, 0) + moved
    assert test.unpriced == []
    html = as_html(test)
    assert "buy BTC/USDT, USDT -&gt; BTC: predicted" in html
    assert "realized together" in html
    assert test.result.reasons["PLAN_DONE"] in html
    told = test.as_json()["plans"]
    assert [len(plan["legs"]) for plan in told if plan["result"] == "done"] == [3] * len(done)


def test_the_command_writes_both_reports(tape: Path, tmp_path: Path) -> None:
    config = bot(tmp_path, symbol=SYMBOL, **GRID)
    html, out = tmp_path / "r.html", tmp_path / "r.json"
    words = ["backtest", str(config.path), str(tape), "--html", str(html), "--out", str(out)]
    run = CliRunner().invoke(main, [*words, "--json", "--set", "n_buy_levels=2"])
    assert run.exit_code == ExitCode.OK, run.output
    told = json.loads(run.stdout)
    full = json.loads(out.read_text())
    assert full["settings"]["strategy.n_buy_levels"] == 2
    assert full["series"]
    assert told["hash"] == full["hash"]
    assert "series" not in told
    assert html.read_text().startswith("<!doctype html>")
    shown = CliRunner().invoke(main, words).stdout.splitlines()
    assert shown[0].startswith("grid on AAA/USDT: ")
    assert any(line.startswith("realized by round trips       ") for line in shown)
    assert shown[-1] == f"next:  open {html}"
    halted = CliRunner().invoke(main, [*words, "--set", "max_daily_loss=0.01"])
    assert halted.exit_code == ExitCode.RISK_HALT
    assert "Trading was halted: " in halted.stdout


async def test_the_loop_of_real_time_plays_a_recording_too(tape: Path) -> None:
    """The shortcut of virtual time is not taken where time is real."""
    from nkfast.venue.clock import RealClock  # noqa: PLC0415

    seen = []
    records = [(RealClock().time_ns() + n * 10 * MS, b"{}") for n in range(3)]
    await asyncio.wait_for(
        TapePlayer(records, RealClock()).run([], lambda _, at: seen.append(at)), 5
    )
    assert len(seen) == 3
    assert seen[2] - seen[0] >= 15 * MS


class _ForgetfulLevel(paper_market._Level):
    """A level whose queue is looked at after every frame."""

    __slots__ = ()

    @property
    def fitting_lots(self) -> int:  # type: ignore[override]
        return -1

    @fitting_lots.setter
    def fitting_lots(self, lots: int) -> None:
        pass


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_shortcuts_of_a_run_change_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record(tmp_path / "walk.tsv", seed=seed)
    quick = replay(path, settings=GRID, seed=seed)
    assert quick.fills > 5
    monkeypatch.setattr(VirtualClock, "skip_to", lambda self, unix_ns: False)
    monkeypatch.setattr(paper_market, "_Level", _ForgetfulLevel)
    monkeypatch.setattr(tape_module, "_USUAL_HEAD", re.compile(rb"(?!)()()"))
    slow = replay(path, settings=GRID, seed=seed)
    assert slow.hash == quick.hash
    assert (slow.frames, slow.fills, slow.fees) == (quick.frames, quick.fills, quick.fees)
