"""What the terminal shows while something trades: a live screen, or plain lines when piped.

The screens know nothing of engines: they are handed a `TradingView`, which holds what they print.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from functools import partial
from typing import Self, TextIO

from rich.align import Align
from rich.box import ROUNDED
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nkfast.app.writer import Writer
from nkfast.trading.exact import ZERO, plain
from nkfast.trading.orders import Order, OrderState
from nkfast.trading.strategy import Fill

__all__ = [
    "BookRow",
    "FillRow",
    "HoldingRow",
    "LiveScreen",
    "OrderRow",
    "ProgressLines",
    "Screen",
    "TradingView",
    "render",
]

#: So long the end waits for the newest picture.
_CLOSE_S = 1.0
BUY, SELL, MUTED, STRONG = "green", "red", "bright_black", "bold"
SIDE_STYLES = {"buy": BUY, "sell": SELL}
#: Of the badge that stands on every screen; nobody shall take pretended money for real.
MODE_STYLES = {
    "demo": "bold black on bright_black",
    "monitor": "bold black on cyan",
    "paper": "bold white on blue",
    "live": "bold white on red",
}
FRAMES_PER_SECOND = 4
PROGRESS_LINES = 10
#: Between two lines of what runs for long.
LINE_INTERVAL_S = 60.0
SHOWN_QUANTUM = Decimal("1e-8")
#: Columns from which on the less important figures have room.
WIDE, VERY_WIDE = 100, 120
WHY_WIDTH = 30
FILLS_WITH_FEES = 54
BAR = "▏▎▍▌▋▊▉█"
SPARK = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class BookRow:
    """One price level; ``own`` is how much of it is ours."""

    price: Decimal
    quantity: Decimal
    own: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order of ours that rests or is on its way."""

    slot: str
    side: str
    price: Decimal | None  # None: a market order
    quantity: Decimal
    executed: Decimal
    is_uncertain: bool = False

    @classmethod
    def of(cls, order: Order) -> Self:
        """Return the row of an order."""
        is_uncertain = order.state is OrderState.UNKNOWN
        return cls(
            order.slot, order.side, order.price, order.quantity, order.executed, is_uncertain
        )


@dataclass(frozen=True, slots=True)
class FillRow:
    """One execution of an order of ours."""

    time_ms: int
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal | None
    fee_asset: str

    @classmethod
    def of(cls, fill: Fill) -> Self:
        """Return the row of a fill."""
        return cls(fill.time_ms, fill.side, fill.price, fill.quantity, fill.fee, fill.fee_asset)


@dataclass(frozen=True, slots=True)
class HoldingRow:
    """One asset: what is free, and what our orders hold."""

    asset: str
    available: Decimal
    held: Decimal


@dataclass(frozen=True, slots=True)
class TradingView:
    """All that a screen prints, at one moment. Bids and asks come best first."""

    mode: str  # demo, monitor, paper or live
    title: str
    place: str
    details: str
    state: str  # of the engine's life
    symbol: str
    book_state: str
    bids: Sequence[BookRow]
    asks: Sequence[BookRow]
    orders: Sequence[OrderRow]
    fills: Sequence[FillRow]  # newest first
    holdings: Sequence[HoldingRow]
    reasons: Mapping[str, int]  # what was not done, the most frequent first
    mids: Sequence[Decimal]  # oldest first
    quote: str
    order_count: int
    fill_count: int
    reject_count: int
    unknown_count: int
    realized: Decimal
    fees: Mapping[str, Decimal]
    equity_change: Decimal | None
    tick_to_order_us: Mapping[str, float | None]
    frame_count: int
    elapsed_s: float
    total_s: float | None  # None: without an end
    health: Mapping[str, str] = field(default_factory=dict)  # figures by name, the first the age


