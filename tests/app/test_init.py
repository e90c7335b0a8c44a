"""A new bot's file: written for every strategy, in every format, and taken as it is."""

from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nkfast.app.cli import main
from nkfast.app.config.bot import load_config
from nkfast.app.exits import ExitCode
from nkfast.app.init import _example, _look
from nkfast.app.outlook import look_ahead
from nkfast.exchange.server import ExchangeSettings, serve
from nkfast.strategies import names

#: What no example can know.
NEEDED = {"profit_allocation": ("--set", "principal=100")}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def init(*words: str) -> Result:
    return CliRunner().invoke(main, ["init", *words, "--defaults", "--offline"])


@pytest.mark.parametrize("strategy", names())
def test_every_strategy_has_a_file_in_three_formats(strategy: str) -> None:
    values = []
    for suffix in ("toml", "yaml", "json"):
        out = f"bot.{suffix}"
        result = init(strategy, "--out", out, *NEEDED.get(strategy, ()))
        assert result.exit_code == ExitCode.OK, result.stderr
        assert result.stdout.startswith(f"wrote {out}: MONITOR {strategy}")
        values.append(load_config(Path(out), environment={}).values())
    assert values[0] == values[1] == values[2]
    check = CliRunner().invoke(main, ["check", "bot.toml", "--offline"])
    assert check.exit_code == ExitCode.OK, check.output


def test_what_is_told_is_written_and_explained() -> None:
    result = init("grid", "--symbol", "ETH/USDT", "--set", "step_pct=1.5%", "--set", "mode=paper")
    assert "PAPER grid ETH/USDT" in result.stdout
    text = Path("grid.toml").read_text()
    assert 'symbol = "ETH/USDT"' in text
    assert "step_pct = 0.015" in text
    assert "#max_unknown_orders = 3" in text
    assert "# What a stop does with resting orders" in text


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("gird",), ExitCode.CONFIG, "no strategy 'gird'; did you mean 'grid'?"),
        ((), ExitCode.USAGE, "name a strategy: grid"),
        (("grid", "--set", "setp_pct=1"), ExitCode.CONFIG, "did you mean 'step_pct'?"),
        (("grid", "--out", "bot.ini"), ExitCode.CONFIG, "'.ini' is none of .toml"),
        (("grid", "--out", "there.toml"), ExitCode.CONFIG, "exists already"),
    ],
)
def test_what_cannot_be_written_says_why(
    words: tuple[str, ...], code: ExitCode, message: str
) -> None:
    Path("there.toml").touch()
    result = init(*words)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr
    assert [path.name for path in Path().iterdir()] == ["there.toml"]


def test_check_shows_the_token_and_what_live_lacks() -> None:
    init("grid")
    runner = CliRunner()
    token = load_config(Path("grid.toml"), environment={}).token
    assert token in runner.invoke(main, ["check", "grid.toml", "--offline"]).stdout
    Path("grid.toml").write_text('symbol = "A/B"\nstrategy = "grid"\nstep_pct = 0.01\n')
    words = ["check", "grid.toml", "--offline", "--set", "mode=live"]
    result = runner.invoke(main, words)
    assert result.exit_code == ExitCode.CONFIG
    assert "fail  limits         live mode needs max_order_notional" in result.stdout


async def test_limits_and_funds_fit_the_market_without_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NKFAST_API_KEY", "NKFAST_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    async with serve(ExchangeSettings(speed=1.0)) as there:
        told = {"exchange.rest_url": there.rest_url, "base_order_size": "0.01"}
        pairs = [("strategy", "grid"), *_example("grid"), *told.items()]
        fitted = dict(await _look(load_config(None, pairs, {}), set(told)))
        config = load_config(None, [*pairs, *fitted.items()], {})
        outlook = await look_ahead(config)
        chosen = await _look(load_config(None, pairs, {}), {*told, "paper.funds"})
    # The example's funds pay for none of these orders; those that are proposed do for all.
    assert len(outlook.orders) == 6 and not outlook.missing
    largest = max(order.notional for order in outlook.orders)
    assert largest > 500 and config.risk.max_order_notional >= 2 * largest
    assert config.risk.max_position >= Decimal("0.06")
    assert config.paper.funds["USDT"] > sum(
        order.notional for order in outlook.orders if order.side == "buy"
    )
    assert "paper.funds" not in dict(chosen)
