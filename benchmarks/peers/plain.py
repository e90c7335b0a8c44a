"""A client for the exchange written the plain way: the standard library and nothing else.

A frame becomes dicts by `json` and Decimals in a dict; an order becomes JSON, and its headers by
`hmac` and f-strings. So are most scripts for this exchange written.
"""

import json
from decimal import Decimal

from peers.book import DictBook
from peers.frame import decode_json
from peers.signing import string_headers

__all__ = ["PlainClient"]


class PlainClient:
    """One market's book, and orders signed for REST."""

    def __init__(self, api_key: str, api_secret: str, url: str) -> None:
        self.api_key = api_key
        self.api_secret = api_secret
        self.url = url
        self.book = DictBook()

    def on_frame(self, frame: bytes) -> None:
        self.book.update(*decode_json(frame))

    def best_bid(self) -> Decimal:
        return max(self.book.bids)

    def order(
        self, symbol: str, price: Decimal, quantity: Decimal, client_id: str
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of a limit buy."""
        body = {
            "symbol": symbol,
            "side": "buy",
            "type": "limit",
            "quantity": str(quantity),
            "price": str(price),
            "userProvidedId": client_id,
        }
        headers = string_headers(self.api_key, self.api_secret, self.url, body)
        return headers, json.dumps(body, separators=(",", ":")).encode()
