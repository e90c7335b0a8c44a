"""The section ``[alerts]``: who is told what a bot does, and what is not worth telling."""

import re
from decimal import Decimal
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator

from nkfast.strategies.settings import Settings, key

__all__ = ["AlertSettings"]

_QUIET = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


class AlertSettings(Settings):
    """Where alerts go. Addresses are secrets: they are in no log, screen, hash or bundle."""

    webhook: SecretStr | None = key(
        None,
        meaning="A URL that a JSON object is posted to; ${VARIABLE} keeps it out of the file.",
    )
    discord: SecretStr | None = key(None, meaning="The URL of a Discord webhook.")
    telegram_token: SecretStr | None = key(None, meaning="Of the Telegram bot that writes.")
    telegram_chat: str = key("", meaning="Whom it writes to: the number of a chat, or @name.")
    telegram_api: str = key("https://api.telegram.org", meaning="Another server of the Bot API.")
    apprise: tuple[SecretStr, ...] = key(
        (), meaning="Addresses of Apprise, for everything else; needs pip install nkfast[alerts]."
    )
    min_value: Decimal = key(
        Decimal(0), unit="quote", ge=0, meaning="Fills worth less are told in the digest alone."
    )
    digest_hours: Decimal = key(
        Decimal(24), unit="h", ge=0, le=168, meaning="From one summary to the next; 0: none."
    )
    quiet: str = key(
        "",
        meaning="Local hours in which only what cannot wait is told, 22:00-07:00; the rest follows"
        " in one message.",
    )
    silence_s: Decimal = key(
        Decimal(300),
        unit="s",
        ge=0,
        meaning="Without market data, or a step of the bot itself, for so long there is an alert;"
        " 0: none.",
    )

    @field_validator("webhook", "discord")
    @classmethod
    def _is_http(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _check_url(value.get_secret_value())
        return value

    @field_validator("telegram_api")
    @classmethod
    def _is_api(cls, value: str) -> str:
        _check_url(value)
        return value.rstrip("/")

    @field_validator("telegram_token")
    @classmethod
    def _is_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\w:-]+", value.get_secret_value(), re.ASCII):
            raise ValueError("holds letters that no token has; copy it again")
        return value

    @field_validator("quiet")
    @classmethod
    def _are_hours(cls, value: str) -> str:
        if value and not _QUIET.fullmatch(value):
            raise ValueError(f"is {value!r}; write 22:00-07:00")
        return value

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.telegram_token is None) != (not self.telegram_chat):
            raise ValueError("telegram_token and telegram_chat go together; give both or neither")
        return self

    @property
    def quiet_minutes(self) -> tuple[int, int] | None:
        """The quiet hours as minutes of a day; None without."""
        found = _QUIET.fullmatch(self.quiet)
        if found is None:
            return None
        hour, minute, end_hour, end_minute = map(int, found.groups())
        return 60 * hour + minute, 60 * end_hour + end_minute

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must stand nowhere else."""
        given: tuple[Any, ...] = (self.webhook, self.discord, self.telegram_token, *self.apprise)
        return tuple(value.get_secret_value() for value in given if value is not None)

    @property
    def goes_anywhere(self) -> bool:
        """Whether there is anybody to be told."""
        return bool(self.secrets)


def _check_url(value: str) -> None:
    """Refuse what is no URL, without saying it: it would be in a log."""
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        is_good = has_port = False
    if not (is_good and has_port and value.isascii() and value.isprintable() and " " not in value):
        raise ValueError("is no URL that begins with http:// or https://")
