"""What holds for publishers and consumers on a cluster of three while one of its nodes is away."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import structlog

from common.broker import Broker
from common.connect import connect_broker
from tests.contract.inbox import Inbox
from tests.servers.rabbitmq_cluster import RabbitCluster

PAUSE_SECONDS = 60
"""What a fault of one node may cost at most."""


@pytest.fixture
async def broker(rabbitmq_cluster: RabbitCluster) -> AsyncIterator[Broker]:
    """Connect to the cluster, and disconnect after the test."""
    broker = await connect_broker(rabbitmq_cluster.url, role="test", log=structlog.get_logger())
    yield broker
    await broker.close()


async def publish(broker: Broker, queue: str, bodies: set[bytes]) -> None:
    """Publish each body and return once all are confirmed."""
    await asyncio.gather(*(broker.publish(queue, body, message_id=str(uuid4())) for body in bodies))


async def test_a_queue_survives_its_leader(rabbitmq_cluster: RabbitCluster, broker: Broker, queue: str) -> None:
    """What was confirmed is consumed, what was not is published again, whichever node the worker hung on."""
    before, after = {b"b%d" % n for n in range(2000)}, {b"a%d" % n for n in range(200)}
    inbox = Inbox()
    await broker.consume(queue, inbox, prefetch=50)
    publishing = asyncio.create_task(publish(broker, queue, before))
    await inbox.holds(300)
    leaders = await asyncio.to_thread(rabbitmq_cluster.leaders)
    await asyncio.to_thread(leaders[queue].kill)
    async with asyncio.timeout(PAUSE_SECONDS):
        await publishing
        await publish(broker, queue, after)
        await inbox.knows(before | after)
