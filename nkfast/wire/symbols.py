"""Market symbols: parsed once to (base, quote), rendered as each endpoint wants them."""

from functools import lru_cache
from typing import Literal, NamedTuple, Self

from nkfast.errors import ConfigError

__all__ = ["Separator", "TradingPair", "canonical"]

#: "/" in request bodies, on the WebSocket and in replies; "_" in paths and queries, where a slash
#: would have to be percent-encoded and the encoding is part of what is signed.
Separator = Literal["/", "_"]


class TradingPair(NamedTuple):
    """A market's two assets, upper case."""

    base: str
    quote: str

    @classmethod
    def parse(cls, symbol: str) -> Self:
        """Read ``BASE/QUOTE``, ``BASE-QUOTE`` or ``BASE_QUOTE`` in any case.

        Raises
        ------
        ConfigError
            The text is not two names of letters and digits with one separator between them.
        """
        return cls(*_split(symbol))

    def render(self, separator: Separator = "/") -> str:
        """Return the symbol with the separator that an endpoint wants."""
        return f"{self.base}{separator}{self.quote}"

    @property
    def symbol(self) -> str:
        """The symbol as the venue emits it: ``BASE/QUOTE``."""
        return f"{self.base}/{self.quote}"

    def __str__(self) -> str:
        return self.symbol


@lru_cache(maxsize=4096)
def canonical(symbol: str) -> str:
    """Return a symbol of any spelling as ``BASE/QUOTE``; `TradingPair.parse` says what it takes."""
    return TradingPair.parse(symbol).symbol


@lru_cache(maxsize=4096)
def _split(symbol: str) -> tuple[str, str]:
    parts = symbol.strip().upper().replace("_", "/").replace("-", "/").split("/")
    if len(parts) != 2 or not all(part.isascii() and part.isalnum() for part in parts):
        raise ConfigError(f"symbol {symbol[:64]!r} is not BASE/QUOTE, BASE-QUOTE or BASE_QUOTE")
    return parts[0], parts[1]
