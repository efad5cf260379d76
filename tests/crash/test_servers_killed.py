"""RabbitMQ and PostgreSQL killed, and RabbitMQ's data wiped, with mail under way: nothing is lost, and it goes on."""

import pytest

from tests.crash.installations import Cluster
from tests.crash.kills import kill_postgres, kill_rabbitmq, wipe_rabbitmq
from tests.crash.scene import Drained, Scene


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
