"""Publishing with confirmation: a message is sent again, for as long as it takes, until the broker has confirmed it."""

import asyncio
import time
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.backoff import back_off
from common.broker import MessageTooLargeError
from common.messages import MAX_MESSAGE
from common.metrics import Metrics
from common.metrics.definitions import CONFIRM_SECONDS, PUBLISHES
from common.rabbitmq.channel import ChannelLostError
from common.rabbitmq.confirms import ConfirmingChannel, Publish, Verdict
from common.rabbitmq.line import Line
from common.rabbitmq.mending import Mender, confirms
from common.rabbitmq.rights import EXCHANGE, REFUSED
from common.room import Room

WINDOW_ITEMS: Final = 500
WINDOW_OCTETS: Final = 32 * 1024 * 1024
"""Unconfirmed at one time: enough to keep the broker busy, little enough to send again after a lost connection."""

_FIRST_PAUSE_SECONDS: Final = 0.1


class Publisher:
    """All publishes of a process, over one confirming channel. `round_trips` as in Broker."""

    def __init__(self, line: Line, mender: Mender, log: FilteringBoundLogger, metrics: Metrics) -> None:
        self.round_trips = 0
        self._mender = mender
        self.window: Final = Room(octets=WINDOW_OCTETS, items=WINDOW_ITEMS)  # what is sent and not confirmed
        self._closed = False
        self._line = line
        self._log = log
        self._metrics = metrics
        self._channel: ConfirmingChannel | None = None
        self._up = asyncio.Event()
        self._declaring: dict[str, asyncio.Lock] = {}
        self._publishing: set[asyncio.Task[object]] = set()
        self._keeper = asyncio.create_task(self._keep(), name="publishing channel")

    async def publish(self, queue: str, body: bytes, *, message_id: str, headers: dict[str, str] | None = None) -> None:
        """Return once the message is confirmed; raises MessageTooLargeError."""
        if len(body) > MAX_MESSAGE:
            raise MessageTooLargeError(f"{len(body)} octets for {queue}, at most {MAX_MESSAGE}")
        if self._closed:
            raise RuntimeError("the broker is closed")
        if not self._publishing:
            self.round_trips += 1
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (coroutines run in tasks; says so to the type checker)
        self._publishing.add(task)
        try:
            await self._until_confirmed(queue, body, message_id, headers)
        finally:
            self._publishing.discard(task)

    def declaring(self, queue: str) -> asyncio.Lock:
        """Return what must be held to declare `queue`: one declaration of it at a time in this process.

        RabbitMQ answers a second one while the first still starts the quorum queue's replicas; whoever consumes then
        crashes his whole connection (seen on 3.10: noproc in basic.consume, INTERNAL_ERROR). Between processes it can
        still happen, once in a queue's life, and costs a reconnect.
        """
        return self._declaring.setdefault(queue, asyncio.Lock())

    async def close(self) -> None:
        """Cancel the publishes that wait, and end the channel."""
        self._closed = True
        for task in self._publishing:
            task.cancel()
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        if self._channel is not None:
            await self._channel.close()

    async def _until_confirmed(self, queue: str, body: bytes, message_id: str, headers: dict[str, str] | None) -> None:
        loop = asyncio.get_running_loop()
        publish = Publish(queue=queue, body=body, message_id=message_id, headers=headers, verdict=loop.create_future())
        failures = 0
        while (verdict := await self._attempt(publish)) is not Verdict.ACK:
            failures += 1
            if verdict is Verdict.TIMEOUT and self._channel is not None:
                self._mender.suspect(queue, confirms(publish), self._channel.connection)
            self._log.debug("publish_again", queue=queue, message_id=message_id, why=verdict.value, failures=failures)
            await asyncio.sleep(back_off(failures, first=_FIRST_PAUSE_SECONDS))
            publish.verdict = loop.create_future()

    async def _attempt(self, publish: Publish) -> Verdict:
        """Send once and return the verdict. Only what is under way takes a place in the window."""
        channel = await self._ready(publish.queue)
        await self.window.take(len(publish.body))
        try:
            channel.send(publish)
            verdict = await publish.verdict
        finally:
            self.window.give(len(publish.body))
        self._metrics.count(PUBLISHES, publish.queue, verdict)
        if verdict is Verdict.ACK:
            self._metrics.observe(CONFIRM_SECONDS, time.monotonic() - publish.sent_at, publish.queue)
        return verdict

    async def _ready(self, queue: str) -> ConfirmingChannel:
        """Return the channel once it is up, no alarm is on, and the queue is declared."""
        while True:
            await self._up.wait()
            channel = self._channel
            if channel is None or channel.closed.done():
                await asyncio.sleep(0)  # _keep notices in this tick or the next
            elif not channel.connection.unblocked.is_set():
                await channel.connection.unblocked.wait()
            elif queue not in channel.declared:
                await self._declare(queue, channel)
            else:
                return channel

    async def _declare(self, queue: str, channel: ConfirmingChannel) -> None:
        async with self.declaring(queue):
            failures = 0
            while queue not in channel.declared and not channel.closed.done():
                try:
                    await channel.connection.declare(queue)
                    channel.declared.add(queue)
                except ChannelLostError as error:
                    if channel.connection.lost.done():
                        return
                    failures += 1
                    if failures == 1:
                        reason = self._line.permit.told(error, "configure", queue)
                        self._log.error("queue_refused", queue=queue, reason=reason)
                    await asyncio.sleep(back_off(failures))

    async def _keep(self) -> None:
        failures = 0
        while True:
            connection = await self._line.connection()
            try:
                self._channel = await ConfirmingChannel.open(connection)
                self._up.set()
                await asyncio.wait([self._channel.closed])  # a bare await that is cancelled would cancel the future
                lost = self._channel.closed.result()
            except ChannelLostError as error:
                lost = error
            self._up.clear()
            if not connection.lost.done():  # else the line tells
                failures = (
                    failures + 1 if lost.code == REFUSED else 1
                )  # nothing goes through until somebody gives the right
                self._log.warning("publishing_channel_lost", reason=self._line.permit.told(lost, "write", EXCHANGE))
                await asyncio.sleep(back_off(failures))