class LiveScreen:
    """A full-screen view on a terminal, drawn in place; the terminal is as it was afterwards.

    What nkfast logs meanwhile would tear the picture; the newest line of it is shown below.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._log = logging.getLogger("nkfast")
        self._newest = _NewestRecord()

    def __enter__(self) -> Self:
        self._log.addHandler(self._newest)
        self._live.start()
        # A terminal that was told to wait (Ctrl-S) must not hold whoever trades.
        self._writer = Writer("nkfast-screen", waiting_max=1)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer.close(_CLOSE_S):
            self._live.stop()
        self._log.removeHandler(self._newest)

    def interval_s(self, total_s: float | None) -> float:
        """Return the seconds from one picture to the next."""
        return 1 / FRAMES_PER_SECOND

    def show(self, view: TradingView) -> None:
        """Draw one moment soon, unless the one before is not drawn yet."""
        self._writer.put(partial(self._draw, view))

    def _draw(self, view: TradingView) -> None:
        width, height = self._live.console.size
        self._live.update(render(view, width, height, self._newest.text), refresh=True)


class _NewestRecord(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


class ProgressLines:
    """One plain line per tenth of the way, for a pipe, a file or a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._has_header = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.flush()

    def interval_s(self, total_s: float | None) -> float:
        """Return the seconds from one line to the next."""
        return (
            LINE_INTERVAL_S if total_s is None else min(total_s / PROGRESS_LINES, LINE_INTERVAL_S)
        )

    def show(self, view: TradingView) -> None:
        """Print one line."""
        if not self._has_header:
            self._has_header = True
            self._stream.write(
                f"{view.mode.upper()} {view.title}: {view.symbol} on {view.place}"
                f" ({view.details})\n"
            )
        mid = plain(view.mids[-1]) if view.mids else "none"
        self._stream.write(
            f"{view.mode.upper()} {view.elapsed_s:5.1f} s  mid {mid}  {view.order_count} orders  "
            f"{len(view.orders)} open  {view.fill_count} fills  "
            f"realized {plain(view.realized)} {view.quote}  "
            f"tick to order p50 {_microseconds(view.tick_to_order_us['p50'], 'us')}\n"
        )
        self._stream.flush()


Screen = LiveScreen | ProgressLines


