"""What the crash tests do to a scene, so that `make crash` does just the same, only more often."""

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pika

from common.broker import FETCHED, OUTCOMES, jobs_queue
from tests.crash.installations import Cluster
from tests.crash.points import MAILS
from tests.crash.scene import Drained, Scene, samples, wide
from tests.crash.service import END_SECONDS, STARTED
from tests.servers.dovecot import Dovecot
from tests.servers.process import descendants

KILLED: Final = -signal.SIGKILL

RANDOM_SECONDS: Final = {"run": 0.7, "fetcher": 1.5, "router": 1.5, "deliverer": 1.5}
"""How long after mail came a process is killed at the latest: by then a dozen are done."""

LOAD: Final = 40
"""Mails that are under way when a process is stopped: some 70 deliveries, one after the other over LMTP."""

SERVER_LOAD: Final = 100
"""The same when a server is killed, which takes longer than a process."""

FEW: Final = 4
"""Mails that show that all is up."""

UNDER_WAY: Final = 5
"""Deliveries by which it shows that they are."""

SERVER_SECONDS: Final = 180.0
"""A drain after a server was away: its clients come back within the 30 s of their longest pause."""


def crash_at(scene: Scene, command: str, point: str, *, mails: int) -> Drained:
    """Have a process that doesn't run yet die by itself at the point; then heal and drain."""
    scene.plant(samples(mails))
    scene.service.start(command, crash_at=point)
    deadline = time.monotonic() + END_SECONDS
    while not scene.service.has_ended(command, 1.0):
        assert time.monotonic() < deadline, f"{command} never reached {point}: {scene.service.tail(command)}"
        scene.rows.poll_now()
    code = scene.service.ending(command)
    assert code == KILLED, f"{command} ended with {code}, not at {point}: {scene.service.tail(command)}"
    return _healed(scene, command).drain()


def kill_at_random(scene: Scene, source: random.Random, commands: Sequence[str], *, mails: int) -> Drained:
    """Kill the running processes one after the other, each with mails of its own under way; then drain."""
    for command in commands:
        scene.plant([*samples(mails), wide()])
        scene.service.await_event(command, STARTED)
        ended_by_itself = scene.service.has_ended(command, source.uniform(0, RANDOM_SECONDS[command]))
        assert not ended_by_itself, scene.service.tail(command)
        scene.service.kill(command)
        _healed(scene, command)
    return scene.drain()


def stop_under_load(scene: Scene, command: str) -> Drained:
    """Ask a running process to stop while mail is under way, start it again, and drain: nothing is made older."""
    scene.service.await_event(command, STARTED)
    scene.plant(samples(LOAD))
    scene.await_deliveries(UNDER_WAY)
    assert scene.delivered < _deliveries(scene), "all was done before the stop"
    scene.service.stop(command)
    scene.assert_nothing_gone_undelivered()
    scene.service.start(command)
    return scene.drain()


def kill_rabbitmq(cluster: Cluster, scene: Scene) -> Drained:
    """Kill it with mail under way; what it had on disk goes on, what it had not confirmed is published again."""
    scene.plant(samples(FEW))
    scene.drain()  # so that each queue is there before its name has to be on disk
    cluster.rabbitmq.sync_names()
    _begin(scene)
    cluster.rabbitmq.kill()
    scene.assert_nothing_gone_undelivered()
    assert scene.remote, "all was done before the kill"
    cluster.rabbitmq.start()
    return scene.drain(seconds=SERVER_SECONDS)


def kill_rabbitmq_early(cluster: Cluster, scene: Scene) -> Drained:
    """Kill it as if its queues had been declared a moment before: they have no leader, until workers delete them."""
    scene.plant(samples(FEW))
    scene.drain()
    cluster.rabbitmq.lose_leaders((FETCHED, jobs_queue("local"), OUTCOMES))
    scene.plant(samples(LOAD))
    return scene.drain(seconds=2 * SERVER_SECONDS, queues_lost=True)


def restart_rabbitmq(cluster: Cluster, scene: Scene) -> Drained:
    """Shut it down in order with mail under way, and start it again: consumers come back by themselves."""
    _begin(scene)
    cluster.rabbitmq.stop()
    scene.assert_nothing_gone_undelivered()
    assert scene.remote, "all was done before the stop"
    cluster.rabbitmq.start()
    return scene.drain(seconds=SERVER_SECONDS)


