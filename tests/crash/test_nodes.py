"""A RabbitMQ cluster of three loses a node, or finds one silent, with mail under way: it goes on within a minute."""

from collections.abc import Iterator

import pytest

from tests.crash.installations import Cluster
from tests.crash.nodes import JOBS, PAUSE_SECONDS, freeze_node, kill_leaders
from tests.crash.scene import Drained, Scene
from tests.servers.dovecot import Dovecot
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq_cluster import RabbitCluster


@pytest.fixture(scope="module")
def three(
    crash_dovecot: Dovecot,
    postgres: Postgres,
    rabbitmq_three: RabbitCluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """Run a fetcher, a router and a deliverer on three nodes."""
    cluster = Cluster(crash_dovecot, postgres, rabbitmq_three, lambda: tmp_path_factory.mktemp("three"))
    yield cluster
    cluster.close()


@pytest.fixture
def scene(three: Cluster) -> Iterator[Scene]:
    """Return an empty scene, with a Maildir as target."""
    with three.scene(target="local") as scene:
        yield scene


def assert_goes_on(drained: Drained) -> None:
    """Each user holds just what was planted, and never waited long."""
    assert drained.accounting.exact, str(drained.accounting)
    assert drained.pause < PAUSE_SECONDS, f"nothing arrived for {drained.pause:.1f} s"


def test_a_leader_killed(three: Cluster, scene: Scene) -> None:
    """The others elect another, and who was connected to it moves on; `make crash` kills each queue's."""
    assert_goes_on(kill_leaders(three.nodes, scene, [JOBS]))


def test_a_node_frozen(three: Cluster, scene: Scene) -> None:
    """What says nothing is left by its heartbeat, and isn't the first that is tried next."""
    assert_goes_on(freeze_node(three.nodes, scene))
