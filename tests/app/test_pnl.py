"""What instances earned: however it is added up, it is the change in equity, to the last digit."""

import csv
import io
import json
import random
from dataclasses import replace
from decimal import Decimal
from functools import reduce
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nkfast.app.cli import main
from nkfast.app.exits import ExitCode
from nkfast.app.instance import Instance, RunRecord
from nkfast.trading.exact import ZERO, add
from nkfast.trading.journal import Journal
from nkfast.trading.ledger import Profit
from nkfast.trading.orders import IdSource, Order
from nkfast.venue.port import Execution, OrderUpdate, VenueStatus

DAY_MS = 24 * 3600 * 1000
SYMBOLS = ("BTC/USDT", "XMR/USDT", "XMR/BTC")


def trade(home: Path, name: str, mode: str, seed: int) -> dict[str, Profit]:
    """Let an instance have traded: fills over ten days, fees in three assets, one told late."""
    rng = random.Random(seed)
    instance = Instance.named(name, home)
    instance.folder.mkdir(parents=True)
    instance.note_run(RunRecord(mode, "grid", SYMBOLS[0], "", "", "http://127.0.0.1:1", 1, 0))
    profits = {symbol: Profit(*symbol.split("/")) for symbol in SYMBOLS}
    with Journal.open(instance.journal_of(mode), instance=name) as journal:
        ids = IdSource(journal.instance, journal.boot)
        for number in range(60):
            symbol = rng.choice(SYMBOLS)
            side = rng.choice(("buy", "sell"))
            price, quantity = (Decimal(rng.randrange(1, 10**9)).scaleb(-7) for _ in range(2))
            order = Order(ids.next(), f"slot-{number}", symbol, side, price, quantity)
            journal.intend(order)
            fee = Decimal(rng.randrange(0, 10**5)).scaleb(-9)
            asset = rng.choice((*symbol.split("/"), "NKC"))
            time_ms = number * DAY_MS // 6 + 1
            fill = Execution(
                *(f"t{number}", f"v{number}", order.client_id, symbol, side, price, quantity),
                *(None if number % 7 == 0 else fee, asset, True, time_ms),
            )
            update = OrderUpdate(
                *(order.client_id, fill.order_id, symbol, side, price, quantity, quantity),
                *(VenueStatus.FILLED, fill),
            )
            news = order.hear_update(update)
            profits[symbol] = profits[symbol].after_fill(fill)
            journal.record([news], profit=profits[symbol])
            order.apply(news)
            if number % 14 == 0:  # told three days later
                late = replace(fill, fee=fee, time_ms=time_ms + 3 * DAY_MS)
                news = order.hear_execution(late)
                profits[symbol] = profits[symbol].after_fee(fill, late)
                journal.record([news], profit=profits[symbol])
                order.apply(news)
    return profits


def run(home: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["pnl", *words, "--state-dir", str(home)], prog_name="nkfast")


def added(rows: list[dict], name: str) -> Decimal:
    return reduce(add, (Decimal(row[name]) for row in rows), ZERO)


@pytest.mark.parametrize("seed", range(3))
def test_every_way_to_add_it_up_is_the_change_in_equity(tmp_path: Path, seed: int) -> None:
    profits = trade(tmp_path, "bot", "live", seed)
    trade(tmp_path, "pretender", "paper", seed + 100)
    marks = {"BTC/USDT": Decimal("64123.451"), "XMR/USDT": Decimal("0.003"), "XMR/BTC": Decimal(7)}
    words = [word for symbol, mark in marks.items() for word in ("--mark", f"{symbol}={mark}")]
    wanted = {"USDT": ZERO, "BTC": ZERO}
    for symbol, profit in profits.items():
        change = profit.equity_change(marks[symbol])
        wanted[profit.quote_asset] = add(wanted[profit.quote_asset], change)
    for by in ((), ("day",), ("market", "day"), ("strategy",), ("instance", "market")):
        result = run(tmp_path, *words, "--json", *(word for each in by for word in ("--by", each)))
        assert result.exit_code == ExitCode.OK, result.output
        rows = json.loads(result.stdout)
        live = [row for row in rows if row["mode"] == "live"]
        assert len(live) < len(rows)
        for quote, change in wanted.items():
            own = [row for row in live if row["quote"] == quote]
            assert added(own, "equity_change") == change
            assert add(added(own, "realized"), added(own, "unrealized")) == change
        assert sum(row["unknown_fees"] for row in live) == 4
        assert sum(row["fills"] for row in live) == 60
        paid = reduce(add, (Decimal(row["fees"].get("NKC", 0)) for row in live))
        assert paid == sum(profit.fees.get("NKC", Decimal(0)) for profit in profits.values())
    days = json.loads(run(tmp_path, "bot", "--by", "day", "--json").stdout)
    assert {row["day"] for row in days} == {f"1970-01-{day:02}" for day in range(1, 11)}
    # A fee that was told three days later belongs to the day of its fill.
    assert sum(row["unknown_fees"] for row in days if row["day"] == "1970-01-01") == 0


def test_it_is_printed_for_people_and_for_sheets(tmp_path: Path) -> None:
    assert run(tmp_path).stdout == "nothing was traded\n"
    trade(tmp_path, "bot", "live", 1)
    head, *rows = run(tmp_path).stdout.splitlines()
    assert head.split()[:4] == ["mode", "instance", "market", "quote"]
    assert len(rows) == 3
    amounts = [word for row in rows for word in row.split()[5:8]]
    assert all(len(word.partition(".")[2]) <= 8 for word in amounts)
    sheet = list(csv.DictReader(io.StringIO(run(tmp_path, "bot", "--csv").stdout)))
    assert [row["market"] for row in sheet] == ["XMR/BTC", "BTC/USDT", "XMR/USDT"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("bto",), ExitCode.NOT_FOUND, "did you mean bot?"),
        (("--mark", "BTC/USDT"), ExitCode.CONFIG, "--mark: 'BTC/USDT' is not KEY=VALUE"),
        (("--mark", "BTC/USDT=-1"), ExitCode.CONFIG, "'-1' is no price above 0"),
        (("--now",), ExitCode.UNREACHABLE, "127.0.0.1"),
    ],
)
def test_what_cannot_be_told_says_why(
    tmp_path: Path, words: tuple[str, ...], code: ExitCode, message: str
) -> None:
    trade(tmp_path, "bot", "live", 1)
    result = run(tmp_path, *words)
    assert result.exit_code == code
    assert message in result.stderr
