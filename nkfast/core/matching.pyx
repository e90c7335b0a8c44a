"""Price-time priority matching of one market: the heart of every venue that is not the real one.

What a C caller needs is in ``csrc/nk_match.h``; this module turns it into Python values.
"""

from collections import namedtuple

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport free, realloc

import numpy as np

from nkfast.core.fixed cimport (
    NK_E_EXISTS,
    NK_E_FULL,
    NK_E_NOT_FOUND,
    NK_E_OVERFLOW,
    NK_OK,
    integer_of,
    nk_status,
)
from nkfast.core.market cimport Market, side_sign
from nkfast.errors import NumberOverflowError

Match = namedtuple(
    "Match",
    ["maker_id", "taker_id", "ticks", "lots", "maker_remaining", "taker_remaining"],
    module=__name__,
)
Match.__doc__ = "One fill: the resting order (maker), the arriving one (taker), the maker's price."

RestingOrder = namedtuple(
    "RestingOrder", ["order_id", "side", "ticks", "lots", "owner"], module=__name__
)
RestingOrder.__doc__ = "An order in the book; ``lots`` is what remains, ``owner`` 0 is nobody's."

cdef object _new_tuple = tuple.__new__
cdef int _FILLS_MIN = 64


cdef int64_t _positive(object value, str name) except -1:
    cdef int64_t number = integer_of(value)
    if number <= 0:
        raise ValueError(f"{name} must be at least 1, was {number}")
    return number


