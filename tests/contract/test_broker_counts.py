"""What each broker counts, and what it says of itself, whichever stands behind the interface."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from common.broker import Broker, Dead, Requeue
from common.connect import connect_broker
from common.metrics import Metrics, new_metrics
from tests.contract.inbox import Door, Inbox
from tests.contract.test_rabbitmq import by_hand
from tests.scraped import Scraped
from tests.servers.rabbitmq import RabbitMQ

WAIT_SECONDS = 60


@pytest.fixture
def metrics() -> Metrics:
    """Return metrics that are kept."""
    return new_metrics(shown=True)


@pytest.fixture
async def broker(broker_url: str, metrics: Metrics) -> AsyncIterator[Broker]:
    """Connect to each broker in turn, with metrics."""
    broker = await connect_broker(broker_url, role="test", log=structlog.get_logger(), metrics=metrics)
    yield broker
    await broker.close()


async def shown(metrics: Metrics) -> Scraped:
    """Return what a page would show."""
    return Scraped.read((await metrics.page()).decode())


async def test_publishes_and_their_confirmations_are_counted(broker: Broker, metrics: Metrics, queue: str) -> None:
    """By queue; nothing is left under way."""
    await asyncio.gather(*(broker.publish(queue, b"x" * 10, message_id=str(number)) for number in range(3)))

    found = await shown(metrics)
    assert found.value("publishes_total", queue=queue, result="ack") == 3
    assert found.value("confirm_seconds_count", queue=queue) == 3
    assert found.by("publishes_total", "result") == {"ack": 3}
    assert (broker.state().publishing, broker.state().publishing_octets) == (0, 0)


async def test_what_is_under_way_and_in_hand_is_told(broker: Broker, queue: str) -> None:
    """The message that a handler has, those that wait for one, and for how long the first has been there."""
    door = Door()
    consumption = await broker.consume(queue, door, prefetch=1)
    assert broker.state().in_hand[queue].count == 0
    await asyncio.gather(*(broker.publish(queue, b"x", message_id=str(number)) for number in range(2)))
    await door.holds(1)

    state = broker.state()
    assert state.connected
    assert state.unconsumed == ()
    assert state.in_hand[queue].count == 1
    assert 0 < state.in_hand[queue].oldest < WAIT_SECONDS

    door.opened.set()
    await door.holds(2)
    await consumption.stop()
    assert queue not in broker.state().in_hand


async def test_a_consumer_that_is_being_stopped_is_not_missed(broker: Broker, queue: str) -> None:
    """A handler may take minutes to its end, as at a mail whose dot is sent: nobody may take the process for dead."""
    door = Door()
    consumption = await broker.consume(queue, door, prefetch=1)
    await broker.publish(queue, b"x", message_id="1")
    await door.holds(1)
    stopping = asyncio.create_task(consumption.stop())
    await broker.depth(queue)  # a round trip to the broker: the consumer is cancelled by now

    assert broker.state().unconsumed == ()
    assert broker.state().in_hand[queue].count == 1
    door.opened.set()
    await stopping


async def test_work_is_counted_by_how_it_ended(
    broker: Broker, metrics: Metrics, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the handler said, and also what it failed to say."""
    monkeypatch.setattr("common.handling.PAUSE_SECONDS", 0.0)
    inbox = Inbox(Requeue(), ValueError("a fault of ours"), Dead("a reason"))
    consumption = await broker.consume(queue, inbox, prefetch=1)
    await broker.publish(queue, b"1", message_id="1")
    await inbox.holds(3)
    await broker.publish(queue, b"2", message_id="2")
    await inbox.holds(4)
    await consumption.stop()

    found = await shown(metrics)
    for result in ("requeue", "failed", "dead", "ack"):
        assert found.value("work_seconds_count", stage="deliver", result=result) == 1, result


async def test_a_returned_message_is_counted_and_sent_again(rabbitmq: RabbitMQ, metrics: Metrics, queue: str) -> None:
    """Somebody deleted its queue."""
    broker = await connect_broker(rabbitmq.url, role="test", log=structlog.get_logger(), metrics=metrics)
    try:
        await broker.publish(queue, b"before", message_id="1")
        await asyncio.to_thread(by_hand, rabbitmq, lambda channel: channel.queue_delete(queue))
        await broker.publish(queue, b"after", message_id="2")
    finally:
        await broker.close()

    found = await shown(metrics)
    assert found.value("publishes_total", queue=queue, result="ack") == 2
    assert found.value("publishes_total", queue=queue, result="returned") == 1
    assert found.value("broker_reconnects_total", role="test") == 0
