"""The fixture for RabbitMQ: one node for all tests; each test takes queues of its own."""

import os
from collections.abc import Iterator

import pytest

from tests.servers.rabbitmq import RabbitMQ, scripts


@pytest.fixture(scope="session")
def rabbitmq_node() -> Iterator[RabbitMQ]:
    """Run a RabbitMQ node; without the package the tests that need it are skipped, or with CI=true fail."""
    if scripts() is None:
        missing = "rabbitmq-server is not installed: apt-get install rabbitmq-server"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with RabbitMQ() as node:
        yield node


@pytest.fixture
def rabbitmq(rabbitmq_node: RabbitMQ) -> RabbitMQ:
    """Return the node, running: a test before may have left it stopped."""
    rabbitmq_node.start()
    return rabbitmq_node
