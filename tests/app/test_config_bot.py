"""The configuration of a bot: all problems at once, exact values, known origins."""

import json
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

import pytest

from nkfast.app.config.bot import BotConfig, RiskSettings, load_config
from nkfast.app.config.schema import json_schema
from nkfast.errors import ConfigErrors
from nkfast.trading.limits import RiskLimits

FLAT = 'symbol = "btc-usdt"\nstrategy = "grid"\nstep_pct = "1.1%"\nmax_order_notional = 100\n'
SECTIONS = """\
schema = "nkfast/1"
symbol = "BTC/USDT"
[strategy]
name = "grid"
step_pct = 0.011
[risk]
max_order_notional = 100
"""


def load(
    folder: Path, text: str, *pairs: tuple[str, str], name: str = "bot.toml", **variables: str
) -> BotConfig:
    path = folder / name
    path.write_text(text)
    return load_config(path, pairs, variables)


def problems(
    folder: Path, text: str, *pairs: tuple[str, str], name: str = "bot.toml", **variables: str
) -> list[str]:
    with pytest.raises(ConfigErrors) as raised:
        load(folder, text, *pairs, name=name, **variables)
    return [
        f"{problem.place.removeprefix(f'{folder}/')}: {problem.message}"
        for problem in raised.value.problems
    ]


def test_flat_file_and_sections_are_one(tmp_path: Path) -> None:
    flat, sections = load(tmp_path, FLAT), load(tmp_path, SECTIONS)
    assert flat.values() == sections.values()
    assert flat.hash == sections.hash
    assert flat.common.symbol == "BTC/USDT"
    assert flat.common.mode == "monitor"
    assert flat.values()["strategy.step_pct"] == "0.011"
    assert flat.risk.limits().max_order_notional == Decimal(100)


def test_risk_section_has_every_limit() -> None:
    assert set(RiskSettings.model_fields) == {item.name for item in fields(RiskLimits)}
    assert RiskSettings().limits() == RiskLimits()


def test_later_layer_wins_and_says_so(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        FLAT,
        ("grid_levels", "5"),
        ("strategy.step_pct", "0.02"),
        NKFAST_MODE="paper",
        NKFAST_STRATEGY__STEP_PCT="0.03",
        NKFAST_RISK__MAX_POSITION__BTC="0.5",
    )
    values = config.values()
    assert values["strategy.step_pct"] == "0.02"
    assert values["strategy.n_sell_levels"] == 5
    assert values["risk.max_position.BTC"] == "0.5"
    assert config.origin("strategy.step_pct") == "--set strategy.step_pct"
    assert config.origin("strategy.n_sell_levels") == "--set grid_levels"
    assert config.origin("mode") == "NKFAST_MODE"
    assert config.origin("risk.max_position.BTC") == "NKFAST_RISK__MAX_POSITION__BTC"
    assert config.origin("symbol") == f"{tmp_path / 'bot.toml'}:1:1"
    assert config.origin("on_exit") == "default"


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = """\
symbol = "BTCUSDT"
strategy = "grid"
setp_pct = 0.01
step_pct = -1
mode = "dryrun"
api_key = "x"
[exchange]
rest_ur = "x"
ws_url = "http://a"
[risk]
max_open_orders = "x"
max_position = {BTC = -1}
"""
    assert problems(tmp_path, text, ("n_buy_levels", "two"), NKFAST_MOD="paper") == [
        "bot.toml:1:1: symbol 'BTCUSDT' is not BASE/QUOTE, BASE-QUOTE or BASE_QUOTE",
        "bot.toml:3:1: unknown key 'setp_pct'; did you mean 'step_pct'?",
        "bot.toml:4:1: step_pct is -1; give more than 0",
        "bot.toml:5:1: mode is 'dryrun'; did you mean 'paper'?",
        "bot.toml:6:1: unknown key 'api_key'; keys of the exchange are kept by nkfast keys set",
        "bot.toml:8:1: unknown key 'rest_ur'; did you mean 'rest_url'?",
        "bot.toml:9:1: ws_url is 'http://a'; give a URL that begins with ws:// or wss://",
        "bot.toml:11:1: max_open_orders is 'x'; give a whole number",
        "bot.toml:12:17: max_position of BTC is -1; give at least 0",
        "--set n_buy_levels: n_buy_levels is 'two'; give a whole number",
        "NKFAST_MOD: unknown variable; did you mean NKFAST_MODE?",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "bot.toml: strategy is required; there are "),
        ('strategy = "grdi"', "bot.toml:1:1: no strategy 'grdi'; did you mean 'grid'?"),
        ('strategy = "grid"\nstep_pct = 0.1', "bot.toml: symbol is required, BASE/QUOTE"),
        (FLAT + "risk = 5", "bot.toml:5:1: risk is a section of keys, not one"),
        (FLAT + "step_abs = 1e99", "bot.toml:5:1: step_abs has too many digits"),
        (
            FLAT + "grid_spread = 0.1",
            "bot.toml:5:1: 'grid_spread' and 'step_pct' both set strategy.step_pct",
        ),
    ],
)
def test_single_problems_have_their_place(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text)[0].startswith(problem)


