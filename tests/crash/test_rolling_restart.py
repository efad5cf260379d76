"""Two of each role, restarted one after the other while mail flows: nothing is lost, nothing is begun twice."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.crash.kills import UNDER_WAY
from tests.crash.scene import DRAIN_SECONDS, LOOK_SECONDS, NUDGE_SECONDS, Scene, samples
from tests.crash.service import ROLES, STARTED

WORKS = {"fetcher": "mail_fetched", "router": "mail_routed", "deliverer": "delivery_attempted"}
"""What a worker says once it has taken work."""

MAILS = 12
"""That come before and after a process is stopped: some 20 deliveries, one after the other over LMTP."""


@pytest.fixture
def pairs(cluster_scene_lmtp: Scene) -> Iterator[Scene]:
    """Return a scene on two processes of each role; the LMTP server shows every delivery that was made twice."""
    service = cluster_scene_lmtp.service
    seconds = [f"{role}-2" for role in ROLES]
    for command in seconds:
        service.start(command)
    for command in seconds:
        service.await_event(command, STARTED)
    yield cluster_scene_lmtp
    for command in seconds:
        service.stop(command)


def restarted(scene: Scene, command: str, *, other: str) -> float:
    """Restart a process under load; return how long its twin, alone meanwhile, took to take up new mail."""
    delivered = scene.delivered
    scene.plant(samples(MAILS))
    wait(scene, lambda: scene.delivered >= delivered + UNDER_WAY)
    scene.service.stop(command)
    scene.assert_nothing_gone_undelivered()
    before, began = work_of(scene, other), time.monotonic()
    scene.plant(samples(MAILS))
    wait(scene, lambda: work_of(scene, other) > before)
    took = time.monotonic() - began
    scene.service.start(command)
    scene.service.await_event(command, STARTED)
    return took


def wait(scene: Scene, reached: Callable[[], bool]) -> None:
    """Return once it is reached; a poll that was at work when mail came is followed by the next at once."""
    deadline, nudge_at = time.monotonic() + DRAIN_SECONDS, 0.0
    while not reached():
        if (now := time.monotonic()) > nudge_at:
            assert now < deadline, scene.rows.undone()
            scene.rows.poll_now()
            nudge_at = now + NUDGE_SECONDS
        time.sleep(LOOK_SECONDS)


def work_of(scene: Scene, command: str) -> int:
    """Return how often a worker has said that it took work."""
    return len(scene.service.lines(command, {WORKS[command.partition("-")[0]]}))


def test_a_rolling_restart_of_everything_under_load(pairs: Scene) -> None:
    """Each ends in time and hands over; who came last takes work at once, being the only one left of its kind."""
    before = pairs.rows.begun_twice()
    for role in ROLES:
        restarted(pairs, role, other=f"{role}-2")
        took = restarted(pairs, f"{role}-2", other=role)
        print(f"{role}: the one that came last took up new mail in {took:.1f} s")  # noqa: T201 (shown with -rP)

    drained = pairs.drain()

    assert drained.accounting.exact, str(drained.accounting)
    assert pairs.rows.begun_twice() == before
