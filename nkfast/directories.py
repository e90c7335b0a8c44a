"""Where nkfast keeps what outlives a run, as each platform has it.

Below all rooms but the errors, and the one place outside `nkfast.app` that reads the environment:
two processes of one user can only meet where the platform, or the user, says, and the clients must
meet there (`nkfast.client.nonces`) without anybody above them having to think of it.
"""

import os
from importlib import import_module
from pathlib import Path

from nkfast.errors import ConfigError

__all__ = ["HOME_VARIABLE", "account_directory", "nonce_directory", "state_directory"]

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
        Or it is not set, and the user has no home directory.
    """
    home = os.environ.get(HOME_VARIABLE)
    if not home:
        # Loaded when it is needed: `import nkfast` is to stay light.
        path: Path = import_module("platformdirs").user_state_path("nkfast", appauthor=False)
        if not path.is_absolute():
            raise ConfigError("must be set, because this user has no home directory", HOME_VARIABLE)
        return path
    path = Path(home).expanduser()
    if not path.is_absolute():
        raise ConfigError(f"must be an absolute path, was {home!r}", HOME_VARIABLE)
    return path


def nonce_directory() -> Path:
    """Return the directory where all clients of a user meet to share the nonces of a key."""
    return state_directory() / "nonces"


def account_directory() -> Path:
    """Return the directory where the instances of a user meet that trade with one account."""
    return state_directory() / "accounts"
