"""Signatures against the standard library, the secret's whereabouts, and nonces that only grow."""

import copy
import gc
import hashlib
import hmac
import pickle
import string
import sys
import threading
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nkfast.core.signing import NonceSource, Signer, backend

API_KEY = "0123456789abcdef0123456789abcdef"
SECRET = "correct horse battery staple, and sixty-four characters of secret"
URL = "https://api.nonkyc.io/api/v2/createorder"
BODY = b'{"symbol":"BTC/USDT","side":"buy","quantity":"0.001","price":"64000.51"}'
# printf of key, URL, body and nonce piped into `openssl dgst -sha256 -hmac SECRET`.
OPENSSL_SIGNATURE = "49ae21c781570e450e0aee1f73b602d006efaf075acfd0946ceb9b6f9907ea9d"
texts = st.text(string.printable, min_size=1, max_size=150)


def expected(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


@pytest.fixture
def signer() -> Signer:
    return Signer(API_KEY, SECRET)


def test_backend_is_one_of_three():
    assert backend() in {"sha_ni", "armv8", "portable"}


# RFC 4231 in full is in tests/csrc, on every backend; these two pass through Python.
def test_rfc_4231():
    assert Signer("k", "Jefe").sign(b"what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
    assert Signer("k", b"\x0b" * 20).sign(b"Hi There") == (
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
    )


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 256, 1000, 100_000])
def test_sign_agrees_with_hmac_at_every_block_boundary(size, signer):
    message = bytes(range(256)) * (size // 256 + 1)
    assert signer.sign(message[:size]) == expected(SECRET, message[:size])


@given(texts, st.binary(max_size=400))
def test_sign_agrees_with_hmac(secret, message):
    assert Signer("key", secret).sign(message) == expected(secret, message)


@given(texts, st.lists(st.tuples(texts, st.binary(max_size=1500)), max_size=8), st.data())
def test_headers_sign_key_url_body_and_nonce(api_key, requests, data):
    signer = Signer(api_key, SECRET)
    for url, body in requests * 2:  # the second time from a kept prefix
        nonce = data.draw(st.integers(1, 2**63 - 1))
        message = api_key.encode() + url.encode() + body + str(nonce).encode()
        assert signer.headers(url, body, nonce) == {
            "X-API-KEY": api_key,
            "X-API-NONCE": str(nonce),
            "X-API-SIGN": expected(SECRET, message),
        }


def test_a_kept_prefix_never_stands_for_another_url(signer):
    # 32 characters of key and 24 of URL are alike, the last 8 of the block alike as well; more
    # URLs than there are places, twice.
    urls = [f"https://{host:02}.example/api/v2/balances" for host in range(40)]
    for url in urls * 2:
        message = f"{API_KEY}{url}5".encode()
        assert signer.headers(url, nonce=5)["X-API-SIGN"] == expected(SECRET, message)


def test_headers_of_a_known_request(signer):
    headers = signer.headers(URL, BODY, 17_000_000_000_000)
    assert headers["X-API-SIGN"] == OPENSSL_SIGNATURE
    assert signer.headers(URL.encode(), BODY, 17_000_000_000_000) == headers


def test_long_messages_give_their_memory_back(signer):
    body = bytes(100_000)
    signer.headers(URL, body, 1)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50):
            signer.headers(URL, body, 1)
        assert tracemalloc.get_traced_memory()[0] - before < len(body)
    finally:
        tracemalloc.stop()


def test_slashes_sign_differently_when_encoded(signer):
    encoded = signer.headers("https://x/?symbol=A%2FB", nonce=1)
    assert encoded != signer.headers("https://x/?symbol=A/B", nonce=1)


def test_headers_take_the_next_nonce():
    nonces = NonceSource(last=2**62)
    signer = Signer(API_KEY, SECRET, nonces=nonces)
    assert signer.headers(URL)["X-API-NONCE"] == str(2**62 + 1)
    assert signer.headers(URL)["X-API-NONCE"] == str(2**62 + 2)
    assert nonces.last == 2**62 + 2


def test_login_signs_its_nonce_alone(signer):
    assert signer.login("abcdefghijklmn") == {
        "algo": "HS256",
        "pKey": API_KEY,
        "nonce": "abcdefghijklmn",
        "signature": expected(SECRET, b"abcdefghijklmn"),
    }


def test_login_nonces_are_random(signer):
    logins = [signer.login() for _ in range(1000)]
    nonces = {login["nonce"] for login in logins}
    assert len(nonces) == 1000
    assert {len(nonce) for nonce in nonces} == {14}
    assert all(nonce.isascii() and nonce.isalnum() for nonce in nonces)
    assert all(login["signature"] == expected(SECRET, login["nonce"].encode()) for login in logins)


@pytest.mark.parametrize(
    ("key", "secret", "message"),
    [
        ("", SECRET, "api_key must not be empty"),
        (API_KEY, "", "api_secret must not be empty"),
        (API_KEY, b"", "api_secret must not be empty"),
        ("ключ", SECRET, "api_key must be ASCII"),
        (API_KEY, "sécret", "api_secret must be ASCII"),
        (API_KEY, b"s\xc3\xa9cret", "api_secret must be ASCII"),
    ],
)
def test_keys_are_ascii_and_not_empty(key, secret, message):
    with pytest.raises(ValueError, match=message) as caught:
        Signer(key, secret)
    assert "cret" not in str(caught.value).replace("api_secret", "")


