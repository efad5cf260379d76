"""RabbitMQ and PostgreSQL killed, wiped, or turned against their clients, with mail under way: nothing is lost."""

import pytest

from tests.crash.installations import Cluster
from tests.crash.kills import kill_postgres, kill_rabbitmq, wipe_rabbitmq
from tests.crash.queues import delete_queues, outlast_patience
from tests.crash.scene import Drained, Scene
from tests.servers.dovecot import Dovecot


def assert_exact(drained: Drained) -> None:
    """Each user holds just what was planted."""
    assert drained.accounting.exact, str(drained.accounting)


def test_rabbitmq_killed(cluster: Cluster, cluster_scene: Scene) -> None:
    """What it had on disk goes on; what it had not confirmed is published again."""
    assert_exact(kill_rabbitmq(cluster, cluster_scene))


@pytest.mark.parametrize("idle", ["router", "deliverer"])
def test_rabbitmq_wiped(cluster: Cluster, cluster_scene: Scene, idle: str) -> None:
    """The queues are a cache: what was in them is fetched again, once the sweeper sees that nothing moves."""
    assert_exact(wipe_rabbitmq(cluster, cluster_scene, idle))


def test_postgresql_killed(cluster: Cluster, cluster_scene: Scene) -> None:
    """Without the ledger nothing is deleted that it had not seen delivered; writes wait, and go on."""
    assert_exact(kill_postgres(cluster, cluster_scene))


def test_queues_deleted(cluster: Cluster, cluster_scene: Scene) -> None:
    """Publishers and consumers declare the queues again; what was in them is fetched again."""
    assert_exact(delete_queues(cluster, cluster_scene))


def test_consumer_timeout(cluster: Cluster, cluster_scene_lmtp: Scene, crash_dovecot: Dovecot) -> None:
    """The broker takes a message back that was kept for too long; who comes by again finds it claimed, or done."""
    assert_exact(outlast_patience(cluster, cluster_scene_lmtp, crash_dovecot))
