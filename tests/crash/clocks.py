"""Workers whose clocks are an hour wrong, each in another direction, and jump: only the database's clock decides."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from common.ledger.leasing import LEASE_MS
from tests.crash.kills import LOAD, UNDER_WAY
from tests.crash.points import MAILS
from tests.crash.scene import Drained, Scene, held_back, samples
from tests.crash.service import ROLES, STARTED

CLOCKS: Final = {"fetcher": ("+1h", "-1h"), "router": ("-1h", "+1h"), "deliverer": ("+1h", "-1h")}
"""By how much each is wrong at first, and after a jump."""

FIRST_RETRY_SECONDS: Final = (5 * 60 * 0.8, 5 * 60 * 1.2)
"""When a delivery that was just put off is due."""


def skew_clocks(scene: Scene) -> Drained:
    """Have each role work by a wrong clock that jumps: leases and retries are as long as ever."""
    for role, (first, _) in CLOCKS.items():
        scene.service.stop(role)
        _clock(scene, role).write_text(first)
        scene.service.start(role, environment=_wrong_clock(_clock(scene, role)))
    for role in ROLES:
        scene.service.await_event(role, STARTED)
    with held_back(scene) as sample:
        scene.plant([sample, *samples(MAILS)])
        leased_for, deferred_for = _times(scene)
        assert 0 < leased_for <= LEASE_MS / 1000
        assert FIRST_RETRY_SECONDS[0] - 30 < deferred_for <= FIRST_RETRY_SECONDS[1]  # looked at a little later
        for role, (_, later) in CLOCKS.items():
            _clock(scene, role).write_text(later)
        scene.plant(samples(MAILS))
        scene.wait_until(lambda: scene.remote <= 1, nudge=scene.rows.poll_now)
    drained = scene.drain()
    for role in ROLES:
        scene.service.stop(role)
        scene.service.start(role)
    return drained


def jump_clock(scene: Scene) -> Drained:
    """Have one process work by a wrong clock, which is the ledger's too, and which jumps two hours on amid the work.

    Claims and leases seem to have run out then, while what they stand for is still being done. Into Maildirs only: at
    an LMTP server such a delivery is in doubt until its outcome comes, and here retries don't wait for five minutes.
    """
    clock = _clock(scene, "run")
    clock.write_text("-1h")
    scene.service.start("run", environment=_wrong_clock(clock))
    scene.service.await_event("run", STARTED)
    scene.plant(samples(LOAD))
    scene.await_deliveries(UNDER_WAY)
    clock.write_text("+1h")
    scene.assert_nothing_gone_undelivered()
    return scene.drain()


def _times(scene: Scene) -> tuple[float, float]:
    """Return how long the lease lasts that is seen first, and when the delivery is due that was put off."""
    found: dict[str, float] = {}

    def both() -> bool:
        if (leased := scene.rows.leased_for()) is not None:
            found.setdefault("leased", leased)
        if (deferred := scene.rows.deferred_for()) is not None:
            found.setdefault("deferred", deferred)
        return len(found) == 2

    scene.wait_until(both)
    return found["leased"], found["deferred"]


def _clock(scene: Scene, role: str) -> Path:
    return scene.service.folder / f"{role}.clock"


def _wrong_clock(offset: Path) -> Mapping[str, str]:
    """Return the environment in which a process reads its clock by the offset in the file, at each call anew."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        missing = "libfaketime is not installed: apt-get install libfaketime"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
