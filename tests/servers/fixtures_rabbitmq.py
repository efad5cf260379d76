"""The fixtures for RabbitMQ: one node for all tests, or a cluster of three; each test takes queues of its own."""

import os
from collections.abc import Iterator

import pytest

from tests.servers.rabbitmq import RabbitMQ, scripts
from tests.servers.rabbitmq_cluster import RabbitCluster


@pytest.fixture(scope="session")
def rabbitmq_node() -> Iterator[RabbitMQ]:
    """Run a RabbitMQ node; without the package the tests that need it are skipped, or with CI=true fail."""
    require_rabbitmq()
    with RabbitMQ() as node:
        yield node


@pytest.fixture
def rabbitmq(rabbitmq_node: RabbitMQ) -> RabbitMQ:
    """Return the node, running: a test before may have left it stopped."""
    rabbitmq_node.start()
    return rabbitmq_node


@pytest.fixture(scope="session")
def rabbitmq_three() -> Iterator[RabbitCluster]:
    """Run a cluster of three nodes, for those tests that need one."""
    require_rabbitmq()
    with RabbitCluster() as cluster:
        yield cluster


@pytest.fixture
def rabbitmq_cluster(rabbitmq_three: RabbitCluster) -> RabbitCluster:
    """Return the cluster, whole: a test before may have left nodes frozen or killed."""
    rabbitmq_three.start()
    return rabbitmq_three


def require_rabbitmq() -> None:
    """Skip the test without the package, or with CI=true fail."""
    if scripts() is None:
        missing = "rabbitmq-server is not installed: apt-get install rabbitmq-server"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
