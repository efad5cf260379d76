"""Fixtures of the crash tests: a Dovecot of their own, the service in one process, and the service in three."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.installations import Cluster, single
from tests.crash.scene import Scene
from tests.servers.dovecot import Dovecot
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ


@pytest.fixture(scope="session")
def crash_dovecot() -> Iterator[Dovecot]:
    """Run a Dovecot that no other test delivers to."""
    with Dovecot() as dovecot:
        yield dovecot


@pytest.fixture
def run_scene(crash_dovecot: Dovecot, tmp_path: Path) -> Iterator[Scene]:
    """Return an empty scene whose target is a Maildir; `pps run` doesn't run yet."""
    with single(crash_dovecot, tmp_path, target="local") as scene:
        yield scene


@pytest.fixture
def run_scene_lmtp(crash_dovecot: Dovecot, tmp_path: Path) -> Iterator[Scene]:
    """Return the same with an LMTP target."""
    with single(crash_dovecot, tmp_path, target="mda") as scene:
        yield scene


@pytest.fixture(scope="package")  # its processes would take other tests' messages from the one RabbitMQ
def cluster(
    crash_dovecot: Dovecot, postgres: Postgres, rabbitmq_node: RabbitMQ, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Run a fetcher, a router and a deliverer, for all tests of this folder that ask."""
    postgres.start()
    rabbitmq_node.start()
    cluster = Cluster(crash_dovecot, postgres, rabbitmq_node, lambda: tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.close()


@pytest.fixture
def cluster_scene(cluster: Cluster) -> Iterator[Scene]:
    """Return an empty scene on three processes that run, with a Maildir as target."""
    with cluster.scene(target="local") as scene:
        yield scene


@pytest.fixture
def cluster_scene_lmtp(cluster: Cluster) -> Iterator[Scene]:
    """Return the same with an LMTP target."""
    with cluster.scene(target="mda") as scene:
        yield scene
