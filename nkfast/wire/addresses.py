"""Where NonKYC answers. Imports nothing: who only names an address loads no client for it."""

__all__ = ["BASE_URL", "WEBSOCKET_URL"]

BASE_URL = "https://api.nonkyc.io/api/v2"
WEBSOCKET_URL = "wss://ws.nonkyc.io"
