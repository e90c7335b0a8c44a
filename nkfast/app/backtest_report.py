"""The report of a backtest: a few lines, or one HTML file that needs nothing else."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from itertools import accumulate

from nkfast.app.backtest import Backtest
from nkfast.app.charts import STYLE as CHART_STYLE
from nkfast.app.charts import Line, Mark, Marks, chart
from nkfast.trading.exact import plain
from nkfast.trading.plan_outcome import PlanOutcome
from nkfast.trading.reason_codes import meaning_of

__all__ = ["as_html", "as_lines"]

#: More points or rows than these nobody can tell apart.
_MARKS_MAX = 2_000
_POINTS_MAX = 1_000
_PLANS_MAX = 200
_ASSETS_MAX = 6
#: Told apart by who does not see red beside green, on white and on black.
_BLUE, _ORANGE, _GREY, _VIOLET = "#3b82d8", "#d9822b", "#888888", "#9d6bd1"
_STYLE = f"""
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 1.5rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; margin-bottom: .2rem; }} h2 {{ font-size: 1.15rem; margin-top: 2.2rem; }}
p.about {{ margin-top: 0; opacity: .75; overflow-wrap: anywhere; }}
dl {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .7rem; }}
dl div {{ border: 1px solid #8884; border-radius: .4rem; padding: .5rem .8rem; }}
dt {{ opacity: .75; font-size: .85rem; }} dd {{ margin: 0; font-size: 1.1rem; font-weight: 600;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }}
dd small {{ font-weight: 400; opacity: .75; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .2rem 1rem .2rem 0; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }} th {{ font-weight: 600; }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
table.wide th, table.wide td {{ overflow-wrap: normal; }}
tr + tr > * {{ border-top: 1px solid #8883; }}
.bad {{ color: #cf4446; font-weight: 600; }} .scroll {{ overflow-x: auto; }}
code {{ font-size: .9em; overflow-wrap: normal; }} summary {{ cursor: pointer; margin: .8rem 0; }}
{CHART_STYLE}"""


def as_html(test: Backtest) -> str:
    """Return a page with figures, charts, plans and the reasons for what was not done."""
    title = _title(test)
    body = [
        f"<h1>Backtest: {escape(title)}</h1>",
        f'<p class="about">{escape(_about(test))}</p>',
        *(f'<p class="bad">{escape(line)}</p>' for line in _warnings(test)),
        *_cards(test),
        "<h2>Course</h2>",
        "".join(_charts(test)) or "<p>There was never a price: nothing can be drawn.</p>",
        *_plans(test.result.plans),
        "<h2>What was not done, and why</h2>",
        *_reasons(test),
        "<h2>The run</h2>",
        _pairs(_facts(test)),
        *_settings(test),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def as_lines(test: Backtest) -> Iterator[str]:
    """Give what a person wants to know first, a line each."""
    yield f"{_title(test)}: {_about(test)}"
    for name, value, also in _figures(test):
        yield f"{name:<28}  {value}{f' ({also})' if also else ''}"
    for name, value in _facts(test):
        yield f"{name:<28}  {value}"
    for code, count in Counter(test.result.engine.reasons).most_common():
        yield f"{'not done':<28}  {code} {count:,}"
    yield from _warnings(test)


def _title(test: Backtest) -> str:
    title = f"{test.config.strategy_name} on {', '.join(test.symbols[:3])}"
    more = len(test.symbols) - 3
    return f"{title} and {more} more" if more > 0 else title


def _about(test: Backtest) -> str:
    if not test.samples:
        return f"{test.data}, {test.frame_count:,} frames"
    first, last = (_time(one.time_ms) for one in (test.samples[0], test.samples[-1]))
    return f"{test.data}, {first} to {last} UTC, {test.frame_count:,} frames"


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
    if not engine.orders:
        said.append("No order was placed; below is said why not.")
    return said


def _figures(test: Backtest) -> Iterator[tuple[str, str, str]]:
    """Give each figure: its name, its value, and what is to be said beside it."""
    engine, quote = test.result.engine, test.quote
    first = next((one.equity for one in test.samples if one.equity), None)
    change = test.equity_change
    share = "" if first is None or change is None else f"{float(change / first):+.2%}"
    yield "profit", _amount(change, quote), share
    yield "against holding", _amount(test.against_holding, quote), ""
    yield "realized by round trips", _amount(engine.realized, quote), "fees taken off"
    yield "fees", _amounts(engine.fees.items()), ""
    yield "deepest fall", _amount(test.drawdown, quote).removeprefix("+"), ""
    yield "orders, fills", f"{engine.orders:,}, {engine.fills:,}", ""


def _cards(test: Backtest) -> Iterator[str]:
    yield "<dl>"
    for name, value, also in _figures(test):
        small = f" <small>{escape(also)}</small>" if also else ""
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(value)}{small}</dd></div>"
    yield "</dl>"


def _facts(test: Backtest) -> Iterator[tuple[str, str]]:
    engine = test.result.engine
    last = test.samples[-1] if test.samples else None
    yield "owned at first", _amounts(test.funds.items())
    yield "owned at last", _amounts(last.owned.items() if last else test.funds.items())
    yield "refused by the market", f"{engine.rejects:,}"
    yield "recorded", f"{test.duration_s:,.0f} s"
    yield "took", f"{test.wall_s:,.1f} s, {test.frame_count / test.wall_s:,.0f} frames a second"
    yield "seed", str(test.seed)
    yield "hash of all orders and fills", test.result.hash


def _settings(test: Backtest) -> Iterator[str]:
    values = {name: _spelled(value) for name, value in test.config.values().items()}
    given = {name: value for name, value in values.items() if test.config.origin(name) != "default"}
    yield "<h2>Settings</h2>"
    yield _pairs(given.items())
    rest = _pairs((name, value) for name, value in values.items() if name not in given)
    yield f"<details><summary>and the defaults of {len(values) - len(given)} more</summary>{rest}"
    yield "</details>"


def _reasons(test: Backtest) -> Iterator[str]:
    counts = Counter(test.result.engine.reasons).most_common()
    if not counts:
        yield "<p>Nothing was left undone.</p>"
        return
    rows = []
    for code, count in counts:
        newest = test.result.reasons.get(code, "")
        rows.append(
            f'<tr><td><code>{escape(code)}</code></td><td class="n">{count:,}</td>'
            f"<td>{escape(meaning_of(code))}</td><td>{escape(str(newest))}</td></tr>"
        )
    yield _rows(("code", "times", "means", "the last one"), rows)


def _charts(test: Backtest) -> Iterator[str]:
    samples, quote = test.samples, test.quote
    times = [one.time_ms for one in samples]
    home = test.symbols[0]
    equity, held = (
        [_float(one.equity) for one in samples],
        [_float(one.held) for one in samples],
    )
    yield chart(
        f"Wealth in {quote}",
        times,
        [Line("its first funds, held", _GREY, held), Line("this strategy", _BLUE, equity)],
    )
    if not test.fills:  # it owns what it owned
        yield from _fills(test, times, home)
        return
    ahead = [
        None if own is None or other is None else own - other
        for own, other in zip(equity, held, strict=True)
    ]
    yield chart(f"Ahead of holding, in {quote}", times, [Line("", _BLUE, ahead)])
    yield from _fills(test, times, home)
    for asset in list({**test.funds, **(samples[-1].owned if samples else {})})[:_ASSETS_MAX]:
        owned = [float(one.owned.get(asset, 0)) for one in samples]
        yield chart(f"{asset} owned", times, [Line("", _VIOLET, owned)])
    fees = [float(one.fees) for one in samples]
    yield chart(f"Fees paid, in {quote}", times, [Line("", _ORANGE, fees)])


def _fills(test: Backtest, times: Sequence[int], symbol: str) -> Iterator[str]:
    fills = [fill for fill in test.fills if fill.symbol == symbol]
    stride = -(-len(fills) // _MARKS_MAX) or 1
    shown = fills[::stride]
    kinds = [
        Marks(
            name,
            color,
            [
                Mark(
                    fill.time_ms,
                    float(fill.price),
                    f"{_time(fill.time_ms)} {fill.side} {plain(fill.quantity)} at"
                    f" {plain(fill.price)}",
                )
                for fill in shown
                if fill.side == side
            ],
        )
        for name, color, side in (("bought", _BLUE, "buy"), ("sold", _ORANGE, "sell"))
    ]
    title = f"Price of {symbol}" + (" and fills" if fills else "")
    if stride > 1:
        title += f" (one of {stride} of {len(fills):,})"
    price = Line("middle", _GREY, [_float(one.price) for one in test.samples])
    yield chart(title, times, [price], [kind for kind in kinds if kind.marks])


def _plans(plans: Sequence[PlanOutcome]) -> Iterator[str]:
    if not plans:
        return
    yield f"<h2>Plans: {len(plans):,}, predicted and realized</h2>"
    predicted = list(accumulate(plan.predicted_profit for plan in plans))
    realized = list(accumulate(plan.profit or Decimal(0) for plan in plans))
    yield _pairs(
        [
            ("predicted together", _amount(predicted[-1], plans[0].start)),
            ("realized together", _amount(realized[-1], plans[0].start)),
            *((result, f"{sum(plan.result == result for plan in plans):,}") for result in _RESULTS),
        ]
    )
    stride = -(-len(plans) // _POINTS_MAX)
    # The last one is always among them.
    chosen = range((len(plans) - 1) % stride, len(plans), stride)
    yield chart(
        f"Profit of all plans, in {plans[0].start}",
        [plans[index].ended_ms for index in chosen],
        [
            Line("predicted", _GREY, [float(predicted[index]) for index in chosen]),
            Line("realized", _BLUE, [float(realized[index]) for index in chosen]),
        ],
    )
    rows = []
    for plan in plans[-_PLANS_MAX:]:
        legs = "<br>".join(escape(str(leg)) for leg in plan.legs)
        rows.append(
            f'<tr><td class="n">{plan.number}</td><td>{_time(plan.started_ms)}</td>'
            f'<td>{plan.result}</td><td class="n">{_amount(plan.predicted_profit, plan.start)}</td>'
            f'<td class="n">{_amount(plan.profit, plan.start)}</td><td>{legs}</td></tr>'
        )
    if len(plans) > _PLANS_MAX:
        yield f"<p>The last {_PLANS_MAX}; the JSON report has all.</p>"
    yield _rows(("plan", "began", "end", "predicted", "realized", "legs"), rows)


_RESULTS = ("done", "missed", "unwound", "held")


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    told = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows
    )
    return f'<div class="scroll"><table>{told}</table></div>' if told else ""


def _rows(head: Iterable[str], rows: Iterable[str]) -> str:
    names = "".join(f"<th>{name}</th>" for name in head)
    return f'<div class="scroll"><table class="wide"><tr>{names}</tr>{"".join(rows)}</table></div>'


def _spelled(value: object) -> str:
    if value is None or value in ([], {}):
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _amount(value: Decimal | None, asset: str) -> str:
    return "not known" if value is None else f"{_short(value, '+')} {asset}"


def _amounts(items: Iterable[tuple[str, Decimal]]) -> str:
    return ", ".join(f"{_short(amount)} {asset}" for asset, amount in items) or "none"


def _short(value: Decimal, sign: str = "") -> str:
    """Return a number with at most eight decimals, as a person reads it."""
    shown = f"{value:{sign if value else ''},.8f}"
    return shown.rstrip("0").rstrip(".")


def _float(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
