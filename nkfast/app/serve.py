"""``nkfast exchange serve``: the simulated exchange, served by this process."""

import asyncio
import json
import os
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import NoneType
from typing import Any, Final, get_args, get_origin, get_type_hints

from nkfast.app.loop import stop_on_signals
from nkfast.errors import ConfigError, WireError
from nkfast.exchange.server import AccountSettings, ExchangeSettings
from nkfast.exchange.server import serve as serving
from nkfast.exchange.weather import PRESETS, Rule
from nkfast.venue.tape import TapeReader, TapeWriter, survey

__all__ = [
    "SELF_SIGNED",
    "load_accounts",
    "load_recording",
    "load_weather",
    "read_balances",
    "read_variants",
    "serve",
    "tls_context",
]

#: In place of a file: a certificate for this machine alone, made on the spot.
SELF_SIGNED = "self-signed"

#: Where sources about the real exchange disagree or are silent: fields of `ExchangeSettings`.
_VARIANTS: Final = (
    *("book_time", "private_shape", "unknown_method_code", "unauthorized_code"),
    *("nonce_policy", "nonce_window_ms", "public_origins"),
    *("cancel_all_needs_side", "cancel_returns_order", "filters_trades", "shows_assets"),
    *("self_trade", "uniqueness", "market_buys_in", "fee_decimals"),
    *("connections_max", "subscriptions_max", "history_max"),
)


def read_balances(text: str) -> dict[str, str]:
    """Read ``BTC=1.5,USDT=1000``; whether the amounts are amounts is seen when they are used."""
    balances = {}
    for part in text.split(","):
        asset, equals, amount = part.partition("=")
        if not (equals and asset.strip() and amount.strip()):
            raise ConfigError(f"{part!r} is not ASSET=AMOUNT", "--balances")
        balances[asset.strip()] = amount.strip()
    return balances


def read_variants(texts: Iterable[str]) -> dict[str, Any]:
    """Read ``book_time=iso`` and the like, each a field of `ExchangeSettings` and its value.

    Raises
    ------
    nkfast.errors.ConfigError
        There is no such field to choose, or it cannot have the value.
    """
    variants = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in _VARIANTS:
            raise ConfigError(f"{text!r} is not NAME=VALUE of {', '.join(_VARIANTS)}", "--set")
        variants[name] = _read_value(name, value, get_type_hints(ExchangeSettings)[name])
    return variants


