"""Another bot's file becomes ours, and says what changed."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ruamel.yaml import YAML

from nkfast.app.cli import main
from nkfast.app.config.bot import load_config
from nkfast.app.exits import ExitCode

FOREIGN = sorted((Path(__file__).parent.parent / "data" / "nonkycbot").glob("*.yml"))
GRID = """\
trading_pair: BTC_USDT
mode: live
grid_spread: 0.01
grid_levels: 5
order_amount_mmx: 0.002
total_fee_rate: 0.002
fee_buffer_pct: 0.0001
poll_interval_sec: 5
state_path: state/grid.json
api_key: ${NONKYC_API_KEY}
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def take(text: str, *words: str) -> Result:
    Path("old.yaml").write_text(text)
    return CliRunner().invoke(main, ["config", "import", "old.yaml", "--out", "new.toml", *words])


def test_what_changes_is_said() -> None:
    result = take(GRID, "--strategy", "grid")
    assert result.exit_code == ExitCode.OK, result.stderr
    assert result.stdout.splitlines() == [
        "changed  trading_pair is called symbol",
        "changed  mode 'live' becomes 'monitor': live is a decision to be made again",
        "changed  grid_spread is called step_pct",
        "changed  grid_levels is called n_buy_levels and n_sell_levels",
        "changed  order_amount_mmx is called base_order_size",
        "changed  total_fee_rate is called fee_rate",
        "changed  poll_interval_sec is left out: news is pushed, not polled",
        "changed  state_path is left out: state is kept by the name of the instance",
        "changed  api_key is left out: keys are kept by nkfast keys set, never in this file",
        "wrote new.toml, a grid",
        "next:  nkfast check new.toml",
    ]
    values = load_config(Path("new.toml"), environment={}).values()
    assert (values["symbol"], values["mode"]) == ("BTC/USDT", "monitor")
    assert (values["strategy.step_pct"], values["strategy.n_sell_levels"]) == ("0.01", 5)


def test_strategy_is_told_by_the_keys() -> None:
    result = take("symbol: A/B\nmode: dry-run\ninside_spread_pct: 0.1\nsell_quote_target: 10\n")
    assert "changed  strategy is market_maker" in result.stdout
    assert "changed  mode 'dry-run' is called 'paper'" in result.stdout


def test_unknown_keys_are_refused_with_their_place() -> None:
    result = take(GRID + "magic: 1\n", "--strategy", "grid")
    assert result.exit_code == ExitCode.CONFIG
    assert result.stderr.startswith("error[CONFIG] old.yaml:11:1: 'magic' is no key of grid")
    assert not Path("new.toml").exists()
    result = take("mode: live\n")
    assert "give --strategy" in result.stderr


def test_a_file_is_never_written_over() -> None:
    Path("new.toml").write_text("mine")
    result = take(GRID, "--strategy", "grid")
    assert result.exit_code == ExitCode.CONFIG, result.stderr
    assert Path("new.toml").read_text() == "mine"


@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.stem)
def test_files_of_the_reference_bot_become_ours_without_an_edit(path: Path) -> None:
    # Every key that its strategies know, under each of its names.
    words = ["config", "import", str(path), "--out", "new.toml"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == ExitCode.OK, result.output
    config = load_config(Path("new.toml"), environment={})
    assert config.strategy_name == path.stem
    assert config.common.mode in ("monitor", "paper")
    given = YAML(typ="safe").load(path)
    kept = {word for word in given if word in type(config.strategy).model_fields}
    for word in kept - {"mode", "symbol", "strategy"}:
        assert getattr(config.strategy, word) is not None
    told = " ".join(line.split()[1] for line in result.stdout.splitlines()[:-2])
    for word in given.keys() - kept - {"symbol", "mode"}:
        assert word in told, word


def test_triangle_of_the_reference_bot_keeps_its_three_markets() -> None:
    [path] = [path for path in FOREIGN if path.stem == "arbitrage"]
    CliRunner().invoke(main, ["config", "import", str(path), "--out", "new.toml"])
    settings = load_config(Path("new.toml"), environment={}).strategy
    assert set(settings.pairs) == {"ETH/USDT", "ETH/BTC", "BTC/USDT"}
    assert settings.start_assets == ("USDT",)


def test_address_of_another_exchange_is_kept() -> None:
    address = "base_url: http://127.0.0.1:8080\n"
    result = take(address + GRID, "--strategy", "grid")
    assert result.exit_code == ExitCode.OK, result.stderr
    exchange = load_config(Path("new.toml"), environment={}).exchange
    assert exchange.rest_url == "http://127.0.0.1:8080/api/v2"
