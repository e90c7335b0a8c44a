"""Cycles of trades that end with more than they began: found incrementally, sized exactly.

A cycle sells and buys through three or four markets and ends in the asset it began with. The
kernel screens the best prices of every cycle through a market that changed; what passes is walked
here through the depth of its books, level by level and in whole lots, in integers: fees, minimums
and the budget included. Only that decides.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.number cimport PyNumber_Index
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, realloc

from collections import namedtuple
from decimal import ROUND_FLOOR, Context, Decimal
from operator import attrgetter, itemgetter

from nkfast.core.book cimport (
    NK_BOOK_LIVE,
    OrderBook,
    nk_level,
    nk_side,
    nk_side_depth,
)
from nkfast.core.fixed cimport NK_OK
from nkfast.core.market cimport Market

from nkfast.errors import ConfigError

__all__ = ["CycleLeg", "CycleScanner", "Opportunity"]

CycleLeg = namedtuple("CycleLeg", ["market_index", "side", "ticks", "lots"], module=__name__)
CycleLeg.__doc__ = "One trade of a cycle: ``ticks`` is the worst price it touches, its limit."

Opportunity = namedtuple(
    "Opportunity",
    ["asset", "legs", "input_amount", "output_amount", "profit", "ratio"],
    module=__name__,
)
Opportunity.__doc__ = """A cycle that pays, sized; amounts are exact and in units of ``asset``.

