"""Signing and time: `nkfast.core.signing`, `nkfast.client.calls` and `nkfast.wire`."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from strategies.vectors.registry import Given, adapts

from nkfast.client.calls import raw
from nkfast.core.signing import NonceSource, Signer
from nkfast.errors import WireError
from nkfast.wire.fields import read_moment_ms
from nkfast.wire.models import ServerTime


@adapts("nonkyc_client.auth.AuthSigner.build_rest_headers")
def sign_a_request(given: Given) -> Any:
    parts = urlsplit(given["url"])
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    call = raw(
        given["method"], path, params=given.get("params"), body=given.get("body"), private=True
    )
    url = f"{parts.scheme}://{parts.netloc}{call.target}"
    nonces = NonceSource(int(given.number("nonce_multiplier")))
    nonce = nonces.next(now_ns=int(given.number("time") * 10**9))
    headers = Signer(given["api_key"], given["api_secret"]).headers(url, call.body, nonce)
    return {
        "nonce": int(headers["X-API-NONCE"]),
        "data_to_sign": url + call.body.decode(),
        "signature": headers["X-API-SIGN"],
    }


@adapts("nonkyc_client.auth.AuthSigner.build_ws_login_payload")
def sign_a_login(given: Given) -> Any:
    signer = Signer(given["api_key"], given["api_secret"])
    return {"method": "login", "params": signer.login(given["nonce"])}


@adapts("nonkyc_client.time_sync.TimeSynchronizer._extract_server_time")
def server_time(given: Given) -> Any:
    return Decimal(ServerTime.from_wire(given["payload"]).time_ms) / 1000


@adapts("nonkyc_client.timestamp_utils.parse_timestamp")
def time_of_a_field(given: Given) -> Any:
    # The reference says None for what it cannot read; nkfast refuses it.
    try:
        time_ms = read_moment_ms({"time": given["value"]}, "time")
    except WireError:
        return None
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat() if time_ms else None
