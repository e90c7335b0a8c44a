"""The report of a backtest as one HTML file that needs nothing else."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from html import escape

from nkfast.app.backtest import Backtest
from nkfast.app.charts import Line, Mark, chart
from nkfast.trading.exact import plain
from nkfast.trading.plan_outcome import PlanOutcome

__all__ = ["as_html"]

#: More points or rows than these nobody can tell apart.
_MARKS_MAX = 2_000
_PLANS_MAX = 200
_ASSETS_MAX = 6
_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#3b7dd8", "#d98a2b", "#2f9e5b", "#cf4446", "#888"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto;
padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .8rem .15rem 0; text-align: left;
vertical-align: top; } th { font-weight: 600; } td.n { text-align: right;
font-variant-numeric: tabular-nums; } figure { margin: 1rem 0; } figcaption { font-weight: 600; }
figcaption span { font-weight: 400; margin-left: .8rem; } svg { width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: currentColor; opacity: .75; }
.bad { color: #cf4446; font-weight: 600; } .scroll { overflow-x: auto; }
""".replace("\n", " ")


def as_html(test: Backtest) -> str:
    """Return a page with figures, charts, plans and the reasons for what was not done."""
    title = f"{test.config.strategy_name} on {', '.join(test.symbols[:3])}"
    if len(test.symbols) > 3:
        title += f" and {len(test.symbols) - 3} more"
    body = [
        f"<h1>Backtest: {escape(title)}</h1>",
        *_warnings(test),
        _table(_figures(test)),
        "<h2>Course</h2>",
        *_charts(test),
        *_plans(test.result.plans),
        "<h2>What was not done, and why</h2>",
        _table(_reasons(test)) or "<p>Nothing was left undone.</p>",
        "<h2>Settings</h2>",
        _table((name, value) for name, value in test.config.values().items()),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _warnings(test: Backtest) -> list[str]:
    engine, said = test.result.engine, []
    if engine.halted:
        said.append(f"Trading was halted: {engine.halted}")
    if test.unpriced:
        said.append(f"No market of the run prices {', '.join(test.unpriced)}: left out of wealth.")
    if not test.result.journal.ok:
        said.append("The journal does not add up.")
    if test.result.rejected:
        said.append(f"Parts of the recording could not be read: {test.result.rejected}")
    return [f'<p class="bad">{escape(line)}</p>' for line in said]


def _figures(test: Backtest) -> Iterable[tuple[str, object]]:
    engine, quote = test.result.engine, test.quote
    last = test.samples[-1] if test.samples else None
    yield "profit", _amount(test.equity_change, quote)
    yield "against holding", _amount(test.against_holding, quote)
    yield "realized by round trips", _amount(engine.realized, quote)
    yield "deepest fall", _amount(test.drawdown, quote)
    yield "fees", _amounts(engine.fees.items())
    yield "orders, fills", f"{engine.orders:,}, {engine.fills:,}"
    yield "refused by the market", f"{engine.rejects:,}"
    yield "owned at first", _amounts(test.funds.items())
    yield "owned at last", _amounts(last.owned.items() if last else ())
    yield "data", test.data
    yield "recorded", f"{test.duration_s:,.0f} s, {test.frame_count:,} frames"
    yield "took", f"{test.wall_s:,.1f} s, {test.frame_count / test.wall_s:,.0f} frames a second"
    yield "seed", test.seed
    yield "hash of all orders and fills", test.result.hash


def _reasons(test: Backtest) -> Iterable[tuple[str, object]]:
    for code, count in Counter(test.result.engine.reasons).most_common():
        newest = test.result.reasons.get(code)
        yield code, f"{count:,}" if newest is None else f"{count:,}; the last one: {newest}"


def _charts(test: Backtest) -> Iterable[str]:
    samples, quote = test.samples, test.quote
    times = [one.time_ms for one in samples]
    home = test.symbols[0]
    yield chart(
        f"Wealth in {quote}",
        times,
        [
            Line("this strategy", _BLUE, [_float(one.equity) for one in samples]),
            Line("its first funds, held", _GREY, [_float(one.held) for one in samples]),
        ],
    )
    yield chart(
        f"Price of {home} and fills (green: bought, red: sold)",
        times,
        [Line("middle", _BLUE, [_float(one.price) for one in samples])],
        _marks(test, home),
    )
    for asset in list({**test.funds, **(samples[-1].owned if samples else {})})[:_ASSETS_MAX]:
        line = Line("owned", _ORANGE, [_float(one.owned.get(asset)) for one in samples])
        yield chart(f"{asset} owned", times, [line])
    yield chart(
        f"Fees paid, in {quote}", times, [Line("fees", _RED, [float(one.fees) for one in samples])]
    )


def _marks(test: Backtest, symbol: str) -> list[Mark]:
    fills = [fill for fill in test.fills if fill.symbol == symbol]
    stride = -(-len(fills) // _MARKS_MAX) or 1
    return [
        Mark(
            fill.time_ms,
            float(fill.price),
            _GREEN if fill.side == "buy" else _RED,
            f"{_time(fill.time_ms)} {fill.side} {plain(fill.quantity)} at {plain(fill.price)}",
        )
        for fill in fills[::stride]
    ]


def _plans(plans: Sequence[PlanOutcome]) -> Iterable[str]:
    if not plans:
        return
    yield f"<h2>Plans: {len(plans):,}, predicted and realized</h2>"
    predicted = sum((plan.predicted_profit for plan in plans), Decimal(0))
    known = [plan.profit for plan in plans if plan.profit is not None]
    realized = sum(known, Decimal(0))
    times = [plan.ended_ms for plan in plans]
    yield _table(
        [
            ("predicted together", _amount(predicted, plans[0].start)),
            ("realized together", _amount(realized, plans[0].start)),
            *((result, sum(plan.result == result for plan in plans)) for result in _RESULTS),
        ]
    )
    yield chart(
        "Profit of each plan",
        times,
        [
            Line("predicted", _GREY, [float(plan.predicted_profit) for plan in plans]),
            Line("realized", _BLUE, [_float(plan.profit) for plan in plans]),
        ],
    )
    rows = []
    for plan in plans[-_PLANS_MAX:]:
        legs = "<br>".join(escape(str(leg)) for leg in plan.legs)
        rows.append(
            f"<tr><td>{plan.number}</td><td>{_time(plan.started_ms)}</td><td>{plan.result}</td>"
            f'<td class="n">{_amount(plan.predicted_profit, plan.start)}</td>'
            f'<td class="n">{_amount(plan.profit, plan.start)}</td><td>{legs}</td></tr>'
        )
    head = "".join(
        f"<th>{name}</th>" for name in ("plan", "began", "end", "predicted", "realized", "legs")
    )
    if len(plans) > _PLANS_MAX:
        yield f"<p>The last {_PLANS_MAX}; the JSON report has all.</p>"
    yield f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


_RESULTS = ("done", "missed", "unwound", "held")


def _table(rows: Iterable[tuple[str, object]]) -> str:
    told = "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>"
        for name, value in rows
    )
    return f'<div class="scroll"><table>{told}</table></div>' if told else ""


def _amount(value: Decimal | None, asset: str) -> str:
    return "not known" if value is None else f"{value:+,.8f} {asset}"


def _amounts(items: Iterable[tuple[str, Decimal]]) -> str:
    return ", ".join(f"{plain(amount)} {asset}" for asset, amount in items) or "none"


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
