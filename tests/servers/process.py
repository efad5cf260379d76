"""One server process that a test owns: started in its own folder, awaited until ready, ended by its own pid."""

import contextlib
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

READY_SECONDS: Final = 30.0
"""A loaded machine of two cores may take that long to start a server."""

STOP_SECONDS: Final = 20.0
"""How long a polite stop may take before the process is killed."""

POLL_SECONDS: Final = 0.01
"""Between two looks at a process or port: neither can be waited on as an event."""

_PORTS: Final = range(20_000, 32_000)
"""Below the kernel's ephemeral range, so that no outgoing connection takes a server's port while it restarts."""

_SHARES: Final = 24
"""Each test process on this machine has a share of the ports to itself: none takes what another just found free."""


class ServerError(Exception):
    """A server that didn't start, with the end of its log."""


def free_port() -> int:
    """Return a loopback port on which nobody listens now, and that this process didn't get for a long while."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _drawn() -> Iterator[int]:
    """Yield the ports of a share over and over; the share is held by a socket's name, which goes with the process."""
    with socket.socket(socket.AF_UNIX) as held:
        for share in range(_SHARES):
            with contextlib.suppress(OSError):  # another process has it
                held.bind(f"\0pps-test-ports-{share}")
                yield from itertools.cycle(random.sample(_PORTS[share::_SHARES], len(_PORTS) // _SHARES))
    raise RuntimeError(f"{_SHARES} test processes hold all ports: end some")


_ports: Final = _drawn()


def program(name: str, *, package: str, folders: str = "/usr/sbin:/usr/bin:/sbin:/bin") -> str:
    """Return the path of a server's program, from `folders` first; without it skip the test, or if CI=true fail it."""
    path = shutil.which(name, path=folders) or shutil.which(name)
    if path is not None:
        return path
    missing = f"{name} is not installed: apt-get install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


def as_user(user: str) -> list[str]:
    """Return the command prefix that runs a program as `user`; empty when we aren't root, since nothing can change."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--init-groups", "--"]


def give(path: Path, user: str) -> None:
    """Make `user` own `path`, if we are root; otherwise we own it, and the server runs as us."""
    if os.geteuid() == 0:
        account = pwd.getpwnam(user)
        os.chown(path, account.pw_uid, account.pw_gid)


class Process:
    """A running server. `command` stays in the foreground; its output goes to `log`."""

    def __init__(self, command: Sequence[str], *, folder: Path, log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The server's own pid; its children, if any, are ended with it."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._popen.poll() is None

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return once `ready` says so; raise ServerError if the process ends before, or takes too long."""
        try:
            self._wait_until(ready)
        except BaseException:
            self.kill()
            raise

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            if not self.running or time.monotonic() > deadline:
                raise ServerError(self._log.read_text(errors="replace")[-2000:])
            time.sleep(POLL_SECONDS)

    def stop(self, ending: signal.Signals = signal.SIGTERM) -> None:
        """End it politely and wait; one that doesn't go is killed."""
        if self.running:
            self._popen.send_signal(ending)
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it and its descendants with SIGKILL, and wait until they are gone."""
        family = [self.pid, *descendants(self.pid)] if self.running else []
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._popen.wait(STOP_SECONDS)
        deadline = time.monotonic() + STOP_SECONDS
        while any(alive(pid) for pid in family) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def descendants(pid: int) -> list[int]:
    """Return the pids of all children and their children, as far as they are still alive."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [*children, *(below for child in children for below in descendants(child))]


def alive(pid: int) -> bool:
    """Whether a process is there and more than a zombie that its parent hasn't fetched yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def accepts(port: int, greeting: bytes = b"") -> bool:
    """Whether something on the loopback port takes a connection and, if asked, greets with these bytes."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return not greeting or connection.recv(len(greeting), socket.MSG_WAITALL) == greeting
    except OSError:
        return False
