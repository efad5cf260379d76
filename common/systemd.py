"""What systemd is told of a service of Type=notify (sd_notify(3)): one datagram a state. Without systemd, nothing."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Systemd:
    """Who is told, if anybody, and how often it wants to hear that we are alive."""

    address: str = ""  # of a datagram socket; "": nobody listens
    watchdog: float | None = None  # seconds of silence after which we are killed

    @classmethod
    def around(cls, environment: Mapping[str, str]) -> Self:
        """Return what the environment says: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID."""
        address = environment.get("NOTIFY_SOCKET", "")
        every = environment.get("WATCHDOG_USEC", "")
        meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watched = bool(address) and meant and every.isascii() and every.isdigit() and int(every) > 0
        return cls(address=address, watchdog=int(every) / 1_000_000 if watched else None)

    def tell(self, state: str) -> None:
        """Send a state; a failure is passed over, since whoever listens must not stop what it listens to."""
        if not self.address:
            return
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as to:
                to.sendto(state.encode(), address)
        except OSError:
            return