def _read_value(name: str, value: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return tuple(value.split(","))
    kinds = get_args(kind) if NoneType in get_args(kind) else (kind,)
    if int in kinds and value.isascii() and value.isdigit():
        return int(value)
    words: dict[str, Any] = {"none": None} if NoneType in kinds else {}
    if bool in kinds:
        words |= {"true": True, "false": False}
    for literal in kinds:
        words |= {word: word for word in get_args(literal)}
    if value not in words:
        allowed = [*words, *(["a whole number"] if int in kinds else [])]
        raise ConfigError(f"{name} must be {' or '.join(allowed)}, was {value!r}", "--set")
    return words[value]


def load_accounts(path: Path) -> tuple[AccountSettings, ...]:
    """Read accounts: a JSON array of objects with key, secret and perhaps balances.

    Raises
    ------
    nkfast.errors.ConfigError
        The file holds something else.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
        if not isinstance(rows, list):
            raise TypeError("no array")
        return tuple(
            AccountSettings(str(row["key"]), str(row["secret"]), _balances_of(row)) for row in rows
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"expected an array of objects with key, secret and perhaps balances: {error!r}",
            str(path),
        ) from error


def _balances_of(row: Mapping[str, Any]) -> dict[str, str] | None:
    balances = row.get("balances")
    if balances is None:
        return None
    if not isinstance(balances, dict):
        raise TypeError("balances are no object")
    return {asset: str(amount) for asset, amount in balances.items()}


def load_weather(source: str) -> tuple[Rule, ...]:
    """Return the rules of a weather with a name, or of a file: a JSON array of rules.

    Raises
    ------
    nkfast.errors.ConfigError
        There is neither such a name nor such a file, or a rule of it cannot be.
    """
    if source in PRESETS:
        return PRESETS[source]
    try:
        rows = json.loads(Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"no weather {source!r}; there are {', '.join(PRESETS)}, or a file of rules", "weather"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read rules: {error}", source) from error
    if not isinstance(rows, list):
        raise ConfigError("expected a JSON array of rules", source)
    rules = []
    for number, row in enumerate(rows, 1):
        try:
            rules.append(Rule.from_json(row))
        except ConfigError as error:
            raise ConfigError(f"rule {number}: {error}", source) from error
    return tuple(rules)


def load_recording(path: Path) -> tuple[list[dict[str, Any]], TapeReader]:
    """Read which markets a recording has, as rows of ``market/getlist``, and its frames.

    Raises
    ------
    nkfast.errors.ConfigError
        It holds no book of any market.
    """
    try:
        found = survey(path)
    except (OSError, WireError) as error:
        raise ConfigError(str(error)) from error
    rows = [
        {
            "symbol": symbol,
            "priceDecimals": seen.market.price_decimals,
            "quantityDecimals": seen.market.quantity_decimals,
            "isActive": True,
            "allowMarketOrders": True,
        }
        for symbol, seen in found.symbols.items()
        if seen.book_count
    ]
    if not rows:
        raise ConfigError("the recording has no book of any market", str(path))
    return rows, TapeReader(path)


def tls_context(source: str) -> ssl.SSLContext:
    """Return what serves TLS, from a PEM file with a certificate and its key, or `SELF_SIGNED`.

    Raises
    ------
    nkfast.errors.ConfigError
        The file cannot be used, or there is no ``openssl`` that could make one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = source
        if source == SELF_SIGNED:
            path = str(Path(folder) / "certificate.pem")
            command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
            command += ["-subj", "/CN=localhost", "-keyout", path, "-out", f"{path}.public"]
            command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=60)
            except (OSError, subprocess.SubprocessError) as error:
                raise ConfigError(f"openssl made no certificate: {error}", "--tls") from error
            with open(path, "ab") as file:
                file.write(Path(f"{path}.public").read_bytes())
        try:
            context.load_cert_chain(path)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"no certificate with its key: {error}", str(source)) from error
    return context


async def serve(
    settings: ExchangeSettings,
    *,
    seconds: float | None,
    until_eof: bool,
    record: Path | None = None,
    announce: Callable[[Mapping[str, Any]], None],
) -> None:
    """Serve until SIGINT or SIGTERM.

    Parameters
    ----------
    seconds : float or None
        Stop after this time too.
    until_eof : bool
        Stop when standard input ends too, so that a parent cannot leave this process behind.
    record : Path or None
        A new recording of all market data, for `nkfast.venue.tape`.
    announce : callable
        Told once, when requests can be answered: rest_url, ws_url, key, process, and with
        ``has_control`` the control_token.

    Raises
    ------
    nkfast.errors.ConfigError
        The markets cannot be used, or the address cannot be listened on.
    AssertionError
        The exchange contradicts itself, and is told to look.
    """
    stop = asyncio.Event()
    with stop_on_signals(stop):
        if until_eof:
            _set_at_end_of_input(stop)
        async with AsyncExitStack() as stack:
            if record is not None:
                settings = replace(settings, record=_open_tape(stack, record))
            try:
                server = await stack.enter_async_context(serving(settings))
            except OSError as error:
                raise ConfigError(
                    f"cannot listen there: {error.strerror or error}",
                    f"{settings.host}:{settings.port}",
                ) from error
            told: dict[str, Any] = {
                "rest_url": server.rest_url,
                "ws_url": server.ws_url,
                "key": settings.key,
                "process": os.getpid(),
            }
            if server.control is not None:
                told["control_token"] = server.control.token
            announce(told)
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait(
                (stopped, server.broken), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            stopped.cancel()
            if server.broken.done():
                raise AssertionError("; ".join(server.broken.result()))


def _open_tape(stack: AsyncExitStack, path: Path) -> Callable[[int, bytes], None]:
    try:
        return stack.enter_context(TapeWriter(path)).write
    except OSError as error:
        raise ConfigError(f"cannot record there: {error.strerror}", str(path)) from error


def _set_at_end_of_input(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def wait_for_end() -> None:
        # os.read, because a thread that waits inside sys.stdin holds a lock at exit.
        while os.read(0, 4096):
            pass
        with suppress(RuntimeError):  # the loop is closed: already stopped
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait_for_end, name="end-of-input", daemon=True).start()
