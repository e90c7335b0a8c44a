"""What we own, what of it is spoken for, and what was earned.

`Profit` counts fills: each moves a signed amount of base and of quote, fees included; opposite
movements are matched first in, first out, and what is left of a matched pair is realized profit.
So, to the last digit and at any mark,

    cash + position * mark == realized + unrealized(mark)

`Ledger` keeps the venue's balances beside it, and the reservations of our own orders.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, Context, Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from nkfast.trading.exact import ONE, ZERO, add, multiply, plain, share, subtract
from nkfast.venue.port import Execution, Holding, Side

if TYPE_CHECKING:
    from nkfast.core.market import Market
    from nkfast.trading.orders import Order

__all__ = ["Ledger", "Lot", "Profit"]

#: A fee rate that was seen is rounded up to so many digits, and not believed beyond this.
_RATE = Context(prec=9, rounding=ROUND_CEILING)
_FEE_RATE_MAX = Decimal("0.05")


@dataclass(frozen=True, slots=True)
class Lot:
    """A part of the position that no opposite fill has matched yet.

    ``base`` is positive when it was bought; ``quote`` is what it moved, negative when it was paid.
    """

    base: Decimal
    quote: Decimal


@dataclass(frozen=True, slots=True)
class Profit:
    """Everything that a market's fills have done. Immutable: a fill makes a new one.

    Attributes
    ----------
    cash, position : Decimal
        Change of the quote and of the base asset, fees in either of them included.
    realized : Decimal
        Quote units earned by matched lots, net of the fees paid in base or quote.
    fees : mapping of str to Decimal
        Fees by the asset that they were paid in. Those in a third asset appear only here.
    unknown_fees : int
        Fills whose fee the venue has not told. They are not free; they are unknown.
    fills : int
        Fills counted.
    lots : tuple of Lot
        The open position, oldest first; all of one sign.
    """

    base_asset: str
    quote_asset: str
    cash: Decimal = ZERO
    position: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))
    unknown_fees: int = 0
    fills: int = 0
    lots: tuple[Lot, ...] = ()

    def after_fill(self, fill: Execution) -> "Profit":
        """Return the profit after one fill that was not counted before."""
        sign = 1 if fill.side == "buy" else -1
        base = multiply(fill.quantity, Decimal(sign))
        quote = multiply(multiply(fill.price, fill.quantity), Decimal(-sign))
        counted = replace(self, fills=self.fills + 1)
        if fill.fee is None:
            return replace(counted, unknown_fees=self.unknown_fees + 1)._move(base, quote)
        base, quote = self._less_fee(base, quote, fill.fee, fill.fee_asset)
        return counted._with_fee(fill.fee, fill.fee_asset)._move(base, quote)

    def after_fee(self, known: Execution, fill: Execution) -> "Profit":
        """Return the profit after the fee of a counted fill became known, or larger.

        A fee that is told late is charged when it is told: in quote to the realized profit, in
        base as a disposal for nothing.
        """
        assert fill.fee is not None
        base, quote = self._less_fee(ZERO, ZERO, fill.fee, fill.fee_asset)
        profit = self._with_fee(fill.fee, fill.fee_asset)
        if known.fee is None:
            profit = replace(profit, unknown_fees=self.unknown_fees - 1)
        else:
            base, quote = self._less_fee(base, quote, known.fee.copy_negate(), known.fee_asset)
            profit = profit._with_fee(known.fee.copy_negate(), known.fee_asset)
        return profit._move(base, quote)

    def unrealized(self, mark: Decimal) -> Decimal:
        """Return what the open lots would earn if the position ended at ``mark``."""
        total = ZERO
        for lot in self.lots:
            total = add(total, add(multiply(lot.base, mark), lot.quote))
        return total

    def equity_change(self, mark: Decimal) -> Decimal:
        """Return by how much all fills have changed our wealth, valued at ``mark``."""
        return add(self.cash, multiply(self.position, mark))

    def as_json(self) -> dict[str, Any]:
        """Return everything in plain digits."""
        return {
            "base": self.base_asset,
            "quote": self.quote_asset,
            "cash": plain(self.cash),
            "position": plain(self.position),
            "realized": plain(self.realized),
            "fees": {asset: plain(fee) for asset, fee in self.fees.items()},
            "unknown_fees": self.unknown_fees,
            "fills": self.fills,
            "lots": [[plain(lot.base), plain(lot.quote)] for lot in self.lots],
        }

    @property
    def symbol(self) -> str:
        """The market's symbol."""
        return f"{self.base_asset}/{self.quote_asset}"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Profit":
        """Take back what `as_json` returned."""
        return cls(
            data["base"],
            data["quote"],
            cash=Decimal(data["cash"]),
            position=Decimal(data["position"]),
            realized=Decimal(data["realized"]),
            fees=MappingProxyType({asset: Decimal(fee) for asset, fee in data["fees"].items()}),
            unknown_fees=data["unknown_fees"],
            fills=data["fills"],
            lots=tuple(Lot(Decimal(base), Decimal(quote)) for base, quote in data["lots"]),
        )

    def _less_fee(
        self, base: Decimal, quote: Decimal, fee: Decimal, asset: str
    ) -> tuple[Decimal, Decimal]:
        if asset == self.quote_asset:
            return base, subtract(quote, fee)
        if asset == self.base_asset:
            return subtract(base, fee), quote
        return base, quote

    def _with_fee(self, fee: Decimal, asset: str) -> "Profit":
        fees = {**self.fees, asset: add(self.fees.get(asset, ZERO), fee)}
        return replace(self, fees=MappingProxyType(fees))

    def _move(self, base: Decimal, quote: Decimal) -> "Profit":
        """Match a movement against the open lots; what is left of it opens a lot."""
        cash, position = add(self.cash, quote), add(self.position, base)
        realized, lots, rest = self.realized, self.lots, Lot(base, quote)
        matched = 0
        while rest.base and matched < len(lots) and (lots[matched].base > 0) != (rest.base > 0):
            lot = lots[matched]
            part = min(lot.base.copy_abs(), rest.base.copy_abs())
            lot_quote = share(lot.quote, part, lot.base.copy_abs())
            rest_quote = share(rest.quote, part, rest.base.copy_abs())
            realized = add(realized, add(lot_quote, rest_quote))
            signed = part if rest.base > 0 else part.copy_negate()
            rest = Lot(subtract(rest.base, signed), subtract(rest.quote, rest_quote))
            lot = Lot(add(lot.base, signed), subtract(lot.quote, lot_quote))
            if lot.base:
                lots = (*lots[:matched], lot, *lots[matched + 1 :])
            else:
                matched += 1
        lots = lots[matched:]
        if rest.base:
            lots = (*lots, rest)
        else:
            realized = add(realized, rest.quote)
        return replace(self, cash=cash, position=position, realized=realized, lots=lots)


