"""Under systemd: the unit that ``nkfast service`` prints, and what a run tells its service manager.

A unit of Type=notify is up when trading has begun, and is started anew when nothing was heard from
it for WatchdogSec: what is sent comes from the loop that trades, so that a loop which is stuck is
silent.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Literal

__all__ = ["ServiceManager", "unit"]

_UNIT = """\
# {path}
#   {command} | sudo tee {path}
#   sudo systemctl daemon-reload && sudo systemctl enable --now {example}
[Unit]
Description=nkfast {what} %i
Documentation=https://pypi.org/project/nkfast/
Wants=network-online.target
After=network-online.target time-sync.target
StartLimitIntervalSec=3600
StartLimitBurst=20

[Service]
Type=notify
NotifyAccess=main
ExecStart={executable} {verb}
WorkingDirectory=%S/nkfast
Environment=NKFAST_HOME=%S/nkfast
{credentials}# A halt, a wrong configuration, orders that may be left: no new start heals them.
Restart=on-failure
RestartPreventExitStatus=2 3 4 6 7 8 9 10
RestartSec=5
SuccessExitStatus=130 143
WatchdogSec=30
TimeoutStartSec=120
# It cancels what rests, and waits for its end.
TimeoutStopSec=90
KillMode=mixed

# One user for all of them: they share nonces, rate budget and self-trade guard in its folder.
User=nkfast
DynamicUser=yes
StateDirectory=nkfast
StateDirectoryMode=0700
ConfigurationDirectory=nkfast
UMask=0077
# No core file could hold a key.
LimitCORE=0

CapabilityBoundingSet=
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""
_CREDENTIALS = """\
LoadCredential=api-key:/etc/nkfast/api-key
LoadCredential=api-secret:/etc/nkfast/api-secret
Environment=NKFAST_API_KEY_FILE=%d/api-key NKFAST_API_SECRET_FILE=%d/api-secret
"""


def unit(kind: Literal["run", "up"], *, is_live: bool, executable: Path | None = None) -> str:
    """Return a unit for the configuration ``/etc/nkfast/%i.toml``.

    Parameters
    ----------
    kind : {"run", "up"}
        One bot, or a fleet.
    is_live : bool
        Whether it may trade real money; the key is read from two files as credentials then.
    executable : Path, optional
        The command; the one that runs now without.
    """
    command = executable if executable is not None else Path(sys.argv[0]).absolute()
    name = "nkfast@" if kind == "run" else "nkfast-fleet@"
    words = "service" + (" --fleet" if kind == "up" else "") + (" --live" if is_live else "")
    verb = f"{kind} /etc/nkfast/%i.toml"
    if kind == "run":
        verb += " --name %i"
    return _UNIT.format(
        path=f"/etc/systemd/system/{name}.service",
        command=f"nkfast {words}",
        example=f"{name}NAME",
        what="bot" if kind == "run" else "fleet",
        executable=command,
        verb=verb + (" --live --yes" if is_live else ""),
        credentials=_CREDENTIALS if is_live else "",
    )


class ServiceManager:
    """Tells systemd how a run does; where there is none it does nothing.

    Parameters
    ----------
    address : str or None
        Of its socket; the one of the process's variables without.
    """

    def __init__(self, address: str | None = None) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._is_ready = False
        if self._address and sys.platform != "win32":
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def alive(self) -> None:
        """Say that trading goes on; the first time, that it has begun."""
        self._tell(b"WATCHDOG=1" if self._is_ready else b"READY=1")
        self._is_ready = True

    def close(self) -> None:
        """Say that it stops."""
        self._tell(b"STOPPING=1")
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, state: bytes) -> None:
        if self._socket is not None:
            try:
                self._socket.sendto(state, self._address)
            except OSError:
                return  # a manager that does not listen hears nothing, and does what it then does
