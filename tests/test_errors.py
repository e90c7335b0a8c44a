"""The tree of exceptions is what its docstring says, and every one survives a pickle."""

import pickle
import re

import pytest

from nkfast import errors

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.NkfastError)
}


def drawn_tree() -> dict[str, str | None]:
    """Read {class: parent} from the docstring, by indentation."""
    tree: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^(\s*)[*\-+.] (\w+)", line)
        if not match:
            continue
        indent, name = len(match[1]), match[2]
        while path and path[-1][0] >= indent:
            path.pop()
        tree[name] = path[-1][1] if path else None
        path.append((indent, name))
    return tree


def test_docstring_draws_the_tree() -> None:
    drawn = drawn_tree()
    assert set(drawn) == set(CLASSES)
    for name, parent in drawn.items():
        if parent is not None:
            assert CLASSES[name].__bases__[0].__name__ == parent, name


def test_all_names_every_class() -> None:
    assert set(errors.__all__) == set(CLASSES) | {"Sent"}


@pytest.mark.parametrize(
    "error",
    [
        errors.ConfigError("unknown key 'setp'; did you mean 'step'?", "grid.toml:14"),
        errors.ModeError("createorder", "monitor"),
        errors.TooManyDigitsError("1.234", "2 decimals"),
        errors.BookGapError("BTC/USDT", 5, 7),
        errors.BookFullError("BTC/USDT", 10),
        errors.FrameError("bad price", "{"),
        errors.InsufficientFundsError("no funds", code=20001, endpoint="/createorder"),
        errors.RateLimitError("slow down", retry_after_seconds=2.5, sent="no"),
        errors.OutcomeUnknownError("timed out", endpoint="newOrder", sent="maybe"),
        errors.OrderError("nk1", "done", "accepted"),
        errors.RiskError("MAX_NOTIONAL", "12", "10"),
        errors.JournalLockedError("j.db", "held by process 7"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_pickle_with_all_their_fields(error: errors.NkfastError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__


def test_every_error_says_whether_the_call_had_reached_the_venue():
    for kind in (errors.ConfigError, errors.ModeError, errors.BookStaleError, errors.RiskError):
        assert kind.sent == "no"
    assert errors.WireError("not JSON").sent == errors.FrameError("cut").sent == "yes"
    assert errors.VenueError("words").sent == "yes"
    unknown = errors.OutcomeUnknownError("lost", sent="maybe")
    assert unknown.sent == pickle.loads(pickle.dumps(unknown)).sent == "maybe"
