"""What `nkfast check` says of amounts that tell a person little."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from nkfast.app.check import _of_budgets
from nkfast.app.config.bot import BotConfig, load_config
from nkfast.app.outlook import Outlook
from nkfast.core.market import Market

D = Decimal
COSA = """\
symbol: COSA/BTC
strategy:
  name: accumulation
  daily_budget_quote: "10.00"
  grid: {n: 3, d0: "0.01", g: "1.5", s0: 100, k: 1, per_order_volume_cap: 200}
  dca: {budget_daily: "0.5", interval_sec: 600, epsilon: "0.001", ttl_sec: 60}
  guards:
    participation_cap: "0.1"
    spread_limit: "0.05"
    cooldown_impact_sec: 60
    cooldown_grid_dca_sec: 60
    fill_time_threshold_sec: 2
    mid_jump_threshold: "0.01"
    best_bid_touch_max: 5
    best_bid_touch_window_sec: 60
    spread_widen_threshold: 3
  vwap:
    window_sec: 3600
    size_reduction_factor: "0.5"
    spacing_widen_factor: "1.5"
    pause_threshold: "1.05"
  ema: {ema_alpha: "0.1", atr_window: 30, atr_flat_threshold: "0.01"}
"""


@pytest.fixture
def config(tmp_path: Path) -> BotConfig:
    file = tmp_path / "cosa.yml"
    file.write_text(COSA)
    return load_config(file, environment={})


def test_d65_budgets_of_a_market_of_bitcoin_are_told_in_dollars(config: BotConfig) -> None:
    # In the reference a budget of "10.00", meant as dollars, was ten bitcoins a day.
    market = Market("COSA/BTC", 10, 2)
    outlook = Outlook(("COSA/BTC",), market, D("0.000001"), None, (), (), False, {}, {}, D(64_000))
    (finding,) = _of_budgets(config, outlook)
    assert "daily_budget_quote 10 BTC is 640,000.00 USDT" in finding.detail
    assert "dca.budget_daily 0.5 BTC is 32,000.00 USDT" in finding.detail
    assert list(_of_budgets(config, replace(outlook, quote_worth=None))) == []
