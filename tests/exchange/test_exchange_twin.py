"""Random orders at the exchange and at a slow, obvious twin: books, money, holds and fees."""

from dataclasses import dataclass
from fractions import Fraction

from exchange.conftest import NOW_MS, market_row
from hypothesis import given, settings
from hypothesis import strategies as st

from nkfast.errors import RejectedError
from nkfast.exchange.exchange import Exchange
from nkfast.exchange.invariants import violations
from nkfast.exchange.money import ATOM_DECIMALS
from nkfast.exchange.rules import OrderForm

FEE = Fraction(2, 1000)  # of both sides, in the quote asset
WEALTH = {"ETH": 50, "USDT": 5_000}
ROW = market_row(priceDecimals=1, quantityDecimals=1, minimumQuantity="0", minQuote="0")


@dataclass
class TwinOrder:
    account: int
    side: str
    price: Fraction
    left: Fraction
    id: str = ""


class Twin:
    """Every order in one list, oldest first; what is held is summed anew each time."""

    def __init__(self, accounts: int) -> None:
        self.owned = [
            {asset: Fraction(amount) for asset, amount in WEALTH.items()} for _ in range(accounts)
        ]
        self.fees = Fraction(0)
        self.resting: list[TwinOrder] = []

    def held(self, account: int, asset: str) -> Fraction:
        mine = [order for order in self.resting if order.account == account]
        if asset == "ETH":
            return sum((o.left for o in mine if o.side == "sell"), Fraction(0))
        return sum((o.left * o.price * (1 + FEE) for o in mine if o.side == "buy"), Fraction(0))

    def order(self, new: TwinOrder) -> bool:
        asset = "ETH" if new.side == "sell" else "USDT"
        needed = new.left if new.side == "sell" else new.left * new.price * (1 + FEE)
        if needed > self.owned[new.account][asset] - self.held(new.account, asset):
            return False
        sign = 1 if new.side == "buy" else -1
        others = [o for o in self.resting if o.side != new.side]
        for other in sorted(others, key=lambda o: sign * o.price):  # stable: the oldest first
            if new.left and sign * other.price <= sign * new.price:
                self.trade(new, other, min(new.left, other.left))
        self.resting = [o for o in [*self.resting, new] if o.left]
        return True

    def trade(self, new: TwinOrder, other: TwinOrder, quantity: Fraction) -> None:
        cost = quantity * other.price
        for order in (new, other):
            order.left -= quantity
            way = 1 if order.side == "buy" else -1
            self.owned[order.account]["ETH"] += way * quantity
            self.owned[order.account]["USDT"] -= way * cost + cost * FEE
            self.fees += cost * FEE


steps = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell", "buy", "sell", "cancel"]),
        st.integers(0, 2),
        st.integers(990, 1010),
        st.integers(1, 300),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=100)
@given(steps)
def test_random_orders_leave_what_the_slow_twin_has(
    steps: list[tuple[str, int, int, int]],
) -> None:
    exchange = Exchange([ROW], now_ms=NOW_MS)
    accounts = [exchange.open_account(name, WEALTH) for name in "abc"]
    twin = Twin(len(accounts))
    unit = 10**ATOM_DECIMALS
    for kind, number, ticks, lots in steps:
        if kind == "cancel":
            if twin.resting:
                gone = twin.resting.pop(lots % len(twin.resting))
                exchange.cancel(accounts[gone.account], gone.id, NOW_MS)
        else:
            fields = {"symbol": "ETH/USDT", "side": kind, "quantity": f"{lots / 10}"}
            form = OrderForm.from_wire(fields | {"price": f"{ticks / 10}"})
            order = TwinOrder(number, kind, Fraction(ticks, 10), Fraction(lots, 10))
            try:
                order.id = exchange.submit(accounts[number], form, NOW_MS).id
            except RejectedError:
                assert not twin.order(order)
            else:
                assert twin.order(order)
        assert violations(exchange) == []
        assert Fraction(exchange.fees.get("USDT", 0), unit) == twin.fees
        for place, account in enumerate(accounts):
            for asset in WEALTH:
                holding = account.holding(asset)
                assert Fraction(holding.held, unit) == twin.held(place, asset)
                assert Fraction(holding.total, unit) == twin.owned[place][asset]
            left = {order.id: order.left for order in twin.resting if order.account == place}
            here = account.open_orders.items()
            assert {i: Fraction(order.remaining_lots, 10) for i, order in here} == left
