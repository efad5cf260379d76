"""What the service's disks may do to it: each of its folders full, and its ledger locked by another program."""

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.crash.kills import UNDER_WAY
from tests.crash.scene import Drained, Scene, samples

SIGNS: Final = {"ledger": "ledger_unavailable", "blobs": "poll_ended", "mail": "target_paused"}
"""What the log says once a folder's disk is full."""

SIZE: Final = "32m"
_FILL: Final = b"\0" * 65_536

LOAD: Final = 60
"""Mails that are under way when a disk fills up: some hundred deliveries."""


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Have the folder on a disk of its own, which takes root to mount: elsewhere the test is skipped."""
    if os.geteuid() != 0:
        missing = "only root mounts a disk"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Leave the folder's disk no free octet meanwhile."""
    fill(folder)
    try:
        yield
    finally:
        (folder / "filler").unlink()


def fill(folder: Path) -> None:
    """Take what is free, or has become so since."""
    with (folder / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(_FILL):
            pass


def fill_disk(scene: Scene, part: str) -> Drained:
    """Fill the disk of "ledger", "blobs" or "mail" amid the work: nothing is acked, deleted or cut for it."""
    folder = scene.service.folder / part
    scene.plant(samples(LOAD))
    scene.await_deliveries(UNDER_WAY)
    with full(folder):
        scene.plant(samples(LOAD), due=part != "ledger")  # what was there before may all be done by now
        if part == "blobs":
            scene.wait_until(lambda: bool(_polls_without_room(scene)), nudge=lambda: _poll_without_room(scene, folder))
        else:
            scene.service.await_event("run", SIGNS[part])
        _assert_nothing_goes(scene, stands_still=part == "ledger")
    drained = scene.drain()
    assert not [path for path in folder.glob("**/tmp/*") if path.is_file()], "what could not be written whole is left"
    return drained


def lock_ledger(scene: Scene) -> Drained:
    """Have another program keep the SQLite file locked amid the work: writes wait, and nothing is deleted meanwhile."""
    scene.plant(samples(LOAD))
    scene.await_deliveries(UNDER_WAY)
    path = scene.service.folder / "ledger" / "pps.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        scene.plant(samples(LOAD), due=False)  # what was there before may all be done by now
        scene.service.await_event("run", "ledger_unavailable")
        _assert_nothing_goes(scene, stands_still=True)
        other.execute("ROLLBACK")
    return scene.drain()


def _poll_without_room(scene: Scene, folder: Path) -> None:
    fill(folder)  # mail that was delivered since left room
    scene.rows.poll_now()


def _polls_without_room(scene: Scene) -> list[str]:
    ends = scene.service.lines("run", {"poll_ended"})
    return [end["error"] for end in ends if end["result"] == "local" and "No space left" in end["error"]]


def _assert_nothing_goes(scene: Scene, *, stands_still: bool) -> None:
    left = scene.remote
    assert left, "all was done before"
    scene.assert_nothing_gone_undelivered()
    scene.assert_only_whole()
    assert not stands_still or scene.remote == left, "deleted without a ledger"