def render(view: TradingView, width: int, height: int, notice: str = "") -> RenderableType:
    """Return the whole screen of one moment; made for 80 x 24 and everything larger."""
    lower = max(7, height // 3)
    upper = max(5, height - lower - 3)
    screen = Layout()
    screen.split_column(
        Layout(_header(view, width), size=2),
        Layout(name="upper", size=upper),
        Layout(name="lower", size=lower),
        Layout(_footer(view, width, notice), size=1),
    )
    left = min(46, width * 45 // 100)
    screen["upper"].split_row(
        Layout(_book_panel(view, left - 4, upper - 2), size=left),
        Layout(_orders_panel(view, upper - 2)),
    )
    room = width - left - (WHY_WIDTH if width >= VERY_WIDE else 0)
    lower_row = [
        Layout(_money_panel(view, lower - 2), size=left),
        Layout(_fills_panel(view, lower - 2, width, has_fees=room >= FILLS_WITH_FEES)),
    ]
    if width >= VERY_WIDE:
        lower_row.append(Layout(name="aside", size=WHY_WIDTH))
    screen["lower"].split_row(*lower_row)
    if width >= VERY_WIDE:
        health_rows = min(len(view.health), lower - 5)
        screen["aside"].split_column(
            Layout(_health_panel(view, health_rows), size=health_rows + 2),
            Layout(_why_panel(view, lower - health_rows - 4)),
        )
    return screen


def _grouped(amount: Decimal) -> str:
    return f"{amount:,f}".replace(",", " ")


def _short(amount: Decimal) -> str:
    """Plain digits, cut to what a column holds; the summary has them all."""
    return plain(amount.quantize(SHOWN_QUANTUM, rounding=ROUND_DOWN))


def _microseconds(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:,.0f} {unit}".replace(",", " ")


def _header(view: TradingView, width: int) -> RenderableType:
    first = Table.grid(expand=True, padding=(0, 1))
    first.add_column(no_wrap=True)
    first.add_column(justify="right", no_wrap=True)
    first.add_row(
        Text.assemble(
            (f" {view.mode.upper()} ", MODE_STYLES[view.mode]),
            f" {view.title}  {view.place}",
            (f"  {view.details}" if width >= VERY_WIDE else "", MUTED),
        ),
        Text.assemble(
            (f"{view.state}  ", "" if view.state == "running" else "yellow"), _elapsed(view)
        ),
    )
    return Group(first, _price_line(view, width))


def _elapsed(view: TradingView) -> Text:
    if view.total_s is None:
        minutes, seconds = divmod(int(view.elapsed_s), 60)
        return Text(f"{minutes // 60}:{minutes % 60:02}:{seconds:02}")
    cells = 12
    full = int(min(1.0, view.elapsed_s / view.total_s) * cells)
    return Text.assemble(
        ("━" * full, "cyan"),
        ("━" * (cells - full), MUTED),
        f" {view.elapsed_s:.0f} of {view.total_s:.0f} s",
    )


def _price_line(view: TradingView, width: int) -> Text:
    line = Text(f" {view.symbol} ", style=STRONG, no_wrap=True)
    if not view.mids:
        line.append("no price yet", style=MUTED)
        return line
    mid = view.mids[-1]
    change = (mid / view.mids[0] - 1) * 100
    figures = Text.assemble(
        (_grouped(mid), STRONG), (f" {change:+.2f} % ", BUY if change >= 0 else SELL)
    )
    line.append_text(figures)
    line.append(_spark(view.mids, width - line.cell_len - 1), style="cyan")
    return line


def _spark(values: Sequence[Decimal], width: int) -> str:
    if width < 1:
        return ""
    shown = values[-width:]
    low, high = min(shown), max(shown)
    if low == high:
        return SPARK[0] * len(shown)
    steps = len(SPARK) - 1
    return "".join(SPARK[int((value - low) / (high - low) * steps)] for value in shown)


def _panel(content: RenderableType, title: str, aside: Text | str = "") -> Panel:
    return Panel(
        content,
        title=Text(title, style=STRONG),
        subtitle=aside or None,
        title_align="left",
        subtitle_align="right",
        border_style=MUTED,
        box=ROUNDED,
    )


def _book_panel(view: TradingView, width: int, rows: int) -> Panel:
    count = max(1, (rows - 1) // 2)
    own = {order.price: order for order in view.orders if order.price is not None}
    asks, bids = _ladder(view.asks, "sell", own, count), _ladder(view.bids, "buy", own, count)
    widest = max((row.quantity for row in (*asks, *bids)), default=Decimal(1))
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, ratio=1)
    table.add_column(no_wrap=True, width=1)
    for _ in range(count - len(asks)):
        table.add_row()
    for row in reversed(asks):
        _add_level(table, row, widest, SELL)
    spread = _spread(view)
    table.add_row(Text("spread", style=MUTED), Text(spread, style=MUTED))
    for row in bids:
        _add_level(table, row, widest, BUY)
    if view.book_state != "live":
        return _panel(table, "Book", Text(f"book is {view.book_state}", style="yellow"))
    age = next(iter(view.health.values()), "")
    return _panel(table, "Book", Text(f"{age} old" if age else "", style=MUTED))


def _ladder(
    levels: Sequence[BookRow], side: str, own: Mapping[Decimal, OrderRow], count: int
) -> list[BookRow]:
    """Return rows of one side, best first: its best levels, and our rungs farther away.

    Half of the rows are the market's at least; a rung beyond the book that is known is a row too.
    """
    sign = 1 if side == "sell" else -1
    known = {row.price for row in levels}
    rungs = [row for row in levels if row.own]
    for price, order in own.items():
        if order.side == side and price not in known:
            rest = order.quantity - order.executed
            rungs.append(BookRow(price, rest, rest))
    rungs.sort(key=lambda row: sign * row.price)
    best = list(levels[: max(count - len(rungs), (count + 1) // 2)])
    seen = {row.price for row in best}
    rows = best + [row for row in rungs if row.price not in seen][: count - len(best)]
    return sorted(rows, key=lambda row: sign * row.price)


def _add_level(table: Table, row: BookRow, widest: Decimal, style: str) -> None:
    table.add_row(
        Text(_grouped(row.price), style=style),
        _grouped(row.quantity),
        Text(_bar(row.quantity, widest), style=style),
        Text("●" if row.own else "", style="cyan"),
    )


def _bar(value: Decimal, widest: Decimal, cells: int = 8) -> str:
    eighths = int(value / widest * cells * 8) if widest else 0
    return BAR[-1] * (eighths // 8) + (BAR[eighths % 8 - 1] if eighths % 8 else "")


def _spread(view: TradingView) -> str:
    if not view.asks or not view.bids:
        return "-"
    ask, bid = view.asks[0].price, view.bids[0].price
    return f"{(ask - bid) / ask * 100:.3f} %"


def _orders_panel(view: TradingView, rows: int) -> Panel:
    table = _five_columns()
    for order in _nearest(view, rows):
        style = SIDE_STYLES[order.side]
        if order.is_uncertain:
            progress = Text("?", style="yellow")
        else:
            progress = Text(f"{order.executed / order.quantity * 100:.0f} %", style=MUTED)
        table.add_row(
            Text(order.slot, style=MUTED),
            Text(order.side, style=style),
            Text("market" if order.price is None else _grouped(order.price), style=style),
            _grouped(order.quantity),
            progress,
        )
    more = len(view.orders) - rows
    aside = f"{more} more, farther away" if more > 0 else ""
    title = "Orders it would place" if view.mode == "monitor" else "Own orders"
    return _panel(table, f"{title} ({len(view.orders)})", aside)


def _nearest(view: TradingView, count: int) -> list[OrderRow]:
    """Return the orders nearest to the mid, the highest price first."""
    mid = view.mids[-1] if view.mids else ZERO
    nearest = sorted(view.orders, key=lambda order: abs((order.price or mid) - mid))[:count]
    return sorted(nearest, key=lambda order: order.price or mid, reverse=True)


def _money_panel(view: TradingView, rows: int) -> Panel:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True, ratio=1)
    table.add_column(justify="right", no_wrap=True, ratio=1)
    table.add_row("", Text("free", style=MUTED), Text("in orders", style=MUTED))
    for holding in view.holdings[: max(1, rows - 4)]:
        table.add_row(holding.asset, _short(holding.available), _short(holding.held))
    profit = Table.grid(expand=True, padding=(0, 1))
    profit.add_column(no_wrap=True)
    profit.add_column(justify="right", no_wrap=True, ratio=1)
    profit.add_row("realized", _signed(view.realized, view.quote))
    if view.equity_change is not None:
        profit.add_row("equity", _signed(view.equity_change, view.quote))
    fees = "  ".join(f"{_short(amount)} {asset}" for asset, amount in view.fees.items())
    profit.add_row("fees", fees or "0")
    return _panel(Group(table, profit), "Money")


def _five_columns() -> Table:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    return table


def _signed(amount: Decimal, asset: str) -> Text:
    sign = "+" if amount > 0 else ""
    style = BUY if amount > 0 else SELL if amount < 0 else ""
    return Text(f"{sign}{_short(amount)} {asset}", style=style)


def _fills_panel(view: TradingView, rows: int, width: int, *, has_fees: bool) -> Panel:
    if not view.fills:
        waiting = Text(
            "monitor trades nothing" if view.mode == "monitor" else "none yet", style=MUTED
        )
        centred = Align(waiting, vertical="middle", align="center")
        return _panel(centred, "Fills", _newest_reason(view, width))
    table = _five_columns()
    for fill in view.fills[:rows]:
        style = SIDE_STYLES[fill.side]
        fee = "fee ?" if fill.fee is None else f"fee {_short(fill.fee)}"
        table.add_row(
            Text(_clock_time(fill.time_ms), style=MUTED),
            Text(fill.side, style=style),
            Text(_grouped(fill.price), style=style),
            _grouped(fill.quantity),
            Text(fee if has_fees else "", style=MUTED),
        )
    return _panel(table, f"Fills ({view.fill_count})", _newest_reason(view, width))


def _newest_reason(view: TradingView, width: int) -> Text:
    """Say in a narrow terminal, which has no panel for it, what is not done most often."""
    if width >= VERY_WIDE or not view.reasons:
        return Text("")
    code, times = next(iter(view.reasons.items()))
    return Text(f"why not: {code} {_grouped(Decimal(times))}", style=MUTED)


def _health_panel(view: TradingView, rows: int) -> Panel:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True, ratio=1)
    table.add_column(justify="right", no_wrap=True)
    for name, value in list(view.health.items())[:rows]:
        table.add_row(Text(name, style=MUTED), value)
    return _panel(table, "Health")


def _why_panel(view: TradingView, rows: int) -> Panel:
    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(justify="right", no_wrap=True)
    for code, times in list(view.reasons.items())[:rows]:
        table.add_row(Text(code, style=MUTED), _grouped(Decimal(times)))
    return _panel(table, "Why not")


def _clock_time(time_ms: int) -> str:
    seconds = time_ms // 1000
    return f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _footer(view: TradingView, width: int, notice: str) -> RenderableType:
    if notice:
        return Text(f" {notice}", style="yellow", no_wrap=True, overflow="ellipsis")
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    bad = view.reject_count + view.unknown_count
    p50, p99 = (_microseconds(view.tick_to_order_us[key], "µs") for key in ("p50", "p99"))
    troubles = f"{view.reject_count} rejected  {view.unknown_count} unknown"
    frames = f"  {_grouped(Decimal(view.frame_count))} frames" if width >= WIDE else ""
    line.add_row(
        Text.assemble(
            f" {view.order_count} sent  ", (troubles, "yellow" if bad else MUTED), (frames, MUTED)
        ),
        Text.assemble(
            "tick→order ", (p50, STRONG), (f" p99 {p99}", MUTED), ("  Ctrl-C ends", MUTED)
        ),
    )
    return line
