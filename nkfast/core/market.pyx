"""One market's trading rules, and the only place that turns money into ticks and lots.

A tick is ``10**-price_decimals`` units of the quote asset for one unit of base, a lot is
``10**-quantity_decimals`` units of base. Inside the core both are counted in 64-bit integers;
above it money is `decimal.Decimal`. No conversion here rounds unless the call names a rounding,
and none depends on the caller's decimal context.
"""

cimport cython
from libc.stdint cimport int64_t

from collections.abc import Mapping
from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
    Overflow,
)
from typing import Literal

from nkfast.core.fixed cimport (
    NK_E_NAN,
    NK_E_OVERFLOW,
    NK_E_SIGN,
    NK_E_TOO_MANY_DIGITS,
    NK_FIXED_DECIMALS_MAX,
    format_count,
    integer_of,
    parse_text,
    raise_number,
)

from nkfast.errors import FixedPointError, WireError

__all__ = ["BUY", "SELL", "Market", "Side"]

BUY = 1
SELL = -1
Side = Literal["buy", "sell"]


# Nothing is taken over from decimal.DefaultContext, which a program may have changed.
cdef object context(object rounding, list traps):
    return Context(
        prec=60,
        rounding=rounding,
        Emin=-999_999,
        Emax=999_999,
        capitals=1,
        clamp=0,
        flags=[],
        traps=traps,
    )


# Products of two 19-digit counts and a rate; whatever would not be exact is an error.
cdef object multiply_exactly = context(
    ROUND_HALF_EVEN, [InvalidOperation, Overflow, Inexact]
).multiply
# Rounding to the grid is inexact on purpose; only a result of more than 60 digits is refused.
cdef dict QUANTIZE = {
    "floor": context(ROUND_FLOOR, [InvalidOperation]).quantize,
    "ceil": context(ROUND_CEILING, [InvalidOperation]).quantize,
    "half_even": context(ROUND_HALF_EVEN, [InvalidOperation]).quantize,
}
# No count of 10^-18 in 64 bits has a digit above this power of ten.
cdef int ADJUSTED_MAX = 18
# A count of so many digits fits 64 bits whatever they are.
cdef int SAFE_DIGITS = 18
# What NonKYC charges at the base tier (protocol.md 3); the venue's metadata has no fees.
cdef object BASE_FEE = Decimal("0.002")
# NonKYC writes this for "no highest price" (protocol.md 3).
cdef object NO_MAX_PRICE = Decimal(999999999)


cdef int side_sign(object side) except 0:
    if side == "buy":
        return 1
    if side == "sell":
        return -1
    raise ValueError(f"side must be 'buy' or 'sell', was {side!r}")


cdef int64_t count_of(object number, int decimals) except -1:
    cdef int64_t count
    if isinstance(number, Decimal):
        count = count_of_decimal(number, decimals)
    elif isinstance(number, str):
        count = parse_text(number, decimals)
    elif isinstance(number, int) and not isinstance(number, bool):
        # Python prints no integer of thousands of digits, and none of those fits.
        if number.bit_length() > 64:
            raise_number(
                NK_E_SIGN if number < 0 else NK_E_OVERFLOW,
                f"of {number.bit_length()} bits",
                decimals,
            )
        count = parse_text(str(number), decimals)
    else:
        raise TypeError(f"money must be Decimal, int or str, was {type(number).__name__}")
    if count < 0:
        raise_number(NK_E_SIGN, number, decimals)
    return count


# Through text, because nothing is quicker (80 ns, against 210 for scaling and converting) and
# because no context can round it.
cdef int64_t count_of_decimal(object number, int decimals) except? -1:
    cdef str text
    if not number.is_finite():
        raise_number(NK_E_NAN, number, decimals)
    text = str(number)
    if "E" not in text and "e" not in text:  # the caller's context chooses the case
        return parse_text(text, decimals)
    # Exponents can name more digits than there is memory, so only sane ones are written out.
    if number.is_zero():
        return 0
    if number.is_signed():
        raise_number(NK_E_SIGN, number, decimals)
    if number.adjusted() > ADJUSTED_MAX:
        raise_number(NK_E_OVERFLOW, number, decimals)
    if number.adjusted() < -NK_FIXED_DECIMALS_MAX:
        raise_number(NK_E_TOO_MANY_DIGITS, number, decimals)
    return parse_text(f"{number:f}", decimals)