@cython.final
cdef class MatchingEngine:
    """An order book that matches by price, then by time of arrival.

    Deterministic: the same calls give the same matches. Memory grows geometrically with the
    number of resting orders, and a call that raises, `MemoryError` included, has changed nothing.

    Parameters
    ----------
    market : Market
        Whose ticks and lots the numbers are; minimums and pauses are not checked here.
    self_trade : {"allow", "cancel_newest"}
        What happens when an order would meet one of the same ``owner``: they trade, or the
        arriving order stops there and its remainder is cancelled. Owner 0 is nobody and
        never meets itself.

    Raises
    ------
    ValueError
        `self_trade` is neither of the two.
    """

    def __cinit__(self, Market market not None, *, str self_trade not None="allow"):
        if self_trade not in ("allow", "cancel_newest"):
            raise ValueError(f"self_trade must be 'allow' or 'cancel_newest', was {self_trade!r}")
        self.market = market
        nk_match_init(&self.book, self_trade == "cancel_newest")
        if nk_match_reserve(&self.book, 0) != NK_OK:
            raise MemoryError("cannot allocate an empty book")
        self.grow_fills(_FILLS_MIN)

    def __dealloc__(self):
        nk_match_free(&self.book)
        free(self.plan.fills)

    @property
    def best_bid(self):
        """The highest buy level as (ticks, lots), None when there is none."""
        return self.best(NK_MATCH_BUY)

    @property
    def best_ask(self):
        """The lowest sell level as (ticks, lots), None when there is none."""
        return self.best(NK_MATCH_SELL)

    @property
    def order_count(self):
        """Orders that rest, on both sides."""
        return self.book.order_count

    def __contains__(self, order_id):
        return nk_match_find(&self.book, integer_of(order_id)) != NK_MATCH_NONE

    def submit(
        self, order_id, str side not None, lots, ticks=None, owner=0
    ):
        """Match an order; the remainder of a limit order rests.

        Parameters
        ----------
        order_id : int
            Chosen by the caller, 64 bits, not the id of a resting order.
        side : {"buy", "sell"}
        lots : int
            At least 1.
        ticks : int or None
            Limit price, at least 1; None is a market order, whose remainder is gone.
        owner : int
            Whose order it is, for `self_trade`; 0 is nobody's.

        Returns
        -------
        list of Match
            Best price and oldest maker first. A limit order that neither filled nor rests
            (`remaining` is 0) was stopped by ``self_trade="cancel_newest"``.

        Raises
        ------
        ValueError
            An argument is outside its range, or an order with this id rests.
        NumberOverflowError
            The lots resting at this price would not fit 64 bits.
        """
        cdef nk_match_taker taker
        cdef const nk_match_fill *fill
        cdef uint64_t stamp
        cdef int32_t i
        taker.id = integer_of(order_id)
        taker.sign = side_sign(side)
        taker.lots = _positive(lots, "lots")
        taker.price_ticks = 0 if ticks is None else _positive(ticks, "ticks")
        taker.owner = integer_of(owner)
        while True:
            self.make_plan(&taker)
            stamp = self.stamp
            matches = []
            for i in range(self.plan.count):
                fill = &self.plan.fills[i]
                matches.append(
                    _new_tuple(
                        Match,
                        (
                            fill.maker_id,
                            taker.id,
                            fill.price_ticks,
                            fill.lots,
                            fill.maker_remaining,
                            fill.taker_remaining,
                        ),
                    )
                )
            # Making objects can run the garbage collector, and so anybody's code.
            if self.stamp == stamp:
                break
        nk_match_apply(&self.book, &taker, &self.plan)
        return matches

    def cancel(self, order_id):
        """Take a resting order out; returns its remaining lots, KeyError when it does not rest."""
        cdef int64_t lots
        if nk_match_cancel(&self.book, integer_of(order_id), &lots) != NK_OK:
            raise KeyError(order_id)
        self.stamp += 1
        return lots

    def reduce(self, order_id, lots):
        """Take lots off a resting order, which keeps its place; all of them take it out.

        Returns
        -------
        int
            Lots that remain.

        Raises
        ------
        KeyError
            The order does not rest.
        ValueError
            `lots` is not between 1 and what remains.
        """
        cdef int64_t remaining = 0
        cdef nk_status status = nk_match_reduce(
            &self.book, integer_of(order_id), integer_of(lots), &remaining
        )
        if status == NK_E_NOT_FOUND:
            raise KeyError(order_id)
        if status != NK_OK:
            raise ValueError(f"lots must be between 1 and {remaining} (remaining), was {lots}")
        self.stamp += 1
        return remaining

    def clear(self):
        """Take every order out; the memory stays for the next ones."""
        cdef nk_match_order *order
        cdef int64_t lots
        cdef int32_t sign
        cdef int32_t slot
        for sign in (NK_MATCH_BUY, NK_MATCH_SELL):
            slot = nk_match_first(&self.book, sign)
            while slot != NK_MATCH_NONE:
                order = &self.book.orders[slot]
                nk_match_cancel(&self.book, order.id, &lots)
                slot = nk_match_first(&self.book, sign)
        self.stamp += 1

    def remaining(self, order_id):
        """Lots of an order that still rest; 0 when it does not."""
        cdef int32_t slot = nk_match_find(&self.book, integer_of(order_id))
        return 0 if slot == NK_MATCH_NONE else self.book.orders[slot].lots

    def lots_ahead(self, order_id):
        """Lots at the same price that trade before this order; KeyError when it does not rest.

        Costs time in proportion to the orders ahead.
        """
        return nk_match_lots_ahead(&self.book, self.find(order_id))

    def order(self, order_id):
        """The resting order with this id as `RestingOrder`; KeyError when it does not rest."""
        return _resting_order(&self.book, self.find(order_id))

    def orders(self, str side not None):
        """All resting orders of one side as a list of `RestingOrder`, next to trade first."""
        cdef int32_t sign = side_sign(side)
        cdef uint64_t stamp
        cdef int32_t slot
        while True:
            stamp = self.stamp
            result = []
            slot = nk_match_first(&self.book, sign)
            while slot != NK_MATCH_NONE:
                result.append(_resting_order(&self.book, slot))
                if self.stamp != stamp:  # the garbage collector ran somebody's code
                    break
                slot = nk_match_next(&self.book, slot)
            if self.stamp == stamp:
                return result

    def lots_at(self, str side not None, ticks):
        """Lots of all orders resting at one price; 0 when there are none."""
        return nk_match_lots_at(&self.book, side_sign(side), _positive(ticks, "ticks"))

    def depth(self, n):
        """The best `n` levels of each side.

        Returns
        -------
        bids, asks : numpy.ndarray
            int64, shape (at most n, 2): ticks, lots; best first. Copies.
        """
        cdef int64_t limit = integer_of(n)
        if limit < 0:
            raise ValueError(f"n must not be negative, was {limit}")
        return self.levels(NK_MATCH_BUY, limit), self.levels(NK_MATCH_SELL, limit)

    def cost_to_fill(self, str side not None, lots):
        """What a market order would pay (buy) or get (sell) now, before fees.

        Returns
        -------
        filled_lots, cost, worst_ticks : int
            The cost is in ticks times lots, exact; all are 0 when nothing would fill.
        """
        cdef nk_match_cost cost
        cdef int32_t sign = side_sign(side)
        nk_match_cost_to_fill(&self.book, sign, _positive(lots, "lots"), &cost)
        ticks_lots = (<object>cost.ticks_lots.high << 64) | cost.ticks_lots.low
        return cost.lots, ticks_lots, cost.worst_ticks

    # Plan in self.plan, with room for every fill and for the remainder.
    cdef int make_plan(self, const nk_match_taker *taker) except -1:
        cdef nk_status status
        self.stamp += 1
        if self.book.order_count == self.book.order_capacity:
            if self.book.order_count > NK_MATCH_ORDERS_MAX // 2:
                raise MemoryError(f"more than {self.book.order_count} resting orders")
            if nk_match_reserve(&self.book, 2 * self.book.order_capacity) != NK_OK:
                raise MemoryError(f"no room for more than {self.book.order_count} resting orders")
        status = nk_match_make_plan(&self.book, taker, &self.plan)
        if status == NK_E_FULL:
            self.grow_fills(max(self.plan.count, 2 * self.plan.capacity))
            status = nk_match_make_plan(&self.book, taker, &self.plan)
        if status == NK_E_EXISTS:
            raise ValueError(f"an order with id {taker.id} rests; ids in the book are unique")
        if status == NK_E_OVERFLOW:
            resting = nk_match_lots_at(&self.book, taker.sign, taker.price_ticks)
            raise NumberOverflowError(
                str(<object>resting + self.plan.remaining),
                f"lots resting at {taker.price_ticks} ticks fit 64 bits",
            )
        assert status == NK_OK, status
        return 0

    cdef int grow_fills(self, int32_t count) except -1:
        cdef void *grown = realloc(self.plan.fills, <size_t>count * sizeof(nk_match_fill))
        if grown == NULL:
            raise MemoryError(f"no room for {count} fills")
        self.plan.fills = <nk_match_fill *>grown
        self.plan.capacity = count
        return 0

    cdef int32_t find(self, object order_id) except -1:
        cdef int32_t slot = nk_match_find(&self.book, integer_of(order_id))
        if slot == NK_MATCH_NONE:
            raise KeyError(order_id)
        return slot

    cdef object levels(self, int32_t sign, int64_t limit):
        cdef int32_t side = 0 if sign == NK_MATCH_BUY else 1
        cdef int32_t count = <int32_t>min(limit, self.book.sides[side].level_count)
        rows = bytearray(<size_t>count * sizeof(nk_match_row))
        nk_match_depth(&self.book, sign, <nk_match_row *>PyByteArray_AS_STRING(rows), count)
        return np.ndarray((count, 2), np.int64, rows)

    cdef object best(self, int32_t sign):
        cdef nk_match_row row
        if nk_match_depth(&self.book, sign, &row, 1) == 0:
            return None
        return row.price_ticks, row.lots


cdef object _resting_order(const nk_match *book, int32_t slot):
    cdef const nk_match_order *order = &book.orders[slot]
    cdef const nk_match_level *level = &book.levels[order.level]
    side = "buy" if level.sign == NK_MATCH_BUY else "sell"
    return _new_tuple(
        RestingOrder, (order.id, side, level.price_ticks, order.lots, order.owner)
    )
