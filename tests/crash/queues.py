"""What RabbitMQ does to its clients while it lives: cancels consumers, loses patience with one, raises an alarm."""

from typing import Final

from common.broker import OUTCOMES
from tests.crash.installations import Cluster
from tests.crash.kills import LOAD, SERVER_SECONDS, UNDER_WAY, lmtp_frozen
from tests.crash.nodes import QUEUES, await_flow, coming
from tests.crash.scene import Drained, Scene, samples
from tests.crash.service import STARTED
from tests.servers.dovecot import Dovecot
from tests.servers.rabbitmq import VHOST

ALARMS: Final = {
    "memory": (("set_vm_memory_high_watermark", "absolute", "1"), ("set_vm_memory_high_watermark", "absolute", "1GB")),
    "disk": (("set_disk_free_limit", "100000GB"), ("set_disk_free_limit", "50MB")),
}
"""How an alarm is raised, and how it ends."""

BLOCKED: Final = 6
"""Mails that come while nothing may begin: three seconds of them."""

IMPATIENT: Final = (
    "application:set_env(rabbit, consumer_timeout, 1000), application:set_env(rabbit, channel_tick_interval, 500)."
)
PATIENT: Final = (
    "application:set_env(rabbit, consumer_timeout, 1800000), application:set_env(rabbit, channel_tick_interval, 60000)."
)
"""How long RabbitMQ lets a consumer keep a message: a second, or as it does by itself."""


def delete_queues(cluster: Cluster, scene: Scene) -> Drained:
    """Delete each queue while mail comes: what was in it is lost, its consumer is cancelled or made deaf."""
    with coming(scene):
        for queue in QUEUES:
            cluster.rabbitmq.ctl("delete_queue", "--vhost", VHOST, queue)
            await_flow(scene)
    return scene.drain(seconds=SERVER_SECONDS, queues_lost=True)


def outlast_patience(cluster: Cluster, scene: Scene, dovecot: Dovecot) -> Drained:
    """Keep a message for longer than RabbitMQ lets a consumer: its channel is closed, and its messages come again."""
    service = scene.service
    cluster.rabbitmq.ctl("eval", IMPATIENT)
    try:
        service.stop("deliverer")  # a channel reads these numbers when it is opened
        service.start("deliverer")
        service.await_event("deliverer", STARTED)
        scene.plant(samples(LOAD))
        scene.await_deliveries(UNDER_WAY)
        with lmtp_frozen(dovecot):
            service.await_event("deliverer", "consumer_channel_lost")
    finally:
        cluster.rabbitmq.ctl("eval", PATIENT)
    drained = scene.drain(seconds=SERVER_SECONDS)
    service.stop("deliverer")
    service.start("deliverer")
    return drained


def raise_alarm(cluster: Cluster, scene: Scene, alarm: str) -> Drained:
    """Raise an alarm: outcomes that wait are settled, no new poll begins; after it all goes on."""
    on, off = ALARMS[alarm]
    service, count = scene.service, len(samples(1))
    _have_outcomes_wait(scene)
    cluster.rabbitmq.ctl(*on)
    try:
        service.start("fetcher")
        scene.wait_until(lambda: not _waiting(cluster) and "pending" not in scene.rows.undone())
        with coming(scene, drained=False):
            service.await_event("fetcher", "broker_blocked")
            polls = _polls(scene)
            before = len(scene.planted)
            scene.wait_until(lambda: len(scene.planted) >= before + BLOCKED * count)
            assert _polls(scene) == polls, "a poll began although RabbitMQ took nothing"
    finally:
        cluster.rabbitmq.ctl(*off)
    return scene.drain(seconds=SERVER_SECONDS)


def _have_outcomes_wait(scene: Scene) -> None:
    """Have mail delivered while there is no fetcher to hear of it."""
    service = scene.service
    service.stop("deliverer")
    mails = samples(UNDER_WAY)
    deliveries = sum(len(mail.recipients) for mail in mails)
    scene.plant(mails)
    scene.await_states(routed=len(mails), pending=deliveries)
    service.stop("fetcher")
    service.start("deliverer")
    scene.await_deliveries(deliveries)


def _waiting(cluster: Cluster) -> bool:
    listed = cluster.rabbitmq.ctl("list_queues", "--vhost", VHOST, "--no-table-headers", "name", "messages")
    return f"{OUTCOMES}\t0" not in listed.splitlines()


def _polls(scene: Scene) -> int:
    return len(scene.service.lines("fetcher", {"poll_started"}))
