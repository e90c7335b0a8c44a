"""Where the API key and its secret are found: always both from one source, never from argv.

The sources, in the order in which they are asked; the first that has anything decides:

1. variables: NKFAST_API_KEY and NKFAST_API_SECRET, or NKFAST_API_KEY_FILE and
   NKFAST_API_SECRET_FILE, which name files; NONKYC_API_KEY and NONKYC_API_SECRET as well
2. the file ``credentials.json`` beside the state, readable by its owner only
3. ``nonkyc_settings.json`` of the exchange's own client, in the working directory
4. the keyring of the operating system; on Linux, where ``nkfast[keyring]`` is installed
"""

import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nkfast.directories import state_directory
from nkfast.errors import AuthenticationError, ConfigError
from nkfast.wire.models import ApiCredentials

__all__ = [
    "Found",
    "checked_pair",
    "credentials_file",
    "find_credentials",
    "forget_credentials",
    "require_credentials",
    "store_in_file",
    "store_in_keyring",
]

_SERVICE = "nkfast"
#: A keyring that waits for a person to unlock it, where nobody sits, would wait for ever.
_KEYRING_LIMIT_S = 2.0
#: Each half of a pair: its variable, or the variable that names its file.
_VARIABLES = (
    (("NKFAST_API_KEY", "NKFAST_API_KEY_FILE"), ("NKFAST_API_SECRET", "NKFAST_API_SECRET_FILE")),
    (("NONKYC_API_KEY", ""), ("NONKYC_API_SECRET", "")),
)
_OFFICIAL_FILE = Path("nonkyc_settings.json")
_OFFICIAL_KEYS = ("access_key", "secret_key")
_OWN_KEYS = ("api_key", "api_secret")


class Found(NamedTuple):
    """What a search found: the source, and every source that was asked with its answer.

    Neither part holds a secret but ``credentials``.
    """

    credentials: ApiCredentials | None
    source: str
    asked: tuple[tuple[str, str], ...]


def credentials_file() -> Path:
    """Return the file that ``nkfast keys set --file`` writes."""
    return state_directory() / "credentials.json"


def find_credentials(environment: Mapping[str, str] | None = None) -> Found:
    """Ask the sources for a pair, until one has it.

    Raises
    ------
    nkfast.errors.ConfigError
        A source has one half and not the other, or others can read its file.
    """
    variables = os.environ if environment is None else environment
    sources: tuple[tuple[str, Callable[[], ApiCredentials | None]], ...] = (
        ("variables", lambda: _of_variables(variables)),
        (str(credentials_file()), lambda: _of_file(credentials_file(), _OWN_KEYS)),
        (str(_OFFICIAL_FILE), lambda: _of_file(_OFFICIAL_FILE, _OFFICIAL_KEYS)),
        ("keyring", _of_keyring),
    )
    asked = []
    for source, ask in sources:
        try:
            credentials = ask()
        except LookupError as error:
            asked.append((source, str(error.args[0])))
            continue
        if credentials is not None:
            return Found(credentials, source, (*asked, (source, "has them")))
        asked.append((source, "has none"))
    return Found(None, "", tuple(asked))


def require_credentials(environment: Mapping[str, str] | None = None) -> ApiCredentials:
    """Return the pair.

    Raises
    ------
    nkfast.errors.AuthenticationError
        There is none; the message lists every source that was asked.
    """
    found = find_credentials(environment)
    if found.credentials is None:
        asked = "; ".join(f"{source}: {answer}" for source, answer in found.asked)
        raise AuthenticationError(
            f"no API key: nkfast keys set stores one ({asked})", endpoint="", sent="no"
        )
    return found.credentials


