"""One consumer of one queue, over as many channels as it takes: a lost one is replaced, and its tags die with it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from pika import BasicProperties
from structlog.typing import FilteringBoundLogger

from common.backoff import back_off
from common.broker import Consumption, InHand
from common.handling import Handling
from common.rabbitmq.channel import ChannelLostError
from common.rabbitmq.consuming import ConsumingChannel, RabbitDelivery
from common.rabbitmq.line import Line
from common.rabbitmq.mending import SICK, Mender, serves
from common.rabbitmq.publishing import Publisher

MISSING_SECONDS: Final = 180.0
"""How long a consumer may be gone on a live connection, which is longer than any recovery of ours takes."""

SILENT_SECONDS: Final = 30.0
"""How long a consumer may hear nothing before it takes another channel: it may be deaf, and would never know.

When a queue is deleted, RabbitMQ has its consumers consume from one of the same name, if somebody has declared that by
then, and cancels them only if not. Those of 3.10 then get nothing: their channel drops what the new queue gives them.
"""


class RabbitConsumption(Consumption):
    """A running consumer. `begun` waits until the broker knows it for the first time."""

    def __init__(  # noqa: PLR0913 (the parts it works with)
        self,
        queue: str,
        handling: Handling,
        *,
        prefetch: int,
        line: Line,
        publisher: Publisher,
        mender: Mender,
        log: FilteringBoundLogger,
        ended: "Callable[[RabbitConsumption], None]",
    ) -> None:
        self.queue = queue
        self._prefetch = prefetch
        self._line = line
        self._publisher = publisher
        self._mender = mender
        self._log = log.bind(queue=queue)
        self._handling = handling
        self._gone_at: float | None = time.monotonic()  # None: the broker knows the consumer
        self._heard_at = 0.0  # when the last message came, or else the consumer was made known
        self._ended = ended
        self._channel: ConsumingChannel | None = None
        self._known = asyncio.Event()
        self._ends = False  # on purpose: its handlers may take long to come to their end
        self._keeper = asyncio.create_task(self._keep(), name=f"consumer of {queue}")

    @property
    def in_hand(self) -> InHand:
        """What was taken and is not settled."""
        return self._handling.in_hand

    @property
    def is_missing(self) -> bool:
        """Whether the broker has been there for long without knowing this consumer: nobody will get it back."""
        if self._ends:
            return False
        if self._keeper.done():
            return True
        if self._gone_at is None or not self._line.up:
            return False
        return time.monotonic() - max(self._gone_at, self._line.up_since) > MISSING_SECONDS

    async def begun(self) -> None:
        """Return once the broker has confirmed the consumer."""
        await self._known.wait()

    async def stop(self) -> None:
        """See Consumption."""
        await self._end(self._handling.stop)

    async def abandon(self) -> None:
        """Stop at once: handlers that run are cancelled, their messages go back."""
        await self._end(self._handling.abandon)

    async def _end(self, end_handling: Callable[[], Awaitable[None]]) -> None:
        self._ends = True
        self._keeper.cancel()
        if self._channel is not None:
            self._channel.cancel()
        try:
            await end_handling()
        finally:
            await asyncio.wait([self._keeper])
            if self._channel is not None:
                await self._channel.close()
            self._ended(self)

    async def _keep(self) -> None:
        failures = 0
        while True:
            connection = await self._line.connection()
            right = "configure"
            try:
                channel = self._channel = ConsumingChannel(
                    await connection.channel(), self.queue, prefetch=self._prefetch, publisher=self._publisher
                )
                try:
                    lost = await self._consume(channel)
                finally:
                    right = channel.asks_to
                failures = 0
                if not lost:
                    continue
                reason = str(channel.closed.result())
            except ChannelLostError as error:
                failures += 1
                reason = self._line.permit.told(error, right, self.queue)
                if error.code in SICK and (error.code or not connection.lost.done()):
                    self._mender.suspect(self.queue, serves(self.queue), connection)
            if not connection.lost.done():  # else the line tells, and waits
                self._log.warning("consumer_channel_lost", reason=reason)
                await asyncio.sleep(back_off(max(failures, 1)))

    async def _consume(self, channel: ConsumingChannel) -> bool:
        """Consume until the channel is lost, or until it may be deaf, when it is closed: then return False.

        A consumer that the broker cancels is a fault to recover from.
        """
        try:
            while True:
                await channel.consume(partial(self._received, channel))
                self._known.set()
                self._gone_at = None
                if not await self._hears(channel):
                    await channel.close()  # what a deaf one was given goes back to the queue
                    return False
                if channel.closed.done():
                    return True
                self._gone_at = time.monotonic()
                self._log.warning("consumer_cancelled")
                await asyncio.sleep(back_off(1))
        except ChannelLostError:
            await channel.close()  # it may have been mere silence
            raise
        finally:
            self._gone_at = self._gone_at or time.monotonic()

    async def _hears(self, channel: ConsumingChannel) -> bool:
        """Return once the consumer has ended; False once it was silent for SILENT_SECONDS with nothing in hand."""
        self._heard_at = time.monotonic()
        silent = 0.0
        while not await channel.ended(within=SILENT_SECONDS - silent):
            if self.in_hand.count:  # it may have no room for more
                self._heard_at = time.monotonic()
            silent = time.monotonic() - self._heard_at
            if silent >= SILENT_SECONDS:
                return False
        return True

    def _received(self, channel: ConsumingChannel, tag: int, properties: BasicProperties, body: bytes) -> None:
        self._heard_at = time.monotonic()
        message_id = properties.message_id or ""
        self._handling.offer(RabbitDelivery(body, message_id=message_id, tag=tag, channel=channel))
