"""What holds when RabbitMQ is restarted, killed, wiped, alarmed, or changed by somebody else's hand."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Any
from uuid import uuid4

import pika
import pytest
import structlog
from pika.exceptions import AMQPError
from structlog.testing import capture_logs

from common.broker import DEAD, Broker, Dead, Requeue
from common.connect import connect_broker
from common.failures import PpsError
from common.messages import MAX_MESSAGE
from common.rabbitmq import channel, confirms, consumption, mending
from common.rabbitmq.address import parse_address
from common.rabbitmq.consuming import ConsumingChannel
from common.rabbitmq.line import connect
from common.rabbitmq.rights import Permit
from tests.contract.inbox import Door, Inbox
from tests.reference.definitions import DEFINITIONS
from tests.servers.process import free_port
from tests.servers.rabbitmq import PASSWORD, USER, VHOST, RabbitMQ

PATIENCE = (
    (confirms, "CONFIRM_SECONDS", 2),
    (channel, "REPLY_SECONDS", 3),
    (channel, "CLOSE_SECONDS", 0.5),
    (mending, "TRIAL_SECONDS", 2),
)
"""How soon a queue is suspected and deleted, for a test: not after half a minute each."""

RECOVERY_SECONDS = 60
"""What a fault may cost at most."""


@pytest.fixture
async def broker(rabbitmq: RabbitMQ) -> AsyncIterator[Broker]:
    """Connect to RabbitMQ, and disconnect after the test."""
    broker = await connect_broker(rabbitmq.url, role="test", log=structlog.get_logger())
    yield broker
    await broker.close()


def by_hand(rabbitmq: RabbitMQ, work: Callable[[Any], Any]) -> Any:  # noqa: ANN401 (pika has no types)
    """Do on RabbitMQ what an administrator might, over a connection of its own."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    try:
        return work(connection.channel())
    finally:
        connection.close()


def declare(raw: Any, queue: str) -> None:  # noqa: ANN401 (pika has no types)
    """Make a quorum queue."""
    raw.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})


def replace(rabbitmq: RabbitMQ, queue: str) -> None:
    """Delete a queue while others declare it all the time, as publishers may that find it gone."""
    deleted = threading.Event()

    def redeclare() -> None:
        while not deleted.is_set():
            with contextlib.suppress(AMQPError):  # the queue is neither there nor gone
                by_hand(rabbitmq, lambda raw: declare(raw, queue))

    with ThreadPoolExecutor() as others:
        for _ in range(3):
            others.submit(redeclare)
        try:
            by_hand(rabbitmq, lambda raw: raw.queue_delete(queue))
        finally:
            deleted.set()


async def is_there(connection: channel.Connection, queue: str) -> bool:
    """Ask the broker for a queue."""
    try:
        await connection.declare(queue, passive=True)
    except channel.ChannelLostError as error:
        if error.code == channel.NOT_FOUND:
            return False
        raise
    return True


async def publish(broker: Broker, queue: str, bodies: set[bytes]) -> None:
    """Publish each body and return once all are confirmed."""
    await asyncio.gather(*(broker.publish(queue, body, message_id=str(uuid4())) for body in bodies))


@pytest.mark.parametrize("fault", ["restart", "wipe", "kill"])
async def test_publishing_and_consuming_survive_the_broker(
    rabbitmq: RabbitMQ, broker: Broker, queue: str, fault: str
) -> None:
    """With both under way when it ends: each publish is confirmed in the end, and what it confirmed then is consumed.

    Wiped, it may forget what it had confirmed before: the ledger sends that again.
    """
    before, after = {b"b%d" % n for n in range(2000)}, {b"a%d" % n for n in range(200)}
    inbox = Inbox(*[Requeue()] * 100)
    await broker.consume(queue, inbox, prefetch=50)
    await asyncio.to_thread(rabbitmq.sync_names)
    with capture_logs() as lines:
        publishing = asyncio.create_task(publish(broker, queue, before))
        await inbox.holds(300)
        await asyncio.to_thread({"restart": rabbitmq.stop, "wipe": rabbitmq.kill, "kill": rabbitmq.kill}[fault])
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not broker.blocked:  # noqa: ASYNC110 (the end of its connections is still on its way to us)
                await asyncio.sleep(0)
        await asyncio.to_thread(rabbitmq.wipe if fault == "wipe" else rabbitmq.start)
        async with asyncio.timeout(RECOVERY_SECONDS):
            await publishing
            await publish(broker, queue, after)
            await inbox.knows(after if fault == "wipe" else before | after)
    assert not broker.blocked
    told = [line["line"] for line in lines if line["event"] == "broker_lost"]
    assert sorted(told) == ["pps test consume", "pps test publish"]


