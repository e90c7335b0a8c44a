"""What a signature costs, from the public call to the text of the headers.

The request is an order of 120 bytes to ``/createorder`` with a 32-character key and a
64-character secret, as the exchange issues them. Peers start from the same bytes; only
`string_headers` makes the JSON, too, because that is how clients are written, and the same with
the body given is beside it.

Run:  pytest benchmarks/bench_signing.py --benchmark-columns=min,median,ops
Ratios, interleaved:  python benchmarks/bench_signing.py
"""

import json
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from interleaved import Comparison, report

pytest.importorskip("cryptography")

from peers.signing import (
    CopiedCryptography,
    CopiedMidstates,
    bare_compressions,
    hmac_digest,
    hmac_new,
    string_headers,
)

from nkfast.core.signing import NonceSource, Signer, backend

API_KEY = "0123456789abcdef0123456789abcdef"
SECRET = "fedcba9876543210" * 4
URL = "https://api.nonkyc.io/api/v2/createorder"
ORDER = {
    "symbol": "BTC/USDT",
    "side": "buy",
    "type": "limit",
    "quantity": "0.001",
    "price": "64000.51",
    "userProvidedId": "nk01-01-00001",
}
BODY = json.dumps(ORDER, separators=(",", ":")).encode()
MESSAGE = bytes(range(256))
#: A pad was hashed beforehand; 256 bytes and the padding are five blocks, the outer hash is one.
MESSAGE_BLOCKS = 6
BARE_CALLS = 100

signer = Signer(API_KEY, SECRET)
copied_hmac = CopiedCryptography(SECRET.encode())
midstates = CopiedMidstates(SECRET.encode())


def body_given_headers() -> dict[str, str]:
    nonce = str(int(time.time() * 1e4))
    signature = hmac_new(SECRET.encode(), f"{API_KEY}{URL}".encode() + BODY + nonce.encode())
    return {"X-API-KEY": API_KEY, "X-API-NONCE": nonce, "X-API-SIGN": signature}


SIGN = {
    "Signer.sign": partial(signer.sign, MESSAGE),
    "hmac.new": partial(hmac_new, SECRET.encode(), MESSAGE),
    "hmac.digest": partial(hmac_digest, SECRET.encode(), MESSAGE),
    "copied midstates": partial(midstates.sign, MESSAGE),
    "copied HMAC of cryptography": partial(copied_hmac.sign, MESSAGE),
}
HEADERS = {
    "Signer.headers": partial(signer.headers, URL, BODY),
    "hmac, f-strings and json": partial(string_headers, API_KEY, SECRET, URL, ORDER),
    "hmac and f-strings": body_given_headers,
}
OTHERS = {"Signer.login": signer.login, "NonceSource.next": NonceSource().next}
ALL = {**SIGN, **HEADERS, **OTHERS}


@pytest.mark.parametrize("name", ALL)
def test_signing(benchmark, name):
    benchmark(ALL[name])
    benchmark.extra_info["backend"] = backend()


def test_peers_sign_alike():
    assert len({call() for call in SIGN.values()}) == 1
    assert len(BODY) == 120
    made = string_headers(API_KEY, SECRET, URL, ORDER)
    assert signer.headers(URL, BODY, int(made["X-API-NONCE"])) == made


def comparisons() -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        bare = partial(bare_compressions(Path(folder)), BARE_CALLS, MESSAGE_BLOCKS)
        yield Comparison(
            f"Signer.sign, {len(MESSAGE)} bytes",
            {**SIGN, "bare compressions": bare},
            {"hmac.new": 5.5, "copied midstates": 2.4, "bare compressions": 1 / 1.2},
            unit="signature",
            units={"bare compressions": BARE_CALLS},
            note=f"Compressions by {backend()}; the bare ones are the {MESSAGE_BLOCKS} blocks that "
            "no implementation can leave out, called from C.",
        )
    yield Comparison(
        f"Signer.headers, POST of {len(BODY)} bytes",
        HEADERS,
        {"hmac, f-strings and json": 12},
        unit="request",
        note="nkfast is given the bytes of the body; its JSON is made before, by `wire`. "
        "`hmac and f-strings` is given them, too.",
    )
    for name, call in OTHERS.items():
        yield Comparison(name, {name: call})


if __name__ == "__main__":
    report(comparisons())