def store_in_file(credentials: ApiCredentials) -> Path:
    """Write the pair into a file that only its owner can read, and return the file."""
    path = credentials_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(dict(zip(_OWN_KEYS, _halves(credentials), strict=True)), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return path


def store_in_keyring(credentials: ApiCredentials) -> None:
    """Give the pair to the keyring of the operating system.

    Raises
    ------
    LookupError
        There is no keyring, it is locked, or it does not answer.
    """
    # One entry for both halves: they can never come from two times.
    text = json.dumps(dict(zip(_OWN_KEYS, _halves(credentials), strict=True)))
    _ask_keyring(lambda keyring: keyring.set_password(_SERVICE, "credentials", text))


def forget_credentials() -> list[str]:
    """Remove the pair from the file and the keyring; return where it was removed from."""
    removed = []
    path = credentials_file()
    if path.exists():
        path.unlink()
        removed.append(str(path))
    try:
        if _of_keyring() is not None:
            _ask_keyring(lambda keyring: keyring.delete_password(_SERVICE, "credentials"))
            removed.append("keyring")
    except LookupError:
        pass  # where there is no keyring, nothing is in it
    return removed


def checked_pair(key: str, secret: str, place: str) -> ApiCredentials:
    """Return the pair, if it can be one.

    Raises
    ------
    nkfast.errors.ConfigError
        A half is empty, or has letters that no key has.
    """
    for name, half in (("key", key), ("secret", secret)):
        if not half:
            raise ConfigError(f"the {name} is empty", place)
        if any(not "!" <= letter <= "~" for letter in half):
            raise ConfigError(f"the {name} has letters that no key has; copy it again", place)
    return ApiCredentials(key, secret)


def _halves(credentials: ApiCredentials) -> tuple[str, str]:
    return credentials.api_key, credentials.api_secret


def _of_variables(variables: Mapping[str, str]) -> ApiCredentials | None:
    for pair in _VARIABLES:
        halves = [_of_variable(variables, *names) for names in pair]
        if not any(halves):
            continue
        for half, names in zip(halves, pair, strict=True):
            if not half:
                wanted = " or ".join(name for name in names if name)
                raise ConfigError(f"is not set, its other half is: set {wanted}", names[0])
        return checked_pair(halves[0], halves[1], pair[0][0])
    return None


def _of_variable(variables: Mapping[str, str], name: str, file_name: str) -> str:
    value, file = variables.get(name, ""), variables.get(file_name, "") if file_name else ""
    if value and file:
        raise ConfigError(f"is set, and {file_name} as well; unset one", name)
    if not file:
        return value
    try:
        return Path(file).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"cannot read {file}: {reason}", file_name) from error


def _of_file(path: Path, names: tuple[str, str]) -> ApiCredentials | None:
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if sys.platform != "win32" and mode & 0o077:
                raise ConfigError(f"others can read it (mode {mode:o}): chmod 600", str(path))
            content = json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        # The text of the error could quote the secret.
        raise ConfigError("is no JSON", str(path)) from None
    values = content if isinstance(content, dict) else {}
    halves = [values.get(name) for name in names]
    if not any(halves):
        return None
    if not all(isinstance(half, str) and half for half in halves):
        raise ConfigError(f"needs both {names[0]} and {names[1]}, as texts", str(path))
    return checked_pair(str(halves[0]), str(halves[1]), str(path))


def _of_keyring() -> ApiCredentials | None:
    text = _ask_keyring(lambda keyring: keyring.get_password(_SERVICE, "credentials"))
    if not text:
        return None
    try:
        content = json.loads(text)
        key, secret = (str(content[name]) for name in _OWN_KEYS)
    except (ValueError, KeyError, TypeError):
        # The text of the error could quote the secret.
        raise ConfigError("holds something else under nkfast; nkfast keys rm", "keyring") from None
    return checked_pair(key, secret, "keyring")


def _ask_keyring(ask: Callable[[Any], Any]) -> Any:
    answers: list[Any] = []

    def work() -> None:
        try:
            import keyring  # noqa: PLC0415 - it looks for a keyring when it is imported

            answers.append(ask(keyring))
        except ModuleNotFoundError:
            answers.append(LookupError("not installed: pip install 'nkfast[keyring]'"))
        except Exception as error:  # each kind of keyring fails in its own way
            answers.append(LookupError(f"{type(error).__name__}"))

    # A thread that can be left behind: some keyrings ask a person, and wait.
    thread = threading.Thread(target=work, name="nkfast-keyring", daemon=True)
    thread.start()
    thread.join(_KEYRING_LIMIT_S)
    if not answers:
        raise LookupError(f"no answer within {_KEYRING_LIMIT_S:g} s")
    if isinstance(answers[0], LookupError):
        raise answers[0]
    return answers[0]
