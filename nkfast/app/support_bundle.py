"""A file to be sent with a question: what this machine is and what instances did, without secrets.

Secrets are removed by their value, wherever they stand, and what is written is searched for them
once more: a bundle that holds one is not made.
"""

import io
import json
import re
import zipfile
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nkfast.app.config.documents import read_document
from nkfast.app.config.layers import expand
from nkfast.app.credentials import find_credentials
from nkfast.app.instance import Instance
from nkfast.app.status import describe_instance
from nkfast.errors import ConfigError, NkfastError
from nkfast.trading.reasons import reason_totals

__all__ = ["known_secrets", "write_bundle"]

_LOG_LINES = 2_000
_REMOVED = "[removed]"
#: Shorter values stand in too many texts to be told apart from them.
_SECRET_LENGTH_LEAST = 6
#: Keys whose values are secret in any file: addresses of webhooks carry their password.
_SECRET_WORDS = (
    "secret",
    "token",
    "password",
    "api_key",
    "webhook",
    "discord",
    "telegram",
    "apprise",
)
_WITH_PASSWORD = re.compile(r"(?<=://)[^/\s:@\"']+:[^/\s@\"']+(?=@)")


def known_secrets(environment: Mapping[str, str], instances: Iterable[Instance]) -> tuple[str, ...]:
    """Return every value that must not leave this machine, the longest first.

    The key and its secret, variables of nkfast that are named like secrets, and the addresses that
    the configurations of instances send alerts to.
    """
    found: set[str] = set()
    try:
        credentials = find_credentials(environment).credentials
    except NkfastError:
        credentials = None  # half a pair: its variable is removed below
    if credentials is not None:
        found |= {credentials.api_key, credentials.api_secret}
    for name, value in environment.items():
        if name.startswith(("NKFAST_", "NONKYC_")) and _is_secret(name):
            found.add(value)
    for instance in instances:
        found |= set(_of_configuration(instance, environment))
    long = {value for value in found if len(value) >= _SECRET_LENGTH_LEAST}
    return tuple(sorted(long, key=len, reverse=True))


def write_bundle(
    path: Path,
    findings: list[dict[str, Any]],
    instances: Iterable[Instance],
    environment: Mapping[str, str],
) -> list[str]:
    """Write a zip file of what a helper wants to see; return the names of what is in it.

    Raises
    ------
    FileExistsError
        The file is there already.
    nkfast.errors.ConfigError
        A secret would have been in it.
    """
    known = list(instances)
    secrets = known_secrets(environment, known)
    parts = {"doctor.json": json.dumps(findings, indent=1)}
    for instance in known:
        parts |= _of_instance(instance)
    parts = {name: _without(text, secrets) for name, text in parts.items()}
    for name, text in parts.items():
        if any(secret in text or json.dumps(secret)[1:-1] in text for secret in secrets):
            raise ConfigError(f"{name} would hold a secret; nothing was written", str(path))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    with path.open("xb") as file:
        path.chmod(0o600)
        file.write(packed.getvalue())
    return list(parts)


def _of_instance(instance: Instance) -> dict[str, str]:
    folder = instance.name
    try:
        status = describe_instance(instance)
        reasons = [total._asdict() for total in reason_totals(instance.newest_journal)]
    except NkfastError as error:
        status, reasons = {"error": str(error)}, []
    parts = {f"{folder}/status.json": json.dumps({**status, "reasons": reasons}, indent=1)}
    if instance.log.is_file():
        with instance.log.open(encoding="utf-8", errors="replace") as log:
            parts[f"{folder}/log.jsonl"] = "".join(deque(log, maxlen=_LOG_LINES))
    file = _configuration_of(instance)
    if file is not None:
        parts[f"{folder}/{file.name}"] = file.read_text("utf-8", errors="replace")
    return parts


def _configuration_of(instance: Instance) -> Path | None:
    record = instance.last_run()
    if record is None or not record.config:
        return None
    file = Path(record.config)
    return file if file.is_file() else None


def _of_configuration(instance: Instance, environment: Mapping[str, str]) -> Iterable[str]:
    file = _configuration_of(instance)
    if file is None:
        return
    try:
        values = read_document(file).values
    except ConfigError:
        return
    yield from _secret_values(values, is_secret=False, environment=environment)


def _secret_values(value: Any, *, is_secret: bool, environment: Mapping[str, str]) -> Iterable[str]:
    if isinstance(value, dict):
        for word, item in value.items():
            inner = is_secret or _is_secret(str(word))
            yield from _secret_values(item, is_secret=inner, environment=environment)
    elif isinstance(value, list):
        for item in value:
            yield from _secret_values(item, is_secret=is_secret, environment=environment)
    elif is_secret and isinstance(value, str):
        yield value
        try:
            yield str(expand(value, environment))
        except ConfigError:
            pass  # a variable that is not set here holds no secret here


def _is_secret(name: str) -> bool:
    word = name.lower()
    return any(secret in word for secret in _SECRET_WORDS) and not word.endswith("_file")


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _REMOVED).replace(json.dumps(secret)[1:-1], _REMOVED)
    return _WITH_PASSWORD.sub(_REMOVED, text)