``ratio`` is profit / input_amount, rounded down at 28 digits.
"""

cdef object FLOOR = Context(prec=28, rounding=ROUND_FLOOR)
cdef object EXACT = Context(prec=120)
# The screen multiplies at most four rates of a few roundings each, 1e-15 in all.
cdef double SCREEN_SLACK = 1 - 1e-12


cdef enum:
    DEPTH_MAX = 128  # levels of a book that one leg may take


cdef object _power(int n):
    return int("1" + "0" * n)


# A market with what the walk needs of it. Amounts are integers of 10**-places of their asset.
@cython.final
cdef class _Member:
    cdef Market market
    cdef OrderBook book
    cdef bint pauses_buys
    cdef bint pauses_sells
    cdef object lot_unit     # amount of base in one lot
    cdef object sell_unit    # amount of quote that one tick * lot brings, after the fee
    cdef object buy_unit     # amount of quote that one tick * lot costs, with the fee

    cdef int places(self) except -1:
        return self.market.price_decimals + self.market.quantity_decimals + self.fee_places()

    cdef int fee_places(self) except -1:
        return max(0, -<int>self.market.taker_fee.as_tuple().exponent)

    cdef int scale(self, int places) except -1:
        cdef int fee_places = self.fee_places()
        cdef object one = _power(fee_places)
        cdef object fee = int(self.market.taker_fee.scaleb(fee_places, EXACT))
        cdef object unit = _power(places - self.places())
        self.lot_unit = _power(places - self.market.quantity_decimals)
        self.sell_unit = unit * (one - fee)
        self.buy_unit = unit * (one + fee)
        return 0


# One leg while it is walked: the best levels of its side, of which `used` may be taken.
@cython.final
cdef class _Leg:
    cdef _Member member
    cdef int32_t market_index
    cdef bint is_buy
    cdef list ticks
    cdef list lots
    cdef Py_ssize_t used
    cdef bint is_capped          # every level that may be taken was
    cdef object filled           # lots
    cdef object cost             # ticks * lots
    cdef object worst_ticks

    # Take the levels in order, up to `limit` lots and a cost of `budget`, where they are given.
    cdef int take(self, object limit, object budget) except -1:
        cdef Py_ssize_t i
        filled = 0
        cost = 0
        self.is_capped = True
        for i in range(self.used):
            ticks = self.ticks[i]
            lots = self.lots[i]
            if limit is not None:
                lots = min(lots, limit - filled)
            if budget is not None:
                lots = min(lots, (budget - cost) // ticks)
            if lots > 0:
                self.worst_ticks = ticks
                filled += lots
                cost += lots * ticks
            if lots < self.lots[i]:
                self.is_capped = False
                break
        self.filled = filled
        self.cost = cost
        return 0

    # Put an amount in, None for any; returns what comes out.
    cdef object forward(self, object amount):
        if self.is_buy:
            self.take(None, None if amount is None else amount // self.member.buy_unit)
            return self.filled * self.member.lot_unit
        self.take(None if amount is None else amount // self.member.lot_unit, None)
        return self.cost * self.member.sell_unit

    # Shrink to the least that still brings `amount`.
    cdef int shrink(self, object amount) except -1:
        if self.is_buy:
            return self.take(-(-amount // self.member.lot_unit), None)
        missing = -(-amount // self.member.sell_unit)
        limit = 0
        for i in range(self.used):
            lots = min(self.lots[i], -(-missing // self.ticks[i]))
            limit += lots
            missing -= lots * self.ticks[i]
            if missing <= 0:
                break
        return self.take(limit, None)

    # What goes in and comes out as it was filled.
    cdef object needs(self):
        if self.is_buy:
            return self.cost * self.member.buy_unit
        return self.filled * self.member.lot_unit

    cdef object brings(self):
        if self.is_buy:
            return self.filled * self.member.lot_unit
        return self.cost * self.member.sell_unit

    cdef object trade(self):
        side = "buy" if self.is_buy else "sell"
        return CycleLeg(self.market_index, side, self.worst_ticks, self.filled)

    cdef bint meets_minimums(self):
        cdef Market market = self.member.market
        return self.filled >= market.min_lots and self.cost >= market.min_notional_units


cdef _Leg _leg(_Member member, int32_t arc):
    cdef nk_level levels[DEPTH_MAX]
    cdef _Leg leg = _Leg.__new__(_Leg)
    cdef const nk_side *side
    cdef size_t i
    leg.member = member
    leg.market_index = arc // 2
    leg.is_buy = arc % 2
    side = &member.book.book.asks if leg.is_buy else &member.book.book.bids
    leg.ticks = []
    leg.lots = []
    for i in range(nk_side_depth(side, DEPTH_MAX, levels)):
        leg.ticks.append(levels[i].price_ticks)
        leg.lots.append(levels[i].size_lots)
    leg.used = 1
    return leg


# Whether what the last level of every leg brings for one that goes in is at least up / down.
cdef bint _pays(list legs, object up, object down) except -1:
    cdef _Leg leg
    cdef object brought = down
    cdef object given = up
    for leg in legs:
        ticks = leg.ticks[leg.used - 1]
        if leg.is_buy:
            brought *= leg.member.lot_unit
            given *= ticks * leg.member.buy_unit
        else:
            brought *= ticks * leg.member.sell_unit
            given *= leg.member.lot_unit
    return brought >= given


# Fill the legs for the largest input up to `budget` of which every part pays; False for none.
cdef bint _size(list legs, object budget, object up, object down) except -1:
    cdef _Leg leg
    cdef _Leg narrow
    if not _pays(legs, up, down):
        return False
    while True:
        amount = budget
        narrow = None
        for leg in legs:
            amount = leg.forward(amount)
            if leg.is_capped:
                narrow = leg
        if narrow is None or narrow.used == len(narrow.ticks):
            return amount > 0
        narrow.used += 1
        if not _pays(legs, up, down):
            return amount > 0  # the level that does not pay was not taken from


@cython.final
cdef class CycleScanner:
    """All cycles of three (or four) markets that pass through a start asset.

    Parameters
    ----------
    markets : sequence of Market
        Their positions are the indexes used everywhere below. Fees are taken to be taker fees.
    start_assets : sequence of str
        Where a cycle may begin and end.
    max_length : {3, 4}
        Trades in a cycle, at most.
    books : sequence of OrderBook or None
        One per market, or None where there is none yet; see `set_book`.
    threshold : Decimal
        Least profit as a fraction of what goes in, of the whole and of its last part; at least 0.
    budgets : mapping of str to Decimal or None
        Most that may go in, by start asset; those without are bounded by depth alone.

    Raises
    ------
    ConfigError
        An argument outside its range.

    Notes
    -----
    The scanner reads the books when it is asked and keeps no prices but the rates of the best
    ones, as of the last `update` of their market. A leg takes at most 128 levels.
    """

    def __cinit__(
        self,
        markets,
        start_assets,
        max_length=3,
        *,
        books=None,
        threshold=Decimal(0),
        budgets=None,
    ):
        if isinstance(start_assets, str):
            raise TypeError(f"start_assets must be a sequence of names, was {start_assets!r}")
        if max_length not in (NK_CYCLE_LENGTH_MIN, NK_CYCLE_LENGTH_MAX):
            raise ConfigError(f"max_length must be 3 or 4, was {max_length!r}")
        self.max_length = max_length
        self.starts = tuple(dict.fromkeys(start_assets))
        if not self.starts:
            raise ConfigError("start_assets must name at least one asset")
        self.assets = {}
        self.members = []
        self.budgets = {}
        self.threshold = threshold
        markets = list(markets)
        books = [None] * len(markets) if books is None else list(books)
        if len(books) != len(markets):
            raise ConfigError(f"{len(books)} books for {len(markets)} markets")
        for market, book in zip(markets, books):
            self.append(market, book)
        self.rebuild()
        for asset, amount in (budgets or {}).items():
            self.set_budget(asset, amount)

    def __dealloc__(self):
        nk_cycle_free(&self.index)
        free(self.entries)
        free(self.hits)

    @property
    def threshold(self):
        """Least profit as a fraction of what goes in."""
        return self.threshold_value

    @threshold.setter
    def threshold(self, value):
        if not isinstance(value, Decimal) and type(value) is not int:
            raise TypeError(f"threshold must be Decimal, was {type(value).__name__}")
        if not 0 <= value <= 1000:
            raise ConfigError(f"threshold must be 0..1000, was {value}; 0.1 % is 0.001")
        self.threshold_value = Decimal(value)
        self.limit = float(1 + self.threshold_value) * SCREEN_SLACK
        # 1 + threshold as a fraction, for exact comparisons.
        self.least = EXACT.add(1, self.threshold_value).as_integer_ratio()

    @property
    def start_assets(self):
        """Where a cycle may begin and end."""
        return self.starts

    @property
    def cycle_count(self):
        """Directed cycles that are watched."""
        return self.index.tables[0].count + self.index.tables[1].count

    @property
    def markets(self):
        """The markets by index, None for those removed."""
        cdef _Member member
        return tuple([None if member is None else member.market for member in self.members])

    def set_book(self, index, OrderBook book):
        """Give a market its book, or None to take it away."""
        cdef int32_t i = self.checked(index)
        cdef _Member member = self.members[i]
        if book is not None and book.market != member.market:
            raise ConfigError(f"the book of {book.market.symbol} for {member.market.symbol}")
        self.entries[i].book = NULL if book is None else &book.book
        member.book = book
        nk_cycle_refresh(&self.index, i)

    def set_budget(self, str asset not None, amount):
        """Bound what may go into a cycle that starts with `asset`; None lifts the bound."""
        if asset not in self.starts:
            raise ConfigError(f"{asset!r} is no start asset; those are {', '.join(self.starts)}")
        if amount is None:
            self.budgets.pop(asset, None)
            return
        if not isinstance(amount, Decimal) and type(amount) is not int:
            raise TypeError(f"a budget must be Decimal or None, was {type(amount).__name__}")
        amount = Decimal(amount)
        if not amount.is_finite() or amount < 0 or amount.adjusted() > 30:
            raise ConfigError(f"a budget must be 0 or more and finite, was {amount}")
        self.budgets[asset] = amount

    def pause(self, index, *, buys=True, sells=True):
        """Let no cycle buy (or sell, or both) on a market until `resume`."""
        cdef int32_t i = self.checked(index)
        cdef _Member member = self.members[i]
        member.pauses_buys = member.pauses_buys or buys
        member.pauses_sells = member.pauses_sells or sells
        self.admit(i)
        nk_cycle_refresh(&self.index, i)

    def resume(self, index):
        """Undo `pause`; what the market itself pauses stays paused."""
        cdef int32_t i = self.checked(index)
        cdef _Member member = self.members[i]
        member.pauses_buys = False
        member.pauses_sells = False
        self.admit(i)
        nk_cycle_refresh(&self.index, i)

    def add_market(self, Market market not None, OrderBook book=None):
        """Add a market while running; returns its index. Lists all cycles anew."""
        self.append(market, book)
        try:
            self.rebuild()
        except MemoryError:
            self.members.pop()
            raise
        return len(self.members) - 1

    def remove_market(self, index):
        """Take a market out while running; the others keep their indexes. Lists all cycles anew."""
        cdef int32_t i = self.checked(index)
        self.entries[i].is_listed = False
        self.entries[i].book = NULL
        self.members[i] = None
        nk_cycle_refresh(&self.index, i)
        self.rebuild()

    def update(self, index):
        """Look at the cycles through a market whose book has changed.

        Returns
        -------
        Opportunity or None
            The one of the highest ratio; the first found among equals.
        """
        cdef int32_t i = self.checked(index)
        nk_cycle_refresh(&self.index, i)
        if self.screen(i) == 0:
            return None
        best = None
        for ratio, arcs in self.candidates():
            # No cycle brings more than its screen says, so none of the rest can be better.
            if best is not None and ratio < (1 + float(best.ratio)) * SCREEN_SLACK:
                break
            for opportunity in self.verdicts(arcs):
                if best is None or opportunity.ratio > best.ratio:
                    best = opportunity
        return best

    def scan(self, *, refresh=True):
        """Look at every cycle.

        Parameters
        ----------
        refresh : bool
            Read the best prices of every book first. Without it the screen has those of
            each market's last `update`, and may miss a cycle but never invents one.

        Returns
        -------
        list of Opportunity
            One for each cycle and start asset that pays, highest ratio first.
        """
        cdef int32_t i
        if refresh:
            for i in range(self.index.market_count):
                nk_cycle_refresh(&self.index, i)
        found = []
        self.screen(-1)
        for _, arcs in self.candidates():
            found += self.verdicts(arcs)
        found.sort(key=attrgetter("ratio"), reverse=True)
        return found

    cdef int append(self, Market market, OrderBook book) except -1:
        cdef int32_t count = <int32_t>len(self.members)
        cdef int32_t room
        cdef void *grown
        cdef nk_cycle_market *entry
        cdef _Member member
        if market is None:
            raise TypeError("a market must be a Market, was None")
        if market.base == market.quote:
            raise ConfigError(f"{market.symbol} trades an asset for itself")
        if book is not None and book.market != market:
            raise ConfigError(f"the book of {book.market.symbol} for {market.symbol}")
        if count == NK_CYCLE_MARKETS_MAX:
            raise ConfigError(f"at most {NK_CYCLE_MARKETS_MAX} markets")
        if count == self.entry_capacity:
            room = max(64, 2 * count)
            grown = realloc(self.entries, <size_t>room * sizeof(nk_cycle_market))
            if grown == NULL:
                raise MemoryError(f"no room for {room} markets")
            self.entries = <nk_cycle_market *>grown
            self.entry_capacity = room
            self.index.markets = self.entries
        member = _Member.__new__(_Member)
        member.market = market
        member.book = book
        entry = &self.entries[count]
        entry.base = self.assets.setdefault(market.base, len(self.assets))
        entry.quote = self.assets.setdefault(market.quote, len(self.assets))
        entry.sell_scale = float(EXACT.multiply(market.tick_size, 1 - market.taker_fee))
        entry.buy_scale = 1 / float(EXACT.multiply(market.tick_size, 1 + market.taker_fee))
        entry.book = NULL if book is None else &book.book
        entry.is_listed = True
        self.members.append(member)
        self.admit(count)
        return 0

    # Let through what neither the market nor the caller pauses.
    cdef int admit(self, int32_t i) except -1:
        cdef _Member member = self.members[i]
        cdef Market market = member.market
        cdef bint is_open = market.is_active and not market.is_paused
        self.entries[i].can_buy = is_open and not (market.pause_buys or member.pauses_buys)
        self.entries[i].can_sell = is_open and not (market.pause_sells or member.pauses_sells)
        return 0

    cdef int rebuild(self) except -1:
        cdef _Member member
        cdef int32_t i
        cdef int32_t count = <int32_t>len(self.members)
        is_start = bytearray(len(self.assets) + 1)
        for name in self.starts:
            if name in self.assets:
                is_start[self.assets[name]] = 1
        self.places = max([member.places() for member in self.members if member is not None] or [0])
        for member in self.members:
            if member is not None:
                member.scale(self.places)
        if nk_cycle_build(
            &self.index,
            self.entries,
            count,
            <const cbool *>PyByteArray_AS_STRING(is_start),
            <int32_t>len(self.assets),
            self.max_length,
        ) != NK_OK:
            raise MemoryError(f"no room for the cycles of {count} markets")
        for i in range(count):
            nk_cycle_refresh(&self.index, i)
        return 0

    cdef int32_t checked(self, object index) except -1:
        cdef int64_t i = PyNumber_Index(index)
        if i < 0 or i >= self.index.market_count or self.members[i] is None:
            raise IndexError(f"no market has the index {index}")
        return <int32_t>i

    # Put what passes the screen into self.hits, of all cycles when market is -1; how many.
    cdef int64_t screen(self, int32_t market) except -1:
        cdef int64_t count
        cdef void *grown
        while True:
            if market < 0:
                count = nk_cycle_screen_all(&self.index, self.limit, self.hits, self.hit_capacity)
            else:
                count = nk_cycle_screen_market(
                    &self.index, market, self.limit, self.hits, self.hit_capacity
                )
            if count <= self.hit_capacity:
                self.hit_count = count
                return count
            grown = realloc(self.hits, <size_t>(2 * count) * sizeof(nk_cycle_hit))
            if grown == NULL:
                raise MemoryError(f"no room for {count} candidates")
            self.hits = <nk_cycle_hit *>grown
            self.hit_capacity = 2 * count

    # (ratio, arcs) of self.hits, highest ratio first.
    cdef list candidates(self):
        cdef int64_t i
        cdef int32_t j
        cdef list result = []
        for i in range(self.hit_count):
            arcs = [self.hits[i].arcs[j] for j in range(self.hits[i].length)]
            result.append((self.hits[i].ratio, arcs))
        result.sort(key=itemgetter(0), reverse=True)
        return result

    # The opportunities of a cycle, one for each start asset on it.
    cdef list verdicts(self, list arcs):
        cdef list result = []
        cdef Py_ssize_t i
        for i in range(len(arcs)):
            asset = self.source(arcs[i])
            if asset in self.starts:
                opportunity = self.verdict(asset, arcs[i:] + arcs[:i])
                if opportunity is not None:
                    result.append(opportunity)
        return result

    cdef object source(self, int32_t arc):
        cdef _Member member = self.members[arc // 2]
        if member is None:
            return None
        return member.market.quote if arc % 2 else member.market.base

    cdef object verdict(self, str asset, list arcs):
        cdef _Leg leg
        cdef _Member member
        cdef Py_ssize_t i
        cdef list legs = []
        for arc in arcs:
            member = self.members[arc // 2]
            if member is None or member.book is None or member.book.book.state != NK_BOOK_LIVE:
                return None
            leg = _leg(member, arc)
            if not leg.ticks:
                return None
            legs.append(leg)
        up, down = self.least
        budget = self.budgets.get(asset)
        if budget is not None:
            budget = int(budget.scaleb(self.places, EXACT))
        if not _size(legs, budget, up, down):
            return None
        # What a leg cannot use, because lots are whole, the legs before it need not buy.
        for i in range(len(legs) - 1, 0, -1):
            (<_Leg>legs[i - 1]).shrink((<_Leg>legs[i]).needs())
        for leg in legs:
            if not leg.meets_minimums():
                return None
        given = (<_Leg>legs[0]).needs()
        brought = (<_Leg>legs[len(legs) - 1]).brings()
        if brought <= given or brought * down < given * up:
            return None
        input_amount = _amount(given, self.places)
        profit = _amount(brought - given, self.places)
        return Opportunity(
            asset,
            tuple([leg.trade() for leg in legs]),
            input_amount,
            _amount(brought, self.places),
            profit,
            FLOOR.divide(profit, input_amount),
        )


# Units of 10**-places as a Decimal without needless zeros.
cdef object _amount(object units, int places):
    while places > 0 and units % 10 == 0:
        units //= 10
        places -= 1
    return Decimal(units).scaleb(-places, EXACT)
