"""The example configurations: each loads, says what it is, and trades a minute of a market."""

from dataclasses import replace
from pathlib import Path

import pytest

import nkfast.examples
from nkfast.app.config.bot import load_config
from nkfast.core.market import Market
from nkfast.exchange.markets import DEFAULT_MARKETS
from nkfast.testing import Script, Stage, simulate
from nkfast.testing.simulation import SETTINGS
from nkfast.trading.strategy import Strategy

FILES = sorted(Path(nkfast.examples.__file__).parent.glob("*.toml"))
#: The others only look, which the tests of their strategies see.
TRADING = [path for path in FILES if path.stem != "hybrid_arbitrage"]
#: What is of no use to a later start; the orders of the others wait for it.
CANCELLED = {
    *("capped_martingale", "market_maker"),
    *("infinity_grid_value", "rebalance", "profit_allocation"),
    *("arbitrage", "hybrid_arbitrage"),
}
ROWS = {row["symbol"]: row for row in DEFAULT_MARKETS}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_right_and_pretends(path: Path) -> None:
    config = load_config(path, environment={})
    assert config.strategy_name == path.stem
    assert config.common.mode == ("monitor" if config.kind.refuses_live else "paper")
    live = load_config(path, [("mode", "live")], environment={})
    assert live.on_exit == ("cancel" if path.stem in CANCELLED else "keep")
    config.risk.limits().require_live()  # it says every limit that real money would need


@pytest.mark.parametrize("path", TRADING, ids=lambda path: path.stem)
def test_an_example_trades_a_minute(path: Path) -> None:
    config = load_config(path, environment={})
    symbols = config.strategy.symbols(ROWS) or (config.common.symbol,)

    def build(*markets: Market) -> Strategy:
        return config.kind.build(config.strategy, {market.symbol: market for market in markets})

    stage = Stage(
        strategy=build,
        market=ROWS[symbols[0]],
        more_markets=[ROWS[symbol] for symbol in symbols[1:]],
        funds={asset: str(amount) for asset, amount in config.paper.funds.items()},
        limits=config.risk.limits(),
        settings=replace(SETTINGS, plan_failures_max=10**6),
        spread=0.001,
    )
    outcome = simulate(Script(3, storm_s=60.0), stage)
    assert outcome.ok, f"{outcome.violation}\n{outcome.reasons}"