def test_variables_that_are_no_settings_are_refused(tmp_path: Path) -> None:
    hint = "NKFAST_MODE sets the mode: monitor, paper or live"
    for name in ("NKFAST_DRY_RUN", "NKFAST_LIVE"):
        assert problems(tmp_path, FLAT, **{name: "1"}) == [f"{name}: unknown variable; {hint}"]
    assert load(tmp_path, FLAT, NKFAST_HOME="/tmp", NKFAST_API_KEY_FILE="x", OTHER="y")


def test_variables_are_put_in_where_they_are_named(tmp_path: Path) -> None:
    text = FLAT + 'base_order_size = "${SIZE:-2.50}"\n[exchange]\nrest_url = "http://${HOST}/v2"\n'
    config = load(tmp_path, text, HOST="localhost:1")
    assert config.values()["strategy.base_order_size"] == "2.5"
    assert config.exchange.rest_url == "http://localhost:1/v2"
    assert load(tmp_path, text, HOST="h", SIZE="3").values()["strategy.base_order_size"] == "3"
    assert problems(tmp_path, text)[0] == (
        "bot.toml:7:1: variable HOST is not set; set it, or write ${HOST:-default}"
    )


def test_money_is_read_from_its_text(tmp_path: Path) -> None:
    size = "0.1234567890123456789"
    for name, text in (
        ("a.toml", f'symbol="A/B"\nstrategy="grid"\nstep_pct=0.01\nbase_order_size={size}\n'),
        ("a.yaml", f"symbol: A/B\nstrategy: grid\nstep_pct: 0.01\nbase_order_size: {size}\n"),
        (
            "a.json",
            f'{{"symbol": "A/B", "strategy": "grid", "step_pct": 0.01, "base_order_size": {size}}}',
        ),
    ):
        config = load(tmp_path, text, name=name)
        assert config.values()["strategy.base_order_size"] == size


def test_hash_changes_with_every_value(tmp_path: Path) -> None:
    hashes = {
        load(tmp_path, FLAT, *pairs).hash
        for pairs in ((), (("step_pct", "0.02"),), (("max_daily_loss", "1"),), (("mode", "live"),))
    }
    assert len(hashes) == 4


def test_schema_names_every_key() -> None:
    schema = json.loads(json.dumps(json_schema("grid")))
    assert schema["properties"]["strategy"]["properties"]["name"] == {"const": "grid"}
    assert "symbol" not in schema["properties"]["strategy"]["properties"]
    assert set(schema["properties"]["risk"]["properties"]) == set(RiskSettings.model_fields)
    assert schema["properties"]["mode"]["enum"] == ["monitor", "paper", "live"]
    assert schema["additionalProperties"] is False
