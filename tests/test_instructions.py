"""The hot calls take no more instructions than they did: a regression that shows without a clock.

After a change that is worth more instructions, or for a build that the file does not know:
``python -P benchmarks/instructions.py --write``.
"""

import instructions
import pytest


def test_hot_calls_have_not_grown() -> None:
    if reason := instructions.obstacle():
        pytest.skip(f"instructions cannot be counted: {reason}")
    key = instructions.build_key()
    kept = instructions.load()
    if key not in kept:
        pytest.skip(f"benchmarks/instructions.json has no counts for {key!r}")
    assert instructions.grown(instructions.count(), kept[key]) == []


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        ({"sign": 105}, []),
        ({"sign": 50}, []),
        ({"sign": 106}, ["sign: 106 instructions, were 100 (+6.0%)"]),
        ({}, ["sign: counted or kept, not both"]),
        ({"sign": 100, "parse": 3}, ["parse: counted or kept, not both"]),
    ],
)
def test_growth_beyond_the_tolerance_is_named(counted, expected) -> None:
    assert instructions.grown(counted, {"sign": 100}) == expected