def wipe_rabbitmq(cluster: Cluster, scene: Scene, idle: str) -> Drained:
    """Lose all that waits for one role: the router's fetched mails, or the deliverer's jobs."""
    scene.service.stop(idle)
    scene.plant(samples(SERVER_LOAD))
    if idle == "router":
        scene.await_states(fetched=SERVER_LOAD)
    else:
        scene.await_states(routed=SERVER_LOAD, pending=_deliveries(scene))
    cluster.rabbitmq.wipe()
    scene.assert_nothing_gone_undelivered()
    scene.rows.age_what_was_queued()
    scene.service.start(idle)
    return scene.drain(seconds=SERVER_SECONDS, queues_lost=True)


def kill_postgres(cluster: Cluster, scene: Scene) -> Drained:
    """Kill it amid commits; without the ledger nothing is deleted that it had not seen delivered."""
    _begin(scene)
    cluster.postgres.kill()
    left = scene.remote
    assert left, "all was done before the kill"
    scene.service.await_event("fetcher", "schedule_unanswered")
    scene.assert_nothing_gone_undelivered()
    assert scene.remote == left, "deleted without a ledger"
    cluster.postgres.start()
    return scene.drain(seconds=SERVER_SECONDS)


def restart_postgres(cluster: Cluster, scene: Scene) -> Drained:
    """Restart it amid commits: connections are cut, and what was not committed is written again."""
    _begin(scene)
    cluster.postgres.restart()
    scene.assert_nothing_gone_undelivered()
    return scene.drain(seconds=SERVER_SECONDS)


def route_twins(cluster: Cluster, scene: Scene) -> Drained:
    """Have two routers take two mails of a copy at a time: each recipient is delivered one, both mails are deleted."""
    with scene.service.beside("router-2"):
        scene.wait_until(lambda: _consumers(cluster, FETCHED) == 2)
        before = _routed(scene)
        scene.plant_twins(samples(MAILS))
        drained = scene.drain()
    shares = [now - then for now, then in zip(_routed(scene), before, strict=True)]
    assert sum(shares) == 2 * MAILS
    assert all(shares), f"one router did all: {shares}"
    return drained


def stop_at_a_frozen_target(scene: Scene, dovecot: Dovecot, command: str) -> Drained:
    """Ask a process to stop while its LMTP server says nothing any more: what it can't finish, it hands back."""
    scene.service.await_event(command, STARTED)
    scene.plant(samples(LOAD))
    scene.await_deliveries(UNDER_WAY)
    with lmtp_frozen(dovecot):
        scene.service.stop(command)
    scene.assert_nothing_gone_undelivered()
    scene.rows.age_what_died(command)  # a mail past its dot stays claimed: whether it came is not known
    scene.service.start(command)
    return scene.drain()


@contextmanager
def lmtp_frozen(dovecot: Dovecot) -> Iterator[None]:
    """Have the LMTP sessions that are open say nothing meanwhile."""
    serving = [pid for pid in descendants(dovecot.pid) if Path(f"/proc/{pid}/comm").read_text().strip() == "lmtp"]
    assert serving, "no LMTP session is open"
    for pid in serving:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in serving:
            os.kill(pid, signal.SIGCONT)


def _consumers(cluster: Cluster, queue: str) -> int:
    connection = pika.BlockingConnection(pika.URLParameters(cluster.rabbitmq.url))
    try:
        found: int = connection.channel().queue_declare(queue, passive=True).method.consumer_count
    finally:
        connection.close()
    return found


def _routed(scene: Scene) -> list[int]:
    return [len(scene.service.lines(router, {"mail_routed"})) for router in ("router", "router-2")]


def _deliveries(scene: Scene) -> int:
    return sum(len(sample.recipients) for sample in scene.planted)


def _begin(scene: Scene) -> None:
    scene.plant(samples(SERVER_LOAD))
    scene.await_deliveries(UNDER_WAY)


def _healed(scene: Scene, command: str) -> Scene:
    scene.assert_nothing_gone_undelivered()
    scene.rows.age_what_died(command)
    scene.service.start(command)
    return scene
