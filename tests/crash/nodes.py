"""What happens to the nodes of a RabbitMQ cluster while mail keeps coming: no pause may be longer than a minute."""

import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from common.broker import FETCHED, OUTCOMES, jobs_queue
from tests.crash.kills import FEW, LOAD, SERVER_SECONDS
from tests.crash.scene import Drained, Scene, lone, samples
from tests.servers.rabbitmq_cluster import RabbitCluster

PAUSE_SECONDS: Final = 60.0
"""How long no mail may arrive while mail keeps coming and most nodes live."""

EACH_SECONDS: Final = 0.5
"""Between two mails that come."""

GIVEN_UP_SECONDS: Final = 100.0
"""By then a queue that alone gave no answer would have been deleted."""

JOBS: Final = jobs_queue("local")
QUEUES: Final = (FETCHED, JOBS, OUTCOMES)


def kill_leaders(nodes: RabbitCluster, scene: Scene, queues: Iterable[str] = QUEUES) -> Drained:
    """Kill the leader of each of these queues in turn, with mail under way; it comes back before the next is killed."""
    with coming(scene) as began:
        for queue in queues:
            leader = nodes.leaders()[queue]
            leader.kill()
            await_flow(scene)
            leader.start()
    return _drained(scene, began)


def freeze_node(nodes: RabbitCluster, scene: Scene) -> Drained:
    """Freeze the node with the most connections: they stay open and say nothing, and the others elect leaders."""
    with coming(scene) as began:
        node = nodes.busiest()
        node.freeze()
        try:
            await_flow(scene)
        finally:
            node.thaw()
        await_flow(scene)
    return _drained(scene, began)


def freeze_majority(nodes: RabbitCluster, scene: Scene) -> Drained:
    """Freeze two of three: nothing can work, and that is no queue's fault, so none is deleted; thawed, all goes on."""
    scene.plant(samples(FEW))
    scene.drain()
    for node in nodes.nodes[1:]:
        node.freeze()
    thaw_at = time.monotonic() + GIVEN_UP_SECONDS
    scene.plant(samples(LOAD))
    scene.wait_until(lambda: time.monotonic() > thaw_at)
    for node in nodes.nodes[1:]:
        node.thaw()
    drained = scene.drain(seconds=2 * SERVER_SECONDS)
    deleted = [line for role in scene.service.commands for line in scene.service.lines(role, {"queue_made_anew"})]
    assert not deleted, deleted
    return drained


@contextmanager
def coming(scene: Scene, *, drained: bool = True) -> Iterator[float]:
    """Have mail come all the time, and yield since when; `drained`: once the first went its whole way."""
    if drained:
        scene.plant(samples(FEW))
        scene.drain()
    ended, failed = threading.Event(), []

    def come() -> None:
        try:
            while not ended.wait(EACH_SECONDS):
                scene.plant(samples(1))
        except Exception as error:  # noqa: BLE001 (a thread has nobody to raise it to)
            failed.append(error)

    coming = threading.Thread(target=come)
    coming.start()
    try:
        yield time.time()
    finally:
        ended.set()
        coming.join()
    assert not failed, failed


def await_flow(scene: Scene) -> None:
    """Return once a mail that comes now has arrived, and is deleted on the server: every queue works."""
    mail = lone()
    scene.plant([mail])
    scene.wait_until(lambda: scene.is_through(mail), seconds=SERVER_SECONDS, nudge=scene.rows.poll_now)
    scene.assert_nothing_gone_undelivered()


def _drained(scene: Scene, began: float) -> Drained:
    drained = scene.drain(seconds=SERVER_SECONDS)
    times = [began, *(moment for moment in scene.arrivals() if moment > began)]
    pause = max(later - earlier for earlier, later in itertools.pairwise(times))
    return replace(drained, pause=pause)
