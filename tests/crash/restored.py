"""A ledger that comes back from a backup older than what was delivered and deleted since."""

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Final

from tests.command import Ended, pps
from tests.crash.points import MAILS
from tests.crash.scene import ENVIRONMENT, Drained, Scene, held_back, samples

NOTICED: Final = "ledger_restored"

FORGOTTEN: Final = frozenset({"blob_without_row"})
"""What may be told of mail that came after the backup: its blob is there, if it was not done with yet."""


def restore_ledger(scene: Scene) -> Drained:
    """Bring back yesterday's SQLite file: nothing is deleted, though all is delivered, before `pps verify` was read."""
    service = scene.service
    scene.plant(samples(MAILS))
    scene.drain()
    backup = _copied(service.folder / "ledger" / "pps.db", service.folder / "backup.db")
    service.stop("run")
    service.start("run")
    with held_back(scene) as sample:
        scene.plant([sample, *samples(MAILS)])
        scene.wait_until(lambda: scene.remote == 1, nudge=scene.rows.poll_now)
        service.kill("run")
        for suffix in ("", "-wal", "-shm"):
            Path(f"{service.folder / 'ledger' / 'pps.db'}{suffix}").unlink(missing_ok=True)
        _copied(backup, service.folder / "ledger" / "pps.db")
    service.start("run")
    service.await_event("run", NOTICED)
    scene.wait_until(lambda: scene.rows.undone() == {"routed": 1}, nudge=scene.nudge)  # its deletion alone is undone
    scene.rows.poll_now()
    scene.wait_until(lambda: _polls_that_keep(scene) > 1, nudge=scene.rows.poll_now)
    assert scene.remote == 1, "deleted before anybody read what `pps verify` found"
    assert _pps(scene, "verify", "--accept").code == 1, "accepted before there was anything to read"
    found = json.loads(_pps(scene, "verify", "--json").out)
    assert found["kinds"].keys() <= FORGOTTEN, found
    accepted = _pps(scene, "verify", "--accept")
    assert accepted.code == 0, accepted.err
    return scene.drain()


def _copied(source: Path, to: Path) -> Path:
    """Copy a ledger as a backup does, beside whoever writes to it."""
    with contextlib.closing(sqlite3.connect(source)) as here, contextlib.closing(sqlite3.connect(to)) as there:
        here.backup(there)
    return to


def _polls_that_keep(scene: Scene) -> int:
    ends = scene.service.lines("run", {"poll_ended"})
    return sum(1 for end in ends if end["profile"] == scene.box and "not deleted" in (end["error"] or ""))


def _pps(scene: Scene, *arguments: str) -> Ended:
    return pps(*arguments, folder=scene.service.folder, environment=ENVIRONMENT)
