"""The lock that makes one worker process the only one on its ledger, and what its holder says of itself in it.

Others read there whom to send a signal, and how the holder took the last one.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from common.config import Config
from common.failures import PpsError, UsageError

LOOKS: Final = 5
LOOK_SECONDS: Final = 0.02
"""Who only asks whether the lock is held holds it for microseconds: a start must not fail by that."""

_MAX_OCTETS: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds the lock."""

    pid: int
    reloads: bool = False  # whether it takes SIGHUP, as a service does and a pull doesn't
    begun: int = 0  # reloads that it has begun, each by reading the file
    answered: int = 0  # of these, those that it has dealt with
    answer: str = ""  # how the last one went, in one line; empty: well

    def __post_init__(self) -> None:
        """Reject what no process writes: as a signal's address, a negative number means many processes."""
        if type(self.pid) is not int or self.pid < 0:
            raise ValueError(f"not a process: {self.pid!r}")


Tell = Callable[[Holder], None]
"""Writes into the lock file what its holder has to say."""


class Reloads:
    """Says in the lock file that SIGHUP is welcome, and how each reload goes: `pps reload` waits for it."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._now = Holder(pid=os.getpid(), reloads=True)
        tell(self._now)

    def begin(self) -> None:
        """Count a reload, before the file is read: who asked until now is answered by this one."""
        self._say(begun=self._now.begun + 1)

    def answer(self, complaint: str) -> None:
        """Tell how the reload ended; "" is well."""
        self._say(answered=self._now.begun, answer=complaint)

    def _say(self, **news: Any) -> None:  # noqa: ANN401 (fields of Holder)
        self._now = replace(self._now, **news)
        self._tell(self._now)


@contextmanager
def alone(config: Config) -> Iterator[Tell]:
    """Hold the lock that makes this the only worker process on the ledger; raises UsageError if another has it."""
    path = lock_path(config)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PpsError(f"[service] ledger: can't write its lock file {path}: {error.strerror}") from error
    try:
        if not _taken(descriptor):
            raise UsageError(
                f"[service] ledger: another process works on it (lock file {path}): SQLite and memory: are for one "
                "process; for more, use ledger = postgresql://… and broker = amqp://… (PostgreSQL and RabbitMQ)"
            )
        _write(descriptor, Holder(pid=os.getpid()))
        yield lambda holder: _write(descriptor, holder)
    finally:
        os.close(descriptor)


def is_held(config: Config) -> bool | None:
    """Return whether a worker process holds the lock; None if we may not look. The file is not made by asking."""
    try:
        return holder_of(config) is not None
    except PpsError:
        return None


def holder_of(config: Config) -> Holder | None:
    """Return who works on a ledger that belongs to one process, None if nobody does; raises PpsError."""
    path = lock_path(config)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PpsError(f"[service] ledger: can't read its lock file {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(os.pread(descriptor, _MAX_OCTETS, 0))
    finally:
        os.close(descriptor)
    return None


def is_single(config: Config) -> bool:
    """Whether the ledger or the broker belongs to one worker process."""
    return config.service.ledger.startswith("sqlite:") or config.service.broker == "memory:"


def lock_path(config: Config) -> Path:
    """Return the lock file: beside the SQLite database, else beside the configuration."""
    ledger = config.service.ledger
    if ledger.startswith("sqlite:///"):
        return Path(f"{config.base / ledger.removeprefix('sqlite:///')}.lock")
    return config.base / "pps.lock"


def _taken(descriptor: int) -> bool:
    for look in range(LOOKS):
        if look:
            time.sleep(LOOK_SECONDS)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def _write(descriptor: int, holder: Holder) -> None:
    """Say so, if there is room on the disk: the lock holds without it."""
    line = json.dumps(asdict(holder)).encode()[: _MAX_OCTETS - 1]
    with contextlib.suppress(OSError):
        os.pwrite(descriptor, line.ljust(_MAX_OCTETS - 1) + b"\n", 0)  # one write of one length: never half of two


def _holder(data: bytes) -> Holder:
    try:
        return Holder(**json.loads(data))
    except (ValueError, TypeError):
        return Holder(pid=0)  # it is only just starting