def test_arguments_are_checked(signer):
    for url in ("https://x/ü", "https://x/ü".encode()):
        with pytest.raises(ValueError, match="url must be ASCII"):
            signer.headers(url)
    with pytest.raises(ValueError, match="url must not be empty"):
        signer.headers("")
    for nonce in (0, -1):
        with pytest.raises(ValueError, match=f"nonce must be positive, was {nonce}"):
            signer.headers(URL, nonce=nonce)
    with pytest.raises(OverflowError):
        signer.headers(URL, nonce=2**63)
    with pytest.raises(TypeError, match="url must be str or bytes, was NoneType"):
        signer.headers(None)
    for call in (
        lambda: signer.headers(URL, "text"),
        lambda: signer.headers(URL, None),
        lambda: signer.sign("text"),
        lambda: signer.sign(None),
        lambda: Signer(API_KEY, None),
        lambda: Signer(None, SECRET),
        lambda: Signer(API_KEY, 7),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="nonce must not be empty"):
        signer.login("")
    with pytest.raises(ValueError, match="nonce must be ASCII"):
        signer.login("é")


# --- the secret ---


def test_the_secret_is_never_shown_copied_or_kept(signer):
    assert repr(signer) == "Signer(api_key='0123...')"
    assert SECRET not in str(signer)
    assert not hasattr(signer, "__dict__")
    assert not [name for name in dir(signer) if "secret" in name]
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds a secret"):
            copied(signer)
    secret = "".join(["one of ", "a kind"])  # a string nobody else refers to
    other = Signer(API_KEY, secret)
    assert gc.get_referrers(secret) == []
    assert other.sign(b"x") == expected(secret, b"x")


# --- nonces ---


def test_nonces_follow_the_clock():
    for multiplier in (1_000, 10_000, 1_000_000_000):
        before = time.time_ns() * multiplier // 10**9
        nonce = NonceSource(multiplier).next()
        after = time.time_ns() * multiplier // 10**9
        assert before <= nonce <= after


def test_nonces_grow_when_asked_faster_than_the_clock_ticks():
    source = NonceSource(1)
    nonces = [source.next() for _ in range(1000)]
    assert nonces == list(range(nonces[0], nonces[0] + 1000))
    assert source.last == nonces[-1]


def test_nonces_grow_when_the_clock_steps_back():
    ahead = time.time_ns() * 10_000 // 10**9 + 10_000 * 3600
    source = NonceSource(last=ahead)  # as after an hour's step back
    assert [source.next() for _ in range(3)] == [ahead + 1, ahead + 2, ahead + 3]


def test_nonces_are_unique_across_threads():
    source = NonceSource(1_000)
    start = threading.Barrier(8)
    taken: list[list[int]] = []

    def take():
        start.wait(timeout=30)
        taken.append([source.next() for _ in range(20_000)])

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(taken) == 8
    assert all(numbers == sorted(numbers) for numbers in taken)
    assert len({nonce for numbers in taken for nonce in numbers}) == 160_000


def test_nonces_can_follow_another_clock_and_stay_above_another_number():
    source = NonceSource()
    now_ns = 1_790_000_000_123_456_789
    assert source.next(now_ns=now_ns) == 17_900_000_001_234
    assert source.next(now_ns=now_ns - 10**9) == 17_900_000_001_235
    assert source.next(20_000_000_000_000, now_ns) == 20_000_000_000_001
    assert source.next(5, now_ns) == 20_000_000_000_002
    assert source.last == 20_000_000_000_002
    with pytest.raises(ValueError, match="now_ns must not be negative, was -1"):
        source.next(now_ns=-1)
    with pytest.raises(OverflowError, match="no nonce is left"):
        source.next(2**63 - 1)
    assert source.last == 20_000_000_000_002


def test_nonces_end_with_an_error_not_a_repeat():
    source = NonceSource(last=2**63 - 2)
    assert source.next() == 2**63 - 1
    with pytest.raises(OverflowError, match="no nonce is left"):
        source.next()


@pytest.mark.parametrize("multiplier", [0, -1, 10**9 + 1])
def test_multipliers_out_of_range_are_refused(multiplier):
    with pytest.raises(ValueError, match=f"multiplier must be 1..1000000000, was {multiplier}"):
        NonceSource(multiplier)


def test_sources_share_nonces_by_sharing_memory():
    memory = bytearray(8)
    first, second = NonceSource(memory=memory), NonceSource(1, memory=memoryview(memory))
    found = [first.next(), second.next(), first.next(), second.next(now_ns=0)]
    assert found[1] == found[0] + 1
    assert found == sorted(set(found)) and first.last == second.last == found[-1]
    assert int.from_bytes(memory, sys.byteorder) == found[-1]
    third = NonceSource(last=found[-1] + 1000, memory=memory)
    assert first.last == third.last == found[-1] + 1000
    NonceSource(last=1, memory=memory)
    assert first.last == found[-1] + 1000
    with pytest.raises(BufferError):
        memory.append(0)  # held as long as the sources


@pytest.mark.parametrize("memory", [bytearray(7), bytearray(16), memoryview(bytearray(16))[1:9]])
def test_memory_of_another_size_or_place_is_refused(memory):
    with pytest.raises(ValueError, match="memory must be 8 bytes, aligned to 8"):
        NonceSource(memory=memory)


def test_memory_that_cannot_be_written_to_is_refused():
    for memory, kind in ((bytes(8), BufferError), (8, TypeError)):
        with pytest.raises(kind):
            NonceSource(memory=memory)


def test_a_last_nonce_is_not_negative():
    with pytest.raises(ValueError, match="last must not be negative, was -1"):
        NonceSource(last=-1)
    with pytest.raises(AttributeError):
        NonceSource().last = 0


def test_repr_of_nonces():
    assert repr(NonceSource(1_000, 5)) == "NonceSource(multiplier=1000, last=5)"