async def test_a_handler_that_outlives_the_connection_settles_nothing(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    """Its delivery tag died with the channel: the message comes again, and the new channel is not disturbed."""
    await publish(broker, queue, {b"held"})
    door = Door()
    await broker.consume(queue, door, prefetch=2)
    await door.holds(1)
    await asyncio.to_thread(rabbitmq.restart)
    async with asyncio.timeout(RECOVERY_SECONDS):
        await door.holds(2)
        door.opened.set()
        await publish(broker, queue, {b"next"})
        await door.knows({b"next"})
    assert door.bodies == [b"held", b"held", b"next"]


async def test_a_deleted_queue_is_made_again(rabbitmq: RabbitMQ, broker: Broker, queue: str) -> None:
    """The broker cancels the consumer and returns the publish; both recover by themselves."""
    inbox = Inbox()
    await broker.consume(queue, inbox, prefetch=5)
    await publish(broker, queue, {b"before"})
    await inbox.holds(1)
    await asyncio.to_thread(by_hand, rabbitmq, lambda channel: channel.queue_delete(queue))
    async with asyncio.timeout(RECOVERY_SECONDS):
        await publish(broker, queue, {b"after"})
        await inbox.knows({b"after"})


async def test_a_consumer_that_rabbitmq_made_deaf_hears_again(
    rabbitmq: RabbitMQ, broker: Broker, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that is declared again while it is deleted: the consumer isn't cancelled, and yet hears nothing of it."""
    monkeypatch.setattr(consumption, "SILENT_SECONDS", 3.0)
    inbox = Inbox()
    await broker.consume(queue, inbox, prefetch=5)
    async with asyncio.timeout(RECOVERY_SECONDS):
        while True:
            with capture_logs() as lines:
                await asyncio.to_thread(replace, rabbitmq, queue)
                await publish(broker, queue, {b"swallowed"})
                await inbox.knows({b"swallowed"})
            if not any(line["event"] == "consumer_cancelled" for line in lines):
                return  # else RabbitMQ was quick to tell: once more
            inbox.bodies.clear()


async def test_only_an_idle_consumer_is_taken_for_deaf(
    broker: Broker, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with a message in hand keeps its channel, however long that takes: on another it would come twice."""
    channels: Counter[str] = Counter()
    enough = asyncio.Event()

    class Counted(ConsumingChannel):
        async def consume(self, on_message: Callable[[int, pika.BasicProperties, bytes], None]) -> None:
            await super().consume(on_message)
            channels[self._queue] += 1
            if channels[f"{queue}.idle"] > 3:
                enough.set()

    monkeypatch.setattr(consumption, "SILENT_SECONDS", 0.2)
    monkeypatch.setattr(consumption, "ConsumingChannel", Counted)
    door = Door()
    await publish(broker, queue, {b"held"})
    await broker.consume(queue, door, prefetch=2)
    await door.holds(1)
    had = channels[queue]
    await broker.consume(f"{queue}.idle", Inbox(), prefetch=2)
    async with asyncio.timeout(RECOVERY_SECONDS):
        await enough.wait()
        assert channels[queue] == had
        door.opened.set()
        await publish(broker, queue, {b"next"})
        await door.knows({b"next"})
    assert door.bodies == [b"held", b"next"]


async def test_queues_that_lost_their_leader_are_made_anew(
    rabbitmq: RabbitMQ, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ never mends them, so whoever publishes or consumes does: of two processes one deletes a queue, once."""
    for module, name, seconds in PATIENCE:
        monkeypatch.setattr(module, name, seconds)
    published, consumed = queue + ".published", queue + ".consumed"
    for sick in (published, consumed):
        await asyncio.to_thread(by_hand, rabbitmq, partial(declare, queue=sick))
    await asyncio.to_thread(rabbitmq.lose_leaders, [published, consumed])
    inbox = Inbox()
    async with AsyncExitStack() as closing, asyncio.timeout(RECOVERY_SECONDS):
        with capture_logs() as lines:
            brokers = [await connect_broker(rabbitmq.url, role="test", log=structlog.get_logger()) for _ in range(2)]
            for broker in brokers:
                closing.push_async_callback(broker.close)
            await asyncio.gather(
                *(publish(broker, published, {b"published"}) for broker in brokers),
                *(broker.consume(consumed, inbox, prefetch=5) for broker in brokers),
            )
            await brokers[0].consume(published, inbox, prefetch=5)
            await publish(brokers[0], consumed, {b"consumed"})
            await inbox.knows({b"published", b"consumed"})
    told = [line["queue"] for line in lines if line["event"] == "queue_made_anew"]
    assert sorted(told) == sorted([published, consumed])


@pytest.mark.parametrize("trial", ["publish", "consume"])
async def test_a_queue_that_works_is_never_made_anew(
    rabbitmq: RabbitMQ, queue: str, trial: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever suspects a queue tries it first: what is in it stays, and a message that the trial saw comes again."""
    monkeypatch.setattr(mending, "TRIAL_SECONDS", RECOVERY_SECONDS)
    broker = await connect_broker(rabbitmq.url, role="test", log=structlog.get_logger())
    await publish(broker, queue, {b"kept"})
    verdict: asyncio.Future[confirms.Verdict] = asyncio.get_running_loop().create_future()
    late = confirms.Publish(queue=queue, body=b"late", message_id="late", headers=None, verdict=verdict)
    mender = mending.Mender(Permit(address=parse_address(rabbitmq.url), role="test"), structlog.get_logger())
    with capture_logs() as lines:
        suspicious = await connect(
            parse_address(rabbitmq.url), name="", on_lost=lambda: None, log=structlog.get_logger()
        )
        mender.suspect(queue, mending.confirms(late) if trial == "publish" else mending.serves(queue), suspicious)
        (looking,) = mender._tasks.values()
        async with asyncio.timeout(RECOVERY_SECONDS):
            await looking
            await suspicious.lost  # then it was the connection's fault
    assert not lines
    inbox = Inbox()
    async with asyncio.timeout(RECOVERY_SECONDS):
        await broker.consume(queue, inbox, prefetch=5)
        await inbox.knows({b"kept", b"late"} if trial == "publish" else {b"kept"})
    await broker.close()


async def test_no_queue_is_made_anew_while_rabbitmq_itself_does_not_work(
    rabbitmq: RabbitMQ, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under an alarm no queue confirms anything, as in a minority: then a queue that refuses is left alone."""
    for module, name in ((mending, "TRIAL_SECONDS"), (mending, "PROBE_SECONDS"), (channel, "CLOSE_SECONDS")):
        monkeypatch.setattr(module, name, 1)

    async def refuse(_connection: object) -> None:
        raise channel.ChannelLostError("no answer")

    mender = mending.Mender(Permit(address=parse_address(rabbitmq.url), role="test"), structlog.get_logger())
    suspicious = await connect(parse_address(rabbitmq.url), name="", on_lost=lambda: None, log=structlog.get_logger())
    await suspicious.declare(queue)
    await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "absolute", "1")
    try:
        with capture_logs() as lines:
            mender.suspect(queue, refuse, suspicious)
            await asyncio.gather(*mender._tasks.values())
    finally:
        await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "absolute", "1GB")
    assert "queue_made_anew" not in {line["event"] for line in lines}
    await suspicious.declare(queue, passive=True)

    monkeypatch.setattr(mending, "PROBE_SECONDS", RECOVERY_SECONDS)
    mender.suspect(queue, refuse, suspicious)  # the same with the alarm over: now it is the queue's fault
    async with asyncio.timeout(RECOVERY_SECONDS):
        while await is_there(suspicious, queue):  # noqa: ASYNC110 (the broker tells nobody)
            await asyncio.sleep(0)
    await mender.close()
    await suspicious.close()


async def test_a_memory_alarm_blocks_publishing_and_not_consuming(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    """While it lasts outcomes must drain, and nothing new may begin; after it everything goes on."""
    await publish(broker, queue, {b"before"})
    await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "absolute", "1")
    waiting = asyncio.create_task(publish(broker, queue, {b"meanwhile"}))
    try:
        async with asyncio.timeout(RECOVERY_SECONDS):
            while not broker.blocked:
                await broker.depth(queue)  # a question that the broker answers, so that its notice has come by then
        inbox = Inbox()
        await broker.consume(queue, inbox, prefetch=5)
        await inbox.knows({b"before"})
        assert not waiting.done()
    finally:
        await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "absolute", "1GB")
    async with asyncio.timeout(RECOVERY_SECONDS):
        await waiting
        await inbox.knows({b"meanwhile"})
    assert not broker.blocked


async def test_messages_outlive_the_broker(rabbitmq: RabbitMQ, broker: Broker, queue: str) -> None:
    """Confirmed means on disk."""
    await publish(broker, queue, {b"durable"})
    await asyncio.to_thread(rabbitmq.sync_names)
    await asyncio.to_thread(rabbitmq.kill)
    await asyncio.to_thread(rabbitmq.start)
    inbox = Inbox()
    async with asyncio.timeout(RECOVERY_SECONDS):
        await broker.consume(queue, inbox, prefetch=5)
        await inbox.knows({b"durable"})


async def test_close_cancels_publishes_that_wait(rabbitmq: RabbitMQ, broker: Broker, queue: str) -> None:
    """A worker can end while the broker is away."""
    await asyncio.to_thread(rabbitmq.kill)
    waiting = asyncio.create_task(broker.publish(queue, b"in vain", message_id="1"))
    await asyncio.sleep(0)
    async with asyncio.timeout(RECOVERY_SECONDS):
        await broker.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_a_dead_letter_says_why_and_whence_and_is_bounded(rabbitmq: RabbitMQ, broker: Broker, queue: str) -> None:
    """A message that somebody else made far too large is cut in pps.dead; its reason is one line."""
    body = uuid4().bytes + bytes(MAX_MESSAGE)
    properties = pika.BasicProperties(message_id="outsider")

    def burden(channel: Any) -> None:  # noqa: ANN401 (pika has no types)
        channel.queue_delete(DEAD)
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", queue, body, properties)

    await asyncio.to_thread(by_hand, rabbitmq, burden)
    inbox = Inbox(Dead("over the\nlimit"))
    consumption = await broker.consume(queue, inbox, prefetch=1)
    await inbox.holds(1)
    await consumption.stop()
    _, kept, found = await asyncio.to_thread(by_hand, rabbitmq, lambda channel: channel.basic_get(DEAD, auto_ack=True))
    assert kept.headers.items() >= {"reason": "over the limit", "queue": queue, "octets": str(len(body))}.items()
    assert (kept.message_id, kept.delivery_mode, found) == ("outsider", 2, body[:MAX_MESSAGE])


@pytest.mark.parametrize(
    ("account", "vhost", "said"),
    [
        (f"{USER}:wr0ng-secret", VHOST, "user 'pps-test' or its password was refused"),
        (f"{USER}:{PASSWORD}", "nowhere", "there is no vhost 'nowhere'"),
    ],
)
async def test_a_refused_login_says_what_to_mend(rabbitmq: RabbitMQ, account: str, vhost: str, said: str) -> None:
    """One line that names host and port, tells user from vhost, and never the password."""
    place = f"127.0.0.1:{rabbitmq.port}"
    with pytest.raises(PpsError) as failure:
        await connect_broker(f"amqp://{account}@{place}/{vhost}", role="test", log=structlog.get_logger())
    text = str(failure.value)
    assert text.startswith(f"[service] broker: {place}: {said}")
    assert "\n" not in text
    assert "secret" not in text
    assert PASSWORD not in text


async def test_another_node_is_tried_when_one_is_away(rabbitmq: RabbitMQ) -> None:
    """Any host of the URL will do, whatever their order."""
    url = f"amqp://{USER}:{PASSWORD}@127.0.0.1:{free_port()},127.0.0.1:{rabbitmq.port}/{VHOST}"
    for _ in range(4):
        broker = await connect_broker(url, role="test", log=structlog.get_logger())
        assert not broker.blocked
        await broker.close()


async def test_the_policies_we_ship_keep_messages_that_come_back_often(
    rabbitmq: RabbitMQ, broker: Broker, queue: str
) -> None:
    """RabbitMQ 4 would drop a message on its 21st return; attempts are counted in the ledger, never here."""
    await asyncio.to_thread(rabbitmq.ctl, "import_definitions", str(DEFINITIONS))
    await publish(broker, queue, {b"unwanted"})
    inbox = Inbox(*[Requeue()] * 30)
    consumption = await broker.consume(queue, inbox, prefetch=1)
    assert await inbox.holds(31) == [b"unwanted"] * 31
    await consumption.stop()
    policies = await asyncio.to_thread(rabbitmq.ctl, "list_queues", "--vhost", VHOST, "name", "policy")
    assert f"{queue}\tpps-work" in policies.splitlines()
