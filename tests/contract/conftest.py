"""Fixtures of the contract suites: both brokers, each test with a queue of its own; both ledgers, each empty."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
import structlog

from common.broker import Broker, jobs_queue
from common.connect import connect_broker
from common.ledger import Ledger, migrate_database
from tests.servers.fixtures_rabbitmq import rabbitmq, rabbitmq_node

__all__ = ["rabbitmq", "rabbitmq_node"]  # fixtures that pytest finds here by name


@pytest.fixture(params=["memory", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of each broker in turn."""
    if request.param == "memory":
        return "memory:"
    url: str = request.getfixturevalue("rabbitmq").url
    return url


@pytest.fixture
async def broker(broker_url: str) -> AsyncIterator[Broker]:
    """Connect to the broker, and disconnect after the test."""
    broker = await connect_broker(broker_url, role="test", log=structlog.get_logger())
    yield broker
    await broker.close()


@pytest.fixture(params=["sqlite", "postgresql"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ledger]:
    """Open an empty ledger of each kind."""
    url = "sqlite:///pps.db" if request.param == "sqlite" else request.getfixturevalue("database")
    if request.param == "postgresql":
        await migrate_database(url, base=tmp_path)
    opened = await Ledger.open(url, base=tmp_path, log=structlog.get_logger())
    yield opened
    await opened.close()


@pytest.fixture
def queue() -> str:
    """Return the name of a queue that nobody has used."""
    return jobs_queue(uuid4().hex)