class Ledger:
    """Balances and reservations of every asset, and the profit of each market.

    The venue's word on a balance is absolute; between two words our own fills move it. What the
    venue holds beyond our own reservations is held for somebody else's orders and not ours to use.

    Parameters
    ----------
    market : Market
        The home market. Says the assets and the fee that reservations allow for.
    profit : Profit, optional
        Where an earlier run ended on it.
    """

    def __init__(self, market: "Market", profit: Profit | None = None) -> None:
        self.market = market
        self.version = 0
        self._markets: dict[str, Market] = {}
        self._profits: dict[str, Profit] = {}
        self._cost_factors: dict[str, Decimal] = {}
        self._totals: dict[str, Decimal] = {}
        self._counted: dict[str, Decimal] = {}
        self._held: dict[str, Decimal] = {}
        self._foreign: dict[str, Decimal] = {}
        self._reserved: dict[str, Decimal] = {}
        self._reservations: dict[str, tuple[str, Decimal]] = {}
        self._expected: dict[str, Decimal] = {}  # prices of market orders, by client id
        self.add_market(market, profit)

    def add_market(self, market: "Market", profit: Profit | None = None) -> None:
        """Keep the reservations and the profit of one more market."""
        symbol = market.symbol
        self._markets[symbol] = market
        self._profits[symbol] = profit if profit is not None else Profit(market.base, market.quote)
        self._cost_factors[symbol] = add(ONE, max(market.maker_fee, market.taker_fee, ZERO))
        for asset in (market.base, market.quote):
            self._reserved.setdefault(asset, ZERO)

    @property
    def profit(self) -> Profit:
        """What the home market's fills have done."""
        return self._profits[self.market.symbol]

    @property
    def profits(self) -> Mapping[str, Profit]:
        """What the fills of each market have done, by symbol."""
        return MappingProxyType(self._profits)

    @property
    def knows_holdings(self) -> bool:
        """Whether the venue has told the balances at all."""
        return bool(self._totals)

    @property
    def assets(self) -> tuple[str, ...]:
        """Every asset that the venue has told a balance of."""
        return tuple(self._totals)

    def total(self, asset: str) -> Decimal:
        """Return all that the account has of an asset; zero when the venue never told of it."""
        return self._totals.get(asset, ZERO)

    def most(self, asset: str) -> Decimal:
        """Return the most that the account may have of an asset.

        A balance that is told late does not know of the newest fills: what was owned when nothing
        moved, and every fill since, is counted beside the venue's word.
        """
        return max(self.total(asset), self._counted.get(asset, ZERO))

    @property
    def has_fills(self) -> bool:
        """Whether any order of ours, of this run or an earlier one, ever traded."""
        return any(profit.fills for profit in self._profits.values())

    @property
    def beside_fills(self) -> dict[str, str]:
        """What was owned of each base asset beside what our fills brought, when nothing moved."""
        return {
            asset: plain(subtract(self._counted[asset], brought))
            for asset, brought in self._brought().items()
            if asset in self._counted
        }

    def recall(self, beside_fills: Mapping[str, str]) -> None:
        """Count from what an earlier run owned: the first balances may be told late, too."""
        for asset, brought in self._brought().items():
            if asset in beside_fills:
                self._counted[asset] = add(Decimal(beside_fills[asset]), brought)

    def _brought(self) -> dict[str, Decimal]:
        brought: dict[str, Decimal] = {}
        for profit in self._profits.values():
            asset = profit.base_asset
            brought[asset] = add(brought.get(asset, ZERO), profit.position)
        return brought

    def held(self, asset: str) -> Decimal:
        """Return what the venue said it holds for open orders, ours and others."""
        return self._held.get(asset, ZERO)

    def reserved(self, asset: str) -> Decimal:
        """Return what our own open orders may still need."""
        return self._reserved.get(asset, ZERO)

    def available(self, asset: str) -> Decimal:
        """Return what a new order may use; never negative."""
        spoken_for = add(self.reserved(asset), self._foreign.get(asset, ZERO))
        return max(subtract(self.total(asset), spoken_for), ZERO)

    @staticmethod
    def total_of(holding: Holding) -> Decimal:
        """Return what the venue says that the account has of an asset, free and held."""
        return add(holding.available, holding.held)

    def set_holdings(
        self,
        holdings: Iterable[Holding],
        *,
        is_complete: bool = False,
        is_settled: bool = False,
    ) -> list[Holding]:
        """Take the venue's word on balances; return those that contradict themselves.

        ``is_complete`` says that every balance was told while none of our orders moved; only then
        can it be seen what is held for the orders of others. ``is_settled`` says that the venue
        must know of every fill that we know. A venue that holds more than there is
        tells a negative free amount: the total is what is believed, and nothing of it is free.
        """
        odd = []
        for holding in holdings:
            if holding.available < 0 or holding.held < 0:
                odd.append(holding)
            self._totals[holding.asset] = self.total_of(holding)
            self._held[holding.asset] = holding.held
            if is_settled or holding.asset not in self._counted:
                self._counted[holding.asset] = self._totals[holding.asset]
            if is_complete:
                beyond = subtract(holding.held, self.reserved(holding.asset))
                self._foreign[holding.asset] = max(beyond, ZERO)
        if is_complete:
            for asset in self._reserved:
                self._counted.setdefault(asset, self._totals.setdefault(asset, ZERO))
        self.version += 1
        return odd

    def cost(
        self, side: Side, price: Decimal, quantity: Decimal, symbol: str = ""
    ) -> tuple[str, Decimal]:
        """Return the asset and the exact amount that an order needs, the fee of a buy included.

        ``symbol`` is the home market's when it is empty.
        """
        market = self._markets[symbol] if symbol else self.market
        if side == "sell":
            return market.base, quantity
        factor = self._cost_factors[market.symbol]
        return market.quote, multiply(multiply(price, quantity), factor)

    def reserve(self, order: "Order", at: Decimal | None = None) -> None:
        """Set an order's reservation to what it may still need; none once it is finished.

        ``at`` is the price that a market order is expected to trade at, said once; a market buy
        of an earlier process, which is at the venue a moment at most, reserves nothing.
        """
        client_id = order.client_id
        asset, amount = self._reservations.pop(client_id, ("", ZERO))
        if asset:
            self._reserved[asset] = subtract(self._reserved[asset], amount)
        if at is not None:
            self._expected[client_id] = at
        if order.state.is_open and order.facts.final is None:
            price = order.price
            if price is None:
                price = self._expected.get(client_id, ZERO)
            asset, amount = self.cost(order.side, price, order.remaining, order.symbol)
            self._reservations[client_id] = (asset, amount)
            self._reserved[asset] = add(self._reserved.get(asset, ZERO), amount)
        elif self._expected:
            self._expected.pop(client_id, None)
        self.version += 1

    def learn_fee(self, fill: Execution) -> None:
        """Reserve more from now on where a fill cost more than the market's fees say."""
        market, notional = self._markets[fill.symbol], multiply(fill.price, fill.quantity)
        if fill.fee is None or fill.fee_asset != market.quote:
            return
        if not notional or notional < market.min_notional:
            return  # of a crumb the venue's rounding is a large share
        factor = add(ONE, min(_RATE.divide(fill.fee, notional), _FEE_RATE_MAX))
        if factor > self._cost_factors[fill.symbol]:
            self._cost_factors[fill.symbol] = factor
            self.version += 1

    def apply(self, profit: Profit) -> None:
        """Take the profit after a fill, and move the balances by what it changed."""
        before = self._profits[profit.symbol]
        moved = {
            profit.base_asset: subtract(profit.position, before.position),
            profit.quote_asset: subtract(profit.cash, before.cash),
        }
        for asset, fee in profit.fees.items():
            if asset not in moved:
                moved[asset] = subtract(before.fees.get(asset, ZERO), fee)
        for asset, change in moved.items():
            if asset in self._totals:
                self._totals[asset] = add(self._totals[asset], change)
                self._counted[asset] = add(self._counted[asset], change)
        self._profits[profit.symbol] = profit
        self.version += 1
