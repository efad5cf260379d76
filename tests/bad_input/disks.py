"""Good command lines on disks that are locked, read-only or full. Root has them mounted: no mode keeps root out."""

import os
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.bad_input.case import BadInput, configured
from tests.bad_input.surroundings import GONE

_ROOT: Final = os.geteuid() == 0
_FILL: Final = b"\0" * 1024 * 1024


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Have another program amid a transaction of its own."""
    ledger = sqlite3.connect(folder / "pps.db", isolation_level=None)
    ledger.execute("PRAGMA journal_mode = WAL")
    ledger.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        ledger.close()


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    disk = folder / "disk"
    disk.mkdir()
    if _ROOT:
        with _mounted(disk, "ro"):
            yield
        return
    disk.chmod(0o555)
    try:
        yield
    finally:
        disk.chmod(0o755)


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    """A disk without a free octet; for who may mount none, files that may have no octet: the errors are alike."""
    disk = folder / "disk"
    disk.mkdir()
    if _ROOT:
        with _mounted(disk, "size=64k"), (disk / "fill").open("wb", buffering=0) as fill:
            fill.write(_FILL)
            yield
        return
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def _mounted(disk: Path, options: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


_LOCKED: Final = (
    "[service] ledger: can't use {folder}/pps.db: database is locked: another program has it locked: end that one "
    "(fuser -v FILE names it), or try again"
)

DISKS: Final = (
    BadInput(name="locked ledger", arguments=("profile", "sync"), prints=_LOCKED, code=1, around=_locked),
    BadInput(
        name="locked ledger at a pull", arguments=("pull",), prints=f"pps.toml: {_LOCKED}", code=1, around=_locked
    ),
    BadInput(
        name="ledger in a read-only folder",
        arguments=("run",),
        prints="[service] ledger: can't write its lock file {folder}/disk/pps.db.lock: "
        + ("Read-only file system" if _ROOT else "Permission denied"),
        code=1,
        set_up=configured('ledger = "sqlite:///disk/pps.db"'),
        around=_read_only,
    ),
    BadInput(
        name="ledger in a read-only folder, migrated",
        arguments=("migrate",),
        prints="[service] ledger: this user may not write {folder}/disk: chown it, or run as its owner",
        code=1,
        set_up=configured('ledger = "sqlite:///disk/pps.db"'),
        around=_read_only,
    ),
    BadInput(
        name="log in a read-only folder",
        arguments=("pull",),
        prints="[service] log: can't write {folder}/disk/pop3.log: "
        + ("Read-only file system" if _ROOT else "Permission denied"),
        set_up=configured('log = "disk/pop3.log"'),
        around=_read_only,
    ),
    BadInput(
        name="ledger on a full disk",
        arguments=("migrate",),
        prints="[service] ledger: can't use {folder}/disk/pps.db: "
        + ("database or disk is full: make room" if _ROOT else "disk I/O error: the disk fails or is full: see df"),
        code=1,
        set_up=configured('ledger = "sqlite:///disk/pps.db"'),
        around=_full,
    ),
    *(
        [
            BadInput(
                name="log on a full disk stops nothing",
                arguments=("pull",),
                prints=f"office: 127.0.0.1 {GONE}: the connection was refused: check the port in server",
                code=1,
                set_up=configured('log = "disk/pop3.log"'),
                environment={"PPS_TEST_PASSWORD": "x"},
                around=_full,
            )
        ]
        if _ROOT  # a limit of the process would be one on its ledger, too
        else []
    ),
)
