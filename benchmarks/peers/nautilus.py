"""The order book of nautilus_trader, written in Rust and called through Cython."""

from collections.abc import Iterable

from nautilus_trader.model.book import OrderBook
from nautilus_trader.model.data import BookOrder, OrderBookDelta
from nautilus_trader.model.enums import BookAction, BookType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.objects import Price, Quantity

__all__ = ["NautilusBook"]

INSTRUMENT = InstrumentId.from_str("BTCUSDT.NONKYC")
Level = tuple[int, int]


class NautilusBook:
    """Takes its own deltas, one a level, which its adapters make before."""

    def __init__(self) -> None:
        self.book = OrderBook(INSTRUMENT, BookType.L2_MBP)

    @staticmethod
    def deltas(
        bids: Iterable[Level], asks: Iterable[Level], price_decimals: int, quantity_decimals: int
    ) -> list[OrderBookDelta]:
        """Ticks and lots as it wants them."""
        made = []
        for side, levels in ((OrderSide.BUY, bids), (OrderSide.SELL, asks)):
            for ticks, lots in levels:
                price = Price(ticks / 10**price_decimals, price_decimals)
                quantity = Quantity(lots / 10**quantity_decimals, quantity_decimals)
                action = BookAction.UPDATE if lots else BookAction.DELETE
                order = BookOrder(side, price, quantity, 0)
                made.append(OrderBookDelta(INSTRUMENT, action, order, 0, 0, 0, 0))
        return made

    def update(self, deltas: Iterable[OrderBookDelta]) -> None:
        apply = self.book.apply_delta
        for delta in deltas:
            apply(delta)

    def best(self) -> tuple[tuple[Price, Quantity], tuple[Price, Quantity]]:
        book = self.book
        return (
            (book.best_bid_price(), book.best_bid_size()),
            (book.best_ask_price(), book.best_ask_size()),
        )

    def depth(self, n: int) -> tuple[list[object], list[object]]:
        """The public way: lists of every level, cut."""
        return self.book.bids()[:n], self.book.asks()[:n]
