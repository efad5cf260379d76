"""What workers may rely on, whichever broker stands behind the interface."""

import asyncio
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from common.broker import DEAD, Broker, Dead, Depth, MessageTooLargeError, Requeue
from common.messages import MAX_MESSAGE
from tests.contract.inbox import Door, Inbox


async def publish(broker: Broker, queue: str, *bodies: bytes) -> None:
    """Publish each body and return once all are confirmed."""
    await asyncio.gather(*(broker.publish(queue, body, message_id=str(uuid4())) for body in bodies))


async def test_a_published_message_reaches_its_consumer(broker: Broker, queue: str) -> None:
    """Bytes arrive as they were, in order, from a queue that nobody had declared."""
    bodies = [b"one", bytes(range(256)), b""]
    for body in bodies:
        await publish(broker, queue, body)
    inbox = Inbox()
    await broker.consume(queue, inbox, prefetch=1)
    assert await inbox.holds(3) == bodies


async def test_an_acked_message_is_gone(broker: Broker, queue: str) -> None:
    """What was acked is not handed out again, to nobody."""
    await publish(broker, queue, b"once")
    inbox = Inbox()
    consumption = await broker.consume(queue, inbox, prefetch=5)
    await inbox.holds(1)
    await consumption.stop()
    assert await broker.depth(queue) == Depth(ready=0, consumers=0)


async def test_a_requeued_message_comes_again(broker: Broker, queue: str) -> None:
    """Requeue gives the message back, until it is acked."""
    await publish(broker, queue, b"again")
    inbox = Inbox(Requeue(), Requeue())
    await broker.consume(queue, inbox, prefetch=5)
    assert await inbox.holds(3) == [b"again"] * 3


async def test_a_dead_message_moves_to_the_dead_letters(broker: Broker, queue: str) -> None:
    """Its body can be looked at there, and its own queue forgets it."""
    body = uuid4().bytes
    await publish(broker, queue, body)
    inbox, graveyard = Inbox(Dead("not a DeliveryJob")), Inbox()
    consumption = await broker.consume(queue, inbox, prefetch=5)
    await broker.consume(DEAD, graveyard, prefetch=5)
    await graveyard.knows({body})
    await consumption.stop()
    assert inbox.bodies == [body]
    assert (await broker.depth(queue)).ready == 0


async def test_a_handler_that_raises_gives_its_message_back(broker: Broker, queue: str) -> None:
    """A fault in a handler costs a pause, not the message; the log tells its kind and place, and nothing of a mail."""
    await publish(broker, queue, b"precious")
    inbox = Inbox(KeyError("secret content"))
    with capture_logs() as lines:
        await broker.consume(queue, inbox, prefetch=5)
        assert await inbox.holds(2) == [b"precious", b"precious"]
    (line,) = [line for line in lines if line["event"] == "handler_failed"]
    assert line["error"] == "KeyError"
    assert line["where"].startswith("inbox.py:")
    assert "secret content" not in str(lines)


async def test_no_more_than_prefetch_handlers_run(broker: Broker, queue: str) -> None:
    """The rest waits at the broker, for other consumers to take."""
    await publish(broker, queue, *(b"%d" % n for n in range(6)))
    door = Door()
    await broker.consume(queue, door, prefetch=2)
    await door.holds(2)
    assert await broker.depth(queue) == Depth(ready=4, consumers=1)
    assert len(door.bodies) == 2
    door.opened.set()
    assert len(await door.holds(6)) == 6


async def test_consumers_of_one_queue_share_its_messages(broker: Broker, queue: str) -> None:
    """Each message goes to one of them, and neither is left out while the other is busy."""
    first, second = Door(), Door()
    await broker.consume(queue, first, prefetch=1)
    await broker.consume(queue, second, prefetch=1)
    await publish(broker, queue, b"one", b"two")
    assert {*await first.holds(1), *await second.holds(1)} == {b"one", b"two"}


