"""Pools: the product of the reserves never falls, and the best size is the best."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.errors import ConfigError
from nkfast.strategies.amm import Pool, least_received
from nkfast.strategies.cycle import Step, convert, evaluate, rate_of

D = Decimal
POOL = Pool("COSA", "PIRATE", D(10_000), D(950_000), D("0.003"))

reserves = st.decimals("0.01", "1e9", places=4)
fees = st.sampled_from([D(0), D("0.001"), D("0.003"), D("0.05")])
pools = st.builds(lambda a, b, fee: Pool("A", "B", a, b, fee), reserves, reserves, fees)
amounts = st.decimals("0.0001", "1e9", places=4)


@given(pools, amounts)
def test_the_product_of_the_reserves_never_falls(pool: Pool, amount: Decimal) -> None:
    got = pool.received("A", amount)
    before = Fraction(pool.base_reserve) * Fraction(pool.quote_reserve)
    after = (Fraction(pool.base_reserve) + Fraction(amount)) * (Fraction(pool.quote_reserve) - got)
    assert after >= before
    assert (after == before) == (pool.fee_rate == 0)
    assert got < Fraction(pool.quote_reserve)


@given(pools, amounts)
def test_what_is_needed_for_what_is_received_is_what_was_paid(pool: Pool, paid: Decimal) -> None:
    assert pool.needed("A", pool.received("A", paid)) == Fraction(paid)


@given(pools, amounts)
def test_a_swap_is_worse_than_the_spot_price_by_fee_and_curve(pool: Pool, paid: Decimal) -> None:
    swap = pool.swap("A", paid)
    assert swap.price == pool.spot("A") * (1 - swap.impact)
    assert swap.impact >= Fraction(pool.fee_rate)
    assert swap.fee == Fraction(paid) * Fraction(pool.fee_rate)


@given(pools, st.decimals("0", "0.9", places=3))
def test_d54_the_size_for_an_impact_has_that_impact_beside_the_fee(
    pool: Pool, impact: Decimal
) -> None:
    size = pool.size_for_impact("A", impact)
    if size:
        after_fee = size * (1 - Fraction(pool.fee_rate))
        price = pool.received("A", size) / after_fee
        assert 1 - price / pool.spot("A") == Fraction(impact)


@given(pools, st.decimals("0.001", "1000", places=3), st.decimals("0.001", "1000", places=3))
def test_no_other_size_earns_more_than_the_best(pool: Pool, bought: Decimal, sold: Decimal) -> None:
    def earns(amount: Fraction) -> Fraction:
        return pool.received("A", amount * Fraction(bought)) * Fraction(sold) - amount

    best = pool.best_size("A", bought, sold)
    if not best:
        smallest = Fraction(1, 10**12)
        assert earns(smallest) <= smallest / 10**6
        return
    crumb = Fraction(1, 10**20)  # the root is rounded
    for other in (best / 2, best * Fraction(99, 100), best * Fraction(101, 100), best * 2):
        assert earns(best) + crumb >= earns(other)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((0, 1, "0"), "base_reserve"),
        ((1, -1, "0"), "quote_reserve"),
        ((1, 1, "1"), "fee_rate"),
        ((1, 1, "-0.1"), "fee_rate"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(words: tuple[int, int, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Pool("A", "B", D(words[0]), D(words[1]), D(words[2]))
    assert caught.value.place == said


def test_what_cannot_be_swapped_is_refused() -> None:
    with pytest.raises(ConfigError, match="the pool holds COSA and PIRATE"):
        POOL.received("BTC", 1)
    with pytest.raises(ConfigError, match="the pool holds 950000"):
        POOL.needed("COSA", 950_000)
    with pytest.raises(ConfigError, match="at least 0"):
        POOL.received("COSA", -1)
    with pytest.raises(ConfigError, match="more than 0"):
        POOL.swap("COSA", 0)
    with pytest.raises(ConfigError, match="less than 1"):
        POOL.size_for_impact("COSA", 1)
    assert POOL.best_size("COSA", 0, 1) == 0
    assert least_received(D("181.32"), D("0.01")) == Fraction("179.5068")


# Cycles by rate ----------------------------------------------------------------------------------


def test_a_cycle_is_walked_exactly() -> None:
    steps = [
        Step("USDT", "ETH", rate_of("buy", D(3)), D("0.002")),
        Step("ETH", "USDT", rate_of("sell", D("3.03")), D("0.002"), D("0.001")),
    ]
    result = evaluate(D(100), steps)
    assert result.final == Fraction(100) * Fraction("1.01") * Fraction("0.998") ** 2 * Fraction(
        "0.999"
    )
    assert result.amounts == (Fraction(100, 3) * Fraction("0.998"), result.final)
    assert result.profit == result.final - 100
    assert result.is_worth(result.ratio)
    assert not result.is_worth(result.ratio + Fraction(1, 10**30))
    assert convert(steps[0], 0) == 0


@pytest.mark.parametrize(
    ("start", "steps"),
    [
        (0, [Step("A", "B", 1), Step("B", "A", 1)]),
        (1, []),
        (1, [Step("A", "B", 1), Step("C", "A", 1)]),
        (1, [Step("A", "B", 1), Step("B", "C", 1)]),
        (1, [Step("A", "B", 0), Step("B", "A", 1)]),
        (1, [Step("A", "B", 1, 1), Step("B", "A", 1)]),
        (1, [Step("A", "B", 1), Step("B", "A", 1, 0, -1)]),
    ],
)
def test_what_is_no_cycle_is_refused(start: int, steps: list[Step]) -> None:
    with pytest.raises(ConfigError):
        evaluate(start, steps)


def test_a_price_of_nothing_has_no_rate() -> None:
    with pytest.raises(ConfigError, match="more than 0"):
        rate_of("buy", D(0))
    with pytest.raises(ConfigError, match="at least 0"):
        convert(Step("A", "B", 1), -1)
