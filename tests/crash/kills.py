"""What the crash tests do to a scene, so that `make crash` does just the same, only more often."""

import random
import signal
import time
from collections.abc import Sequence
from typing import Final

from tests.crash.scene import Drained, Scene, samples
from tests.crash.service import END_SECONDS, STARTED

KILLED: Final = -signal.SIGKILL

RANDOM_SECONDS: Final = 1.5
"""How long after it began to work a process is killed at the latest: a dozen mails take less."""


def crash_at(scene: Scene, command: str, point: str, *, mails: int) -> Drained:
    """Have a process that doesn't run yet die by itself at the point; then heal and drain."""
    reaches(scene, command, point, mails=mails)
    return heal(scene, command)


def reaches(scene: Scene, command: str, point: str, *, mails: int) -> None:
    """Plant mails and start a process that dies at the point; fail if it doesn't, or if a mail is gone undelivered."""
    scene.plant(samples(mails))
    scene.service.start(command, crash_at=point)
    deadline = time.monotonic() + END_SECONDS
    while not scene.service.has_ended(command, 1.0):
        assert time.monotonic() < deadline, f"{command} never reached {point}: {scene.service.tail(command)}"
        scene.rows.poll_now()
    code = scene.service.ending(command)
    assert code == KILLED, f"{command} ended with {code}, not at {point}: {scene.service.tail(command)}"
    scene.assert_nothing_gone_undelivered()


def heal(scene: Scene, command: str) -> Drained:
    """Start a dead process again and wait until all is drained."""
    scene.rows.age_what_died(command)
    scene.service.start(command)
    return scene.drain()


def kill_at_random(scene: Scene, source: random.Random, commands: Sequence[str], *, mails: int) -> Drained:
    """Kill the running processes one after the other, each with mails of its own under way; then drain."""
    for command in commands:
        scene.plant(samples(mails))
        scene.service.await_event(command, STARTED)
        ended_by_itself = scene.service.has_ended(command, source.uniform(0, RANDOM_SECONDS))
        assert not ended_by_itself, scene.service.tail(command)
        scene.service.kill(command)
        scene.assert_nothing_gone_undelivered()
        scene.rows.age_what_died(command)
        scene.service.start(command)
    return scene.drain()