async def test_stop_waits_for_the_handlers_that_run(broker: Broker, queue: str) -> None:
    """What was begun is finished and acked; what comes meanwhile is left to others."""
    await publish(broker, queue, b"begun")
    door, other = Door(), Inbox()
    consumption = await broker.consume(queue, door, prefetch=1)
    await door.holds(1)
    stopping = asyncio.create_task(consumption.stop())
    await publish(broker, queue, b"new")
    await broker.consume(queue, other, prefetch=1)
    assert await other.holds(1) == [b"new"]
    assert not stopping.done()
    door.opened.set()
    await stopping
    assert (await broker.depth(queue)).ready == 0
    assert (door.bodies, other.bodies) == ([b"begun"], [b"new"])


async def test_a_cancelled_stop_gives_back_what_was_begun(broker: Broker, queue: str) -> None:
    """Patience has an end: the handler is cancelled, and its message goes to another."""
    await publish(broker, queue, b"begun")
    door, other = Door(), Inbox()
    consumption = await broker.consume(queue, door, prefetch=1)
    await door.holds(1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await consumption.stop()
    await broker.consume(queue, other, prefetch=1)
    assert await other.holds(1) == [b"begun"]


async def test_close_ends_consumptions_that_run(broker: Broker, queue: str) -> None:
    """Closing doesn't wait for handlers; a second close does no harm."""
    await publish(broker, queue, b"begun")
    door = Door()
    await broker.consume(queue, door, prefetch=1)
    await door.holds(1)
    await broker.close()
    with pytest.raises(RuntimeError, match="closed"):
        await broker.publish(queue, b"too late", message_id="1")


async def test_depth_counts_what_waits(broker: Broker, queue: str) -> None:
    """An unknown queue is empty, and asking for it doesn't make it."""
    assert await broker.depth(queue) == Depth(ready=0, consumers=0)
    await publish(broker, queue, b"one", b"two")
    assert await broker.depth(queue) == Depth(ready=2, consumers=0)


async def test_a_message_over_the_limit_is_refused_at_once(broker: Broker, queue: str) -> None:
    """The limit itself still goes through; one octet more is this program's fault."""
    await publish(broker, queue, bytes(MAX_MESSAGE))
    with pytest.raises(MessageTooLargeError):
        await publish(broker, queue, bytes(MAX_MESSAGE + 1))
    assert (await broker.depth(queue)).ready == 1


async def test_publishes_at_one_time_share_a_round_trip(broker: Broker, queue: str) -> None:
    """A batch costs one wait for the broker, however many messages it has."""
    await publish(broker, queue, b"declares the queue")
    before = broker.round_trips
    await publish(broker, queue, *(b"%d" % n for n in range(400)))
    assert broker.round_trips == before + 1
    await publish(broker, queue, b"alone")
    assert broker.round_trips == before + 2


async def test_more_messages_than_the_window_all_arrive(broker: Broker, queue: str) -> None:
    """Bounded windows and rooms delay, and lose nothing."""
    bodies = {b"%d" % n for n in range(1500)}
    inbox = Inbox()
    consumption = await broker.consume(queue, inbox, prefetch=100)
    await publish(broker, queue, *bodies)
    await inbox.knows(bodies)
    await consumption.stop()
    assert len(inbox.bodies) == len(bodies)
    assert (await broker.depth(queue)).ready == 0


async def test_a_cancelled_publish_leaves_the_broker_usable(broker: Broker, queue: str) -> None:
    """Its message may or may not be there; the next one is."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await publish(broker, queue, b"impatient")
    await publish(broker, queue, b"patient")
    inbox = Inbox()
    await broker.consume(queue, inbox, prefetch=5)
    await inbox.knows({b"patient"})


async def test_a_healthy_broker_is_not_blocked(broker: Broker) -> None:
    """Workers begin new things only while this holds."""
    assert not broker.blocked
