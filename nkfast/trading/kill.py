"""The kill switch: a file that stops trading while it is there.

It needs nothing of what it stops: no journal, no log, no connection. Whoever can make a file can
throw it, by ``nkfast kill``, by ``touch``, over a shared folder.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from nkfast.errors import HaltedError

__all__ = ["KILL_SWITCH", "KillSwitch", "is_thrown"]

#: The code of a halt by the switch, whoever threw it.
KILL_SWITCH = "KILL_SWITCH"
#: A thrown switch is seen after at most so long.
LOOK_INTERVAL_S = 0.25


class KillSwitch:
    """Looks for the file again and again.

    Parameters
    ----------
    path : Path
        The file. It does not matter what is in it, or whether it can be read.
    halt : callable
        Is called with the code and the detail, once, when the file is there.
    """

    def __init__(self, path: Path, halt: Callable[[str, str], None]) -> None:
        self.path = path
        self._halt = halt
        self._timer: asyncio.TimerHandle | None = None

    def refuse_thrown(self) -> None:
        """Refuse to start while the file is there.

        Raises
        ------
        nkfast.errors.HaltedError
            It is.
        """
        if is_thrown(self.path):
            raise HaltedError(KILL_SWITCH, f"{self.path} is there; remove it to trade")

    def watch(self) -> None:
        """Look from now on, on the running loop."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_INTERVAL_S, self._look)

    def unwatch(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if is_thrown(self.path):
            self._timer = None
            self._halt(KILL_SWITCH, f"{self.path} is there")
        else:
            self.watch()


def is_thrown(path: Path) -> bool:
    """Whether the file of a kill switch is there, or something keeps us from knowing."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True  # the safe side
    return True
