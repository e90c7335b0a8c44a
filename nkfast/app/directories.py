"""Where nkfast keeps what outlives a run, as each platform has it."""

import os
from pathlib import Path

from platformdirs import user_state_path

from nkfast.errors import ConfigError

__all__ = ["HOME_VARIABLE", "nonce_directory", "state_directory"]

#: Takes the place of the platform's directory.
HOME_VARIABLE = "NKFAST_HOME"


def state_directory() -> Path:
    """Return the directory for journals, locks and nonces; it may not exist yet.

    Linux: ``~/.local/state/nkfast``, or under XDG_STATE_HOME. macOS: ``~/Library/Application
    Support/nkfast``. Windows: ``%LOCALAPPDATA%\\nkfast``. NKFAST_HOME overrides all.

    Raises
    ------
    ConfigError
        NKFAST_HOME is not an absolute path: what it means would depend on where nkfast is started.
    """
    home = os.environ.get(HOME_VARIABLE)
    if not home:
        return user_state_path("nkfast", appauthor=False)
    path = Path(home).expanduser()
    if not path.is_absolute():
        raise ConfigError(f"must be an absolute path, was {home!r}", HOME_VARIABLE)
    return path


def nonce_directory() -> Path:
    """Return the directory where clients of a real key meet to share its nonces.

    All but the guard's: an instance that it has to stop may be frozen with the lock in its hands.
    """
    return state_directory() / "nonces"
