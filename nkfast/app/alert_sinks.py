"""How a message reaches a person: a webhook, Discord, Telegram, or what Apprise knows."""

import importlib
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from nkfast.app.config.alerts import AlertSettings
from nkfast.client.async_connections import AsyncConnections
from nkfast.client.rest_session import Lost
from nkfast.client.roads import USER_AGENT, Request, Road
from nkfast.errors import ConfigError
from nkfast.wire.codec import encode_json

__all__ = ["Message", "Sink", "open_sinks"]

#: What a message is, for a program: text, level, instance, mode, time.
Message = Mapping[str, Any]

_TIMEOUT_S = 10.0
#: Discord takes 2,000 letters, Telegram 4,096.
_TEXT_MAX = 1_900


class Sink(Protocol):
    """One way to be told. ``name`` says which, and is no secret."""

    name: str

    async def send(self, message: Message) -> str:
        """Send; return why it failed, empty when it did not."""

    async def close(self) -> None:
        """Close its connections."""


class _Post:
    """Posts a JSON object to a URL."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        server = urlsplit(url)
        self._url = url
        self._target = (server.path or "/") + (f"?{server.query}" if server.query else "")
        self._connections = AsyncConnections(
            Road(
                f"{server.scheme}://{server.netloc}",
                ssl_context=None,
                proxy=None,
                trust_environment=True,
                user_agent=USER_AGENT,
                timeout_seconds=_TIMEOUT_S,
                connections=1,
            )
        )

    def body(self, message: Message) -> Mapping[str, Any]:
        return message

    async def send(self, message: Message) -> str:
        body = encode_json(self.body(message))
        headers = {"Content-Type": "application/json"}
        request = Request("POST", self._url, self._target, lambda: dict(headers), body)
        answer = await self._connections.send(request)
        if isinstance(answer, Lost):
            return answer.reason
        return "" if 200 <= answer.status < 300 else f"HTTP status {answer.status}"

    async def close(self) -> None:
        await self._connections.close()


class _Discord(_Post):
    def body(self, message: Message) -> Mapping[str, Any]:
        # Names in what others say must call nobody.
        return {"content": _cut(message["text"]), "allowed_mentions": {"parse": []}}


class _Telegram(_Post):
    def __init__(self, api: str, token: str, chat: str) -> None:
        super().__init__("telegram", f"{api}/bot{token}/sendMessage")
        self._chat = chat

    def body(self, message: Message) -> Mapping[str, Any]:
        return {"chat_id": self._chat, "text": _cut(message["text"])}


class _Apprise:
    name = "apprise"

    def __init__(self, urls: tuple[str, ...]) -> None:
        try:
            self._apprise: Any = importlib.import_module("apprise").Apprise()
        except ImportError as error:
            text = "needs Apprise: pip install nkfast[alerts]"
            raise ConfigError(text, "alerts.apprise") from error
        for number, url in enumerate(urls):
            if not self._apprise.add(url):
                raise ConfigError("is no address that Apprise knows", f"alerts.apprise.{number}")

    async def send(self, message: Message) -> str:
        is_sent = await self._apprise.async_notify(body=_cut(message["text"]))
        return "" if is_sent else "Apprise could not deliver it"

    async def close(self) -> None:
        """Do nothing: it keeps no connection."""


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else f"{text[: _TEXT_MAX - 3]}..."


def open_sinks(settings: AlertSettings) -> list[Sink]:
    """Return every way that is configured; nothing is connected yet.

    Raises
    ------
    nkfast.errors.ConfigError
        Apprise is wanted and not installed, or does not know an address.
    """
    sinks: list[Sink] = []
    if settings.webhook is not None:
        sinks.append(_Post("webhook", settings.webhook.get_secret_value()))
    if settings.discord is not None:
        sinks.append(_Discord("discord", settings.discord.get_secret_value()))
    if settings.telegram_token is not None:
        token = settings.telegram_token.get_secret_value()
        sinks.append(_Telegram(settings.telegram_api, token, settings.telegram_chat))
    if settings.apprise:
        sinks.append(_Apprise(tuple(url.get_secret_value() for url in settings.apprise)))
    return sinks
