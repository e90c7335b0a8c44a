import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.core.bucket import TokenBucket

NS = 10**9


@given(
    st.integers(1, 50),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 3 * NS), st.booleans()), max_size=60),
)
def test_a_bucket_is_one_that_fills_token_by_token(per_second, burst, requests):
    bucket, tokens, now = TokenBucket(per_second, burst), burst * NS, 0
    interval = NS // per_second
    for pause, is_reserved in requests:
        now += pause
        # Counted as whole intervals of tokens, in units of 1 / NS of one.
        tokens = min(tokens + pause * NS // interval, burst * NS)
        ready = bucket.ready(now)
        assert (ready == now) == (tokens >= NS) or abs(tokens - NS) < 100
        if is_reserved or ready == now:
            assert (bucket.reserve(now) if is_reserved else bucket.take(now)) == ready
            tokens -= NS
        else:
            assert bucket.take(now) == ready > now


def test_buckets_with_one_memory_share_tokens_and_pauses():
    memory = memoryview(bytearray(16))
    one, other = (TokenBucket(10, 2, memory=memory) for _ in range(2))
    assert [one.take(NS), other.take(NS), one.take(NS)] == [NS, NS, NS + NS // 10]
    one.pause(5 * NS, NS)
    assert other.paused_until(NS) == 5 * NS
    other.pause(4 * NS, NS)
    assert one.paused_until(NS) == 5 * NS
    assert TokenBucket(10, 2).paused_until(NS) == 0


@pytest.mark.parametrize(
    ("per_second", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (2e9, 1), (1, 0), (1e-9, 2)]
)
def test_what_is_no_rate_is_refused(per_second, burst):
    with pytest.raises(ValueError, match="must be"):
        TokenBucket(per_second, burst)


def test_memory_of_another_size_or_place_is_refused():
    for memory in (bytearray(8), memoryview(bytearray(32))[4:20]):
        with pytest.raises(ValueError, match="16 bytes"):
            TokenBucket(1, 1, memory=memory)
    with pytest.raises(BufferError):
        TokenBucket(1, 1, memory=memoryview(bytes(16)))
