"""The lock of the one worker process, where the ledger or the broker is for one: taken here, and looked at."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from common.config import Config
from common.failures import PpsError, UsageError

LOOKS: Final = 5
LOOK_SECONDS: Final = 0.02
"""Who only asks whether the lock is held holds it for microseconds: a start must not fail by that."""


@contextmanager
def alone(config: Config) -> Iterator[None]:
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
        yield
    finally:
        os.close(descriptor)


def is_held(config: Config) -> bool | None:
    """Return whether a worker process holds the lock; None if we may not look. The file is not made by asking."""
    try:
        descriptor = os.open(lock_path(config), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


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
