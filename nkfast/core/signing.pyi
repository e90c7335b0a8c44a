from typing import final

__all__ = ["NonceSource", "Signer", "backend"]

def backend() -> str: ...

@final
class Signer:
    def __new__(
        cls, api_key: str, api_secret: str | bytes, *, nonces: NonceSource | None = None
    ) -> Signer: ...
    @property
    def api_key(self) -> str: ...
    def sign(self, message: bytes) -> str: ...
    def headers(
        self, url: str | bytes, body: bytes = b"", nonce: int | None = None
    ) -> dict[str, str]: ...
    def login(self, nonce: str | None = None) -> dict[str, str]: ...

@final
class NonceSource:
    def __new__(
        cls,
        multiplier: int = 10_000,
        last: int = 0,
        *,
        memory: bytearray | memoryview | None = None,
    ) -> NonceSource: ...
    @property
    def last(self) -> int: ...
    def next(self, above: int = 0, now_ns: int | None = None) -> int: ...
