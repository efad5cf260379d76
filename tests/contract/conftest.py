"""Fixtures of the contract suites: both brokers, each test with a queue of its own; both ledgers, each empty."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
import structlog

from common.broker import Broker, jobs_queue
from common.connect import connect_broker
from common.ledger import Ledger
from tests.servers.fixtures_rabbitmq import rabbitmq, rabbitmq_node

if TYPE_CHECKING:
    from tests.servers.postgres_roles import WorkDatabases

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
    """Open an empty ledger of each kind; PostgreSQL's by a role that has only the rights of a worker."""
    if request.param == "sqlite":
        opened = await Ledger.open("sqlite:///pps.db", base=tmp_path, log=structlog.get_logger())
        yield opened
        await opened.close()
        return
    databases: WorkDatabases = request.getfixturevalue("work_databases")
    url = await databases.fresh()
    opened = await Ledger.open(url, base=tmp_path, log=structlog.get_logger())
    yield opened
    await opened.close()
    databases.drop(url)


@pytest.fixture
def queue() -> str:
    """Return the name of a queue that nobody has used."""
    return jobs_queue(uuid4().hex)