# A number of the rules, which unlike prices may be finer than the grid; never negative.
cdef object rule_number(str name, object number):
    if isinstance(number, bool) or not isinstance(number, (Decimal, int, str)):
        raise TypeError(f"{name} must be Decimal, int or str, was {type(number).__name__}")
    try:
        value = Decimal(number)
    except InvalidOperation:
        raise ValueError(f"{name} must be a number, was {number!r}") from None
    if not value.is_finite() or value < 0 or abs(value.adjusted()) > 2 * NK_FIXED_DECIMALS_MAX:
        raise ValueError(f"{name} must be a finite number of 0 or more, was {number!r}")
    return value


cdef object rate(str name, object number):
    value = rule_number(name, number)
    if value >= 1:
        raise ValueError(f"{name} must be a rate below 1, was {number!r}; 0.2 % is 0.002")
    return value


# Least count of 10^-decimals that is not below the number.
cdef object ceil_units(object number, object decimals):
    numerator, denominator = number.as_integer_ratio()
    return -(-numerator * 10 ** decimals // denominator)


@cython.final
cdef class Market:
    """One market's trading rules and the only place that turns money into ticks and lots.

    Immutable; equal and hashed by value; pickles.

    Parameters
    ----------
    symbol : str
        ``BASE/QUOTE``, as in ``"BTC/USDT"``.
    price_decimals, quantity_decimals : int
        Decimal places of one tick and one lot, 0..18.
    market_id : str
        The venue's own id; empty when unknown.
    min_quantity, min_notional : Decimal, int or str
        Least quantity (base) and least price times quantity (quote) of an order; 0 for none.
    min_price, max_price : Decimal, int, str or None
        The band in which the venue takes limit prices; None for none.
    maker_fee, taker_fee : Decimal, int or str
        Rates of the notional, charged in quote: 0.002 is 0.2 %.
    is_active, is_paused, pause_buys, pause_sells, allow_market_orders : bool
        The venue's flags.

    Raises
    ------
    ValueError
        An argument is out of its range; the message names it.
    TypeError
        A number is a float: money never is.

    Examples
    --------
    >>> market = Market("BTC/USDT", 2, 6)
    >>> market.price_to_ticks(Decimal("64000.5"))
    6400050
    >>> market.notional(6400050, 1500)
    Decimal('96.00075000')
    """

    def __cinit__(
        self,
        str symbol not None,
        price_decimals=8,
        quantity_decimals=8,
        *,
        str market_id not None="",
        min_quantity=0,
        min_notional=0,
        min_price=None,
        max_price=None,
        maker_fee=BASE_FEE,
        taker_fee=BASE_FEE,
        bint is_active=True,
        bint is_paused=False,
        bint pause_buys=False,
        bint pause_sells=False,
        bint allow_market_orders=True,
    ):
        base, _, quote = symbol.partition("/")
        if not base or not quote or "/" in quote:
            raise ValueError(f"symbol must read BASE/QUOTE, was {symbol!r}")
        if not 0 <= integer_of(price_decimals) <= NK_FIXED_DECIMALS_MAX:
            raise ValueError(
                f"price_decimals must be 0..{NK_FIXED_DECIMALS_MAX}, was {price_decimals}"
            )
        if not 0 <= integer_of(quantity_decimals) <= NK_FIXED_DECIMALS_MAX:
            raise ValueError(
                f"quantity_decimals must be 0..{NK_FIXED_DECIMALS_MAX}, was {quantity_decimals}"
            )
        self.symbol = symbol
        self.base = base
        self.quote = quote
        self.market_id = market_id
        self.price_decimals = price_decimals
        self.quantity_decimals = quantity_decimals
        self.tick_size = Decimal(format_count(1, price_decimals))
        self.lot_size = Decimal(format_count(1, quantity_decimals))
        self.notional_unit = multiply_exactly(self.tick_size, self.lot_size)
        self.min_quantity = rule_number("min_quantity", min_quantity)
        self.min_notional = rule_number("min_notional", min_notional)
        self.min_price = None if min_price is None else rule_number("min_price", min_price)
        self.max_price = None if max_price is None else rule_number("max_price", max_price)
        if (
            self.min_price is not None
            and self.max_price is not None
            and self.min_price > self.max_price
        ):
            raise ValueError(f"min_price {min_price} is above max_price {max_price}")
        self.maker_fee = rate("maker_fee", maker_fee)
        self.taker_fee = rate("taker_fee", taker_fee)
        self.is_active = is_active
        self.is_paused = is_paused
        self.pause_buys = pause_buys
        self.pause_sells = pause_sells
        self.allow_market_orders = allow_market_orders
        min_lots = max(1, ceil_units(self.min_quantity, quantity_decimals))
        if min_lots > 0x7FFFFFFFFFFFFFFF:
            raise ValueError(
                f"min_quantity {min_quantity} does not fit 64 bits at {quantity_decimals} decimals"
            )
        self.min_lots = min_lots
        self.min_notional_units = ceil_units(
            self.min_notional, price_decimals + quantity_decimals
        )
        self.fields = (
            symbol,
            price_decimals,
            quantity_decimals,
            market_id,
            self.min_quantity,
            self.min_notional,
            self.min_price,
            self.max_price,
            self.maker_fee,
            self.taker_fee,
            is_active,
            is_paused,
            pause_buys,
            pause_sells,
            allow_market_orders,
        )
        self.hash = hash(self.fields)

    @classmethod
    def from_wire(cls, data):
        """Return the market that one object of NonKYC's market lists describes.

        Parameters
        ----------
        data : mapping
            As parsed from JSON. Numbers may be strings, integers or JSON floats (which stand
            for the digits they print); absent, null and empty ones are none. A highest price of
            0 or 999999999 is none. ``minQuote`` counts while ``isMinQuoteActive`` (or
            ``minQuoteActive``) is true. Fees are absent in the wild: then 0.2 %.

        Returns
        -------
        Market

        Raises
        ------
        WireError
            A field is missing or not what it has to be; the message names it.
        """
        try:
            return market_from_wire(cls, data)
        except (ValueError, TypeError) as error:
            raise WireError(f"not a market: {error}", str(data)[:200]) from error

    cdef int64_t ticks_of(self, object price) except -1:
        return count_of(price, self.price_decimals)

    cdef int64_t lots_of(self, object quantity) except -1:
        return count_of(quantity, self.quantity_decimals)

    cdef object price_of(self, int64_t ticks):
        return multiply_exactly(ticks, self.tick_size)

    cdef object quantity_of(self, int64_t lots):
        return multiply_exactly(lots, self.lot_size)

    cdef int64_t min_order_lots(self, int64_t ticks) except -1:
        cdef object lots
        if ticks <= 0:
            raise ValueError(f"price must be positive, was {ticks} ticks")
        lots = -(-self.min_notional_units // ticks)
        if lots > 0x7FFFFFFFFFFFFFFF:
            raise_number(NK_E_OVERFLOW, lots, 0)
        return max(self.min_lots, <int64_t>lots)

    def price_to_ticks(self, price):
        """Return a price as a count of ticks, exactly.

        Parameters
        ----------
        price : Decimal, int or str
            Not negative.

        Returns
        -------
        int

        Raises
        ------
        FixedPointError
            The member of its family that says why the price is no count of ticks.
        TypeError
            The price is a float or something else.
        """
        return self.ticks_of(price)

    def ticks_to_price(self, ticks):
        """Return a count of ticks as a price with the market's decimals."""
        return self.price_of(integer_of(ticks))

    def quantity_to_lots(self, quantity):
        """Return a quantity as a count of lots, exactly; parameters and errors as for prices."""
        return self.lots_of(quantity)

    def lots_to_quantity(self, lots):
        """Return a count of lots as a quantity with the market's decimals."""
        return self.quantity_of(integer_of(lots))

    def round_price(self, price, rounding):
        """Return the price on the market's grid next to `price`.

        Parameters
        ----------
        price : Decimal
            Not negative, of any precision.
        rounding : {"floor", "ceil", "half_even"}

        Returns
        -------
        Decimal
            With the market's decimals.

        Raises
        ------
        FixedPointError
            `price` is negative, not finite or outside 64 bits of ticks.
        """
        return round_to(price, self.tick_size, self.price_decimals, rounding)

    def round_quantity(self, quantity, rounding):
        """Return the quantity on the market's grid next to `quantity`; as `round_price`."""
        return round_to(quantity, self.lot_size, self.quantity_decimals, rounding)

    def notional(self, ticks, lots):
        """Return price times quantity in quote, exactly, with the decimals of both."""
        return multiply_exactly(
            <object>integer_of(ticks) * <object>integer_of(lots), self.notional_unit
        )

    def fee(self, ticks, lots, rate):
        """Return the fee on a fill in quote, exactly: ``notional * rate``, unrounded.

        Parameters
        ----------
        ticks, lots : int
            Price and quantity of the fill.
        rate : Decimal
            `maker_fee`, `taker_fee`, or what the account really pays.

        Returns
        -------
        Decimal

        Raises
        ------
        FixedPointError
            The product has more than 60 digits.
        TypeError
            `rate` is a float.
        """
        try:
            return multiply_exactly(self.notional(ticks, lots), rate)
        except (Inexact, InvalidOperation):
            raise FixedPointError(str(rate)[:64], "a fee of at most 60 digits") from None

    def min_order_quantity(self, price):
        """Return the least quantity that the market takes at this price.

        Parameters
        ----------
        price : Decimal
            Positive and on the market's grid.

        Returns
        -------
        Decimal
            On the lot grid: satisfies `min_quantity` and `min_notional`, and is at least one lot.

        Raises
        ------
        FixedPointError
            `price` is not on the grid, or the quantity is outside 64 bits of lots.
        ValueError
            `price` is 0.
        """
        return self.quantity_of(self.min_order_lots(self.ticks_of(price)))

    def __eq__(self, other):
        if not isinstance(other, Market):
            return NotImplemented
        return self.fields == (<Market>other).fields

    def __hash__(self):
        return self.hash

    def __repr__(self):
        shown = [f"{self.symbol!r}, {self.price_decimals}, {self.quantity_decimals}"]
        default = _rebuild(self.fields[:3])
        for name in FIELDS[3:]:
            value = getattr(self, name)
            if value != getattr(default, name):
                shown.append(f"{name}={value!r}")
        return f"Market({', '.join(shown)})"

    def __reduce__(self):
        return _rebuild, (self.fields,)


cdef tuple FIELDS = (
    "symbol",
    "price_decimals",
    "quantity_decimals",
    "market_id",
    "min_quantity",
    "min_notional",
    "min_price",
    "max_price",
    "maker_fee",
    "taker_fee",
    "is_active",
    "is_paused",
    "pause_buys",
    "pause_sells",
    "allow_market_orders",
)


def _rebuild(fields):
    return Market(**dict(zip(FIELDS, fields)))


cdef object round_to(object number, object unit, int decimals, object rounding):
    if not isinstance(number, Decimal):
        raise TypeError(f"only a Decimal is rounded, was {type(number).__name__}")
    quantize = QUANTIZE.get(rounding)
    if quantize is None:
        raise ValueError(f"rounding must be 'floor', 'ceil' or 'half_even', was {rounding!r}")
    if not number.is_finite():
        raise_number(NK_E_NAN, number, decimals)
    if number.is_signed():
        if not number.is_zero():
            raise_number(NK_E_SIGN, number, decimals)
        number = number.copy_abs()  # no "-0.00" reaches the venue
    try:
        rounded = quantize(number, unit)
    except InvalidOperation:
        raise_number(NK_E_OVERFLOW, number, decimals)
    if rounded.adjusted() + decimals >= SAFE_DIGITS:
        count_of_decimal(rounded, decimals)  # it must fit, too
    return rounded


cdef object market_from_wire(object cls, object data):
    if not isinstance(data, Mapping):
        raise TypeError(f"a mapping is needed, was {type(data).__name__}")
    max_price = wire_number(data, "maxAllowedPrice")
    has_min_notional = wire_flag(data, "isMinQuoteActive", False) or wire_flag(
        data, "minQuoteActive", False
    )
    return cls(
        wire_symbol(data),
        wire_decimals(data, "priceDecimals"),
        wire_decimals(data, "quantityDecimals"),
        market_id=data.get("id") or data.get("_id") or "",
        min_quantity=wire_number(data, "minimumQuantity") or 0,
        min_notional=(wire_number(data, "minQuote") or 0) if has_min_notional else 0,
        min_price=wire_number(data, "minAllowedPrice") or None,
        max_price=None if max_price is None or max_price >= NO_MAX_PRICE else max_price or None,
        maker_fee=wire_rate(data, "makerFee"),
        taker_fee=wire_rate(data, "takerFee"),
        is_active=wire_flag(data, "isActive", True),
        is_paused=wire_flag(data, "isPaused", False),
        pause_buys=wire_flag(data, "pauseBuys", False),
        pause_sells=wire_flag(data, "pauseSells", False),
        allow_market_orders=wire_flag(data, "allowMarketOrders", True),
    )


cdef object wire_symbol(object data):
    symbol = data.get("symbol")
    if not isinstance(symbol, str):
        raise TypeError(f"symbol must be a string, was {symbol!r}")
    return symbol


cdef object wire_decimals(object data, str key):
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} must be an integer, was {value!r}")
    if not 0 <= value <= NK_FIXED_DECIMALS_MAX:
        raise ValueError(f"{key} must be 0..{NK_FIXED_DECIMALS_MAX}, was {value}")
    return value


cdef object wire_number(object data, str key):
    value = data.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, float):
        value = repr(value)  # the digits that were sent, or shorter ones of the same number
    return rule_number(key, value)


cdef object wire_rate(object data, str key):
    value = wire_number(data, key)
    return BASE_FEE if value is None else value


cdef object wire_flag(object data, str key, bint default):
    value = data.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise TypeError(f"{key} must be true or false, was {value!r}")
    return value
