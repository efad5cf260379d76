"""What only the embedded broker promises: bounded room, which delays and never deadlocks."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog
from structlog.testing import capture_logs

from common.broker import DEAD, FETCHED, OUTCOMES, Ack, Settlement, jobs_queue
from common.memory_broker import DEAD_MESSAGES, OVERHEAD_OCTETS, MemoryBroker
from common.messages import MAX_MESSAGE
from tests.contract.inbox import Door

JOBS = jobs_queue("local")
BODY = bytes(1000)
ROOM_FOR_TWO = 2 * (len(BODY) + OVERHEAD_OCTETS)


@pytest.fixture
async def narrow() -> AsyncIterator[MemoryBroker]:
    """Make a broker with room for two messages a queue."""
    broker = MemoryBroker(structlog.get_logger(), room=ROOM_FOR_TWO)
    yield broker
    await broker.close()


async def test_a_full_queue_makes_publishers_wait_until_a_message_is_settled(narrow: MemoryBroker) -> None:
    """A message in a handler's hands still counts: its bytes are still in memory."""
    door = Door()
    await narrow.consume(JOBS, door, prefetch=5)
    for number in "12":
        await narrow.publish(JOBS, BODY, message_id=number)
    third = asyncio.create_task(narrow.publish(JOBS, BODY, message_id="3"))
    await door.holds(2)
    assert not third.done()
    door.opened.set()
    await third


async def test_a_full_queue_holds_up_no_other(narrow: MemoryBroker) -> None:
    """Room is per queue."""
    for number in "12":
        await narrow.publish(FETCHED, BODY, message_id=number)
    for queue in (JOBS, jobs_queue("other")):
        await narrow.publish(queue, BODY, message_id="1")


async def test_the_chain_of_steps_never_deadlocks(narrow: MemoryBroker) -> None:
    """Each step publishes two messages for one while all rooms are full, and everything drains all the same."""
    done, all_done = [], asyncio.Event()

    async def route(body: bytes) -> Settlement:
        await narrow.publish(JOBS, body, message_id="job")
        await narrow.publish(JOBS, body, message_id="job")
        return Ack()

    async def deliver(body: bytes) -> Settlement:
        await narrow.publish(OUTCOMES, body, message_id="outcome")
        return Ack()

    async def settle(body: bytes) -> Settlement:
        done.append(body)
        if len(done) == 2 * 200:
            all_done.set()
        return Ack()

    await narrow.consume(FETCHED, route, prefetch=100)
    await narrow.consume(JOBS, deliver, prefetch=100)
    await narrow.consume(OUTCOMES, settle, prefetch=100)
    await asyncio.gather(*(narrow.publish(FETCHED, BODY, message_id=str(n)) for n in range(200)))
    await all_done.wait()


async def test_it_is_blocked_while_fetched_mail_has_no_room() -> None:
    """Fetchers begin nothing new then; room for one more of the largest ends it."""
    broker = MemoryBroker(structlog.get_logger(), room=2 * MAX_MESSAGE)
    assert not broker.blocked
    await broker.publish(FETCHED, bytes(MAX_MESSAGE), message_id="1")
    assert broker.blocked
    door = Door()
    door.opened.set()
    consumption = await broker.consume(FETCHED, door, prefetch=1)
    await door.holds(1)
    await consumption.stop()
    assert not broker.blocked
    await broker.close()


async def test_dead_letters_make_nobody_wait_and_drop_the_oldest(narrow: MemoryBroker) -> None:
    """What is dropped is named in the log."""
    with capture_logs() as lines:
        for number in range(DEAD_MESSAGES + 3):
            await narrow.publish(DEAD, BODY, message_id=str(number))
    assert (await narrow.depth(DEAD)).ready == DEAD_MESSAGES
    assert [line["message_id"] for line in lines if line["event"] == "dead_letter_dropped"] == ["0", "1", "2"]


async def test_close_cancels_publishes_that_wait(narrow: MemoryBroker) -> None:
    """Whoever waits for room at the end waits no longer."""
    for number in "12":
        await narrow.publish(JOBS, BODY, message_id=number)
    third = asyncio.create_task(narrow.publish(JOBS, BODY, message_id="3"))
    await asyncio.sleep(0)
    await narrow.close()
    with pytest.raises(asyncio.CancelledError):
        await third


async def test_it_is_volatile(narrow: MemoryBroker) -> None:
    """`pps run` has what was unsettled fetched again."""
    assert narrow.volatile


async def test_an_outcome_is_confirmed_once_it_is_settled(narrow: MemoryBroker) -> None:
    """That a mail was delivered is known to nobody else: it must be in the ledger before its job is forgotten."""
    door = Door()
    await narrow.consume(OUTCOMES, door, prefetch=1)
    publishing = asyncio.create_task(narrow.publish(OUTCOMES, BODY, message_id="1"))
    await door.holds(1)
    assert not publishing.done()
    door.opened.set()
    await publishing
