"""Checks of this machine: the key, the folders of blobs, log and ledger, their disks, the clock, who holds the lock."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from common.config import Config
from common.failures import PpsError
from common.lock import holder_of, is_single
from common.secrets import resolve
from manager.doctor.check import Check, ok, problem, warning

FEW_OCTETS: Final = 1024 * 1024 * 1024
"""Free space below which a burst of large mails may fill the disk."""

_MIB: Final = 1024 * 1024
_CLOCK_SECONDS: Final = 60


def is_to_be_made(url: str, scheme: str) -> bool:
    """Whether this names a file by this scheme, and there is none yet."""
    return url.startswith(scheme) and not Path(url.removeprefix(scheme)).exists()


async def key_check(config: Config) -> Check:
    """Look whether typed passwords can be sealed and opened."""
    reference = config.service.key
    if is_to_be_made(reference, "file:"):
        return warning(
            "key", f"{reference}: there is none, so no password can be typed and stored: `pps init` makes one"
        )
    try:
        await resolve(reference, base=config.base)
    except PpsError as error:
        return problem("key", f"[service] key: {error}")
    return ok("key", f"{reference.partition(':')[0]}: is there, and only its owner may read it")


def log_check(config: Config) -> Check:
    """Look whether the log can be written."""
    if config.service.log == "-":
        return ok("log", "goes to stderr")
    return _writable("log", "[service] log", Path(config.service.log), folder=False)


def blobs_checks(config: Config) -> Iterator[Check]:
    """Look whether large mails have a place, and how much of it, where that is a folder."""
    if not config.service.blobs.startswith("file:"):
        return
    folder = Path(unquote(config.service.blobs.removeprefix("file:")))
    yield _writable("blobs", "[service] blobs", folder, folder=True)
    yield from _space("blobs", folder)


def ledger_file_checks(config: Config) -> Iterator[Check]:
    """Look whether SQLite can write its file, and how much more."""
    if config.service.ledger.startswith("sqlite:///"):
        path = Path(config.service.ledger.removeprefix("sqlite:///"))
        yield _writable("ledger", "[service] ledger", path, folder=False)
        yield from _space("ledger", path)


def lock_check(config: Config) -> Check:
    """Look whether a service runs, where only one can."""
    if not is_single(config):
        return ok("service", "as many processes as you like: PostgreSQL and RabbitMQ tell them apart")
    try:
        holder = holder_of(config)
    except PpsError as error:
        return problem("service", str(error))
    if holder is None:
        return warning("service", "nothing runs: no mail is fetched: pps run")
    return ok("service", f"process {holder.pid} is at work")


def clock_check(config: Config, now: float | None = None) -> Check:
    """Look whether the clock is behind what was written already; `now` is the time, for tests."""
    behind = config.path.stat().st_mtime - (time.time() if now is None else now)
    if behind > _CLOCK_SECONDS:
        return problem(
            "clock", f"is {behind:.0f} s behind the date of {config.path}: set it, as by timedatectl set-ntp true"
        )
    return ok("clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


def _writable(area: str, key: str, path: Path, *, folder: bool) -> Check:
    """Say whether a file or folder can be written, or made; nothing is made by asking."""
    if path.exists():
        if path.is_dir() is not folder:
            return problem(area, f"{key}: {path} is {'no' if folder else 'a'} folder: name another")
        reach, says = path, f"{path} can be written"
    else:
        reach, says = _nearest(path) if folder else path.parent, f"{path} can be made"
        if not reach.is_dir():
            return problem(area, f"{key}: there is no folder {reach}: make it, or name another place")
    wanted = os.W_OK | (os.X_OK if reach.is_dir() else 0)
    if not os.access(reach, wanted):
        return problem(area, f"{key}: this user may not write {reach}: chown it, or run as its owner")
    return ok(area, says)


def _space(area: str, path: Path) -> Iterator[Check]:
    found = os.statvfs(_nearest(path))
    free = found.f_bavail * found.f_frsize
    if free < FEW_OCTETS:
        yield warning(area, f"only {free // _MIB} MiB are free for {path}: make room")


def _nearest(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
