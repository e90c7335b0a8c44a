"""Vectors of the reference bot: which function of ours answers each, and when two answers agree.

A vector is a function of the reference with inputs and outputs. An adapter is what that function is
in nkfast: it takes the inputs as they stand in the file and returns what the outputs should be, in
the same shape, or raises. One module a subject; each adapter names its functions:

    @adapts("strategies.grid.LadderGridStrategy._apply_step")
    def apply_step(given: Given) -> Any: ...

An adapter works for any inputs of its functions: it computes nothing that nkfast should compute.
"""

import builtins
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from nkfast import errors

Adapter = Callable[["Given"], Any]

ADAPTERS: dict[str, Adapter] = {}

#: Prices and quantities of orders; a number of few digits there has been rounded to a market's
#: steps, and must be the very same.
_QUANTIZED = frozenset({"price", "qty", "quantity", "size", "amount"})
_QUANTIZED_DIGITS = 20
_TOLERANCE = Decimal("1e-20")
#: One of many digits was not rounded there, and is with us: to the finest lots that there are.
_LOT_TOLERANCE = Decimal("1e-15")
_FINEST_LOT = Decimal("1e-17")


class Given(NamedTuple):
    """One question: the inputs of a vector, and whether it shows a defect of the reference.

    Where it does not, what the reference did is asked for, with the settings that make nkfast do
    the same; where it does, nkfast's own rule is.
    """

    function: str
    inputs: Mapping[str, Any]
    is_defect: bool = False
    #: For the events of a scenario, which some vectors have only there.
    outputs: Any = None

    def __getitem__(self, name: str) -> Any:
        return self.inputs[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An input that may be missing."""
        value = self.inputs.get(name)
        return default if value is None else value

    def number(self, name: str) -> Decimal:
        """An input that is a number."""
        return Decimal(str(self.inputs[name]))

    def numbers(self, *names: str) -> tuple[Decimal, ...]:
        """Several."""
        return tuple(self.number(name) for name in names)


class Words(NamedTuple):
    """A text for people: only whether there is one counts."""

    text: str


def adapts(*functions: str) -> Callable[[Adapter], Adapter]:
    """Register an adapter for functions of the reference, named as the vectors name them."""

    def register(adapter: Adapter) -> Adapter:
        for function in functions:
            assert function not in ADAPTERS, f"{function} has two adapters"
            ADAPTERS[function] = adapter
        return adapter

    return register


def check(vector: Mapping[str, Any]) -> None:
    """Ask nkfast what a vector asks and compare; `AssertionError` where they differ."""
    adapter = ADAPTERS.get(vector["function"])
    assert adapter is not None, f"nothing of ours answers {vector['function']}"
    is_defect = vector["conformance"] == "legacy_defect"
    expected = vector["expected"] if is_defect else vector["outputs"]
    given = Given(vector["function"], vector["inputs"], is_defect, vector["outputs"])
    raises = isinstance(expected, Mapping) and expected.get("raises")
    try:
        got = adapter(given)
    except Exception as error:
        if not raises:
            raise
        kind = _error_type(raises)
        assert isinstance(error, kind), f"{error!r} where {raises} is asked for"
        return
    assert not raises, f"{got!r} where {raises} is asked for"
    problem = difference(got, expected, is_exact=vector["exact"], is_partial=is_defect)
    assert problem is None, f"{vector['id']}: {problem}"


def difference(
    got: Any, expected: Any, *, is_exact: bool, is_partial: bool = False, path: str = ""
) -> str | None:
    """Say where an answer differs from what is expected, None where it agrees.

    Parameters
    ----------
    is_exact : bool
        Whether numbers must be equal; else they may differ by 1e-20 of their size. The prices and
        quantities of orders must be equal where they were rounded to steps.
    is_partial : bool
        Whether keys that are not expected may be there.
    """
    here = path or "the answer"
    if isinstance(expected, Mapping):
        if not isinstance(got, Mapping):
            return f"{here} is {got!r}, expected {expected!r}"
        extra = set() if is_partial else set(got) - set(expected)
        if extra or set(expected) - set(got):
            return f"{here} has {sorted(got)}, expected {sorted(expected)}"
        pairs = [(f"{path}.{key}", got[key], expected[key]) for key in expected]
    elif isinstance(expected, list):
        if not isinstance(got, list | tuple) or len(got) != len(expected):
            return f"{here} is {got!r}, expected {expected!r}"
        pairs = [
            (f"{path}[{index}]", *both)
            for index, both in enumerate(zip(got, expected, strict=True))
        ]
    elif isinstance(got, Words):
        is_same = isinstance(expected, str) and bool(expected) == bool(got.text)
        return None if is_same else f"{here} is {got.text!r}, expected {expected!r}"
    else:
        return _difference_of_leaves(got, expected, here, is_exact=is_exact)
    for place, mine, theirs in pairs:
        problem = difference(mine, theirs, is_exact=is_exact, is_partial=is_partial, path=place)
        if problem is not None:
            return problem
    return None


def _difference_of_leaves(got: Any, expected: Any, here: str, *, is_exact: bool) -> str | None:
    problem = f"{here} is {got!r}, expected {expected!r}"
    if isinstance(expected, bool) or expected is None or isinstance(got, bool):
        return None if got is expected else problem
    theirs = _number(expected)
    if theirs is None:
        return None if got == expected else problem
    mine = got if isinstance(got, Decimal) else _number(got)
    if mine is None:
        return problem
    is_of_order = here.rpartition(".")[2] in _QUANTIZED
    is_rounded = is_of_order and len(theirs.as_tuple().digits) < _QUANTIZED_DIGITS
    if is_exact or is_rounded:
        allowed = Decimal(0)
    elif is_of_order:
        allowed = max(abs(theirs) * _LOT_TOLERANCE, _FINEST_LOT)
    else:
        allowed = abs(theirs) * _TOLERANCE
    return None if abs(mine - theirs) <= allowed else problem


def _number(value: Any) -> Decimal | None:
    if not isinstance(value, str | int):
        return None
    try:
        return Decimal(value)
    except InvalidOperation:
        return None


def _error_type(name: str) -> type[BaseException]:
    """The reference raises Python's own errors; ours are those as well (a ConfigError is one)."""
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    assert isinstance(kind, type), f"no error type {name!r}"
    assert issubclass(kind, BaseException), f"{name!r} is not an error"
    return kind


def places(*amounts: Decimal) -> int:
    """As many decimals as a market's lots, or ticks, may have for amounts of this size."""
    return 18 - max(max(amount.adjusted() + 1, 1) for amount in amounts)
