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
                    await self._consume(channel)
                finally:
                    right = channel.asks_to
                failures = 0
                reason = str(channel.closed.result())
            except ChannelLostError as error:
                failures += 1
                reason = self._line.permit.told(error, right, self.queue)
                if error.code in SICK and (error.code or not connection.lost.done()):
                    self._mender.suspect(self.queue, serves(self.queue), connection)
            if not connection.lost.done():  # else the line tells, and waits
                self._log.warning("consumer_channel_lost", reason=reason)
                await asyncio.sleep(back_off(max(failures, 1)))

    async def _consume(self, channel: ConsumingChannel) -> None:
        """Consume until the channel is lost; a consumer that the broker cancels is a fault to recover from."""
        try:
            while True:
                await channel.consume(partial(self._received, channel))
                self._known.set()
                self._gone_at = None
                await channel.ended()
                if channel.closed.done():
                    return
                self._gone_at = time.monotonic()
                self._log.warning("consumer_cancelled")
                await asyncio.sleep(back_off(1))
        except ChannelLostError:
            await channel.close()  # it may have been mere silence
            raise
        finally:
            self._gone_at = self._gone_at or time.monotonic()

    def _received(self, channel: ConsumingChannel, tag: int, properties: BasicProperties, body: bytes) -> None:
        message_id = properties.message_id or ""
        self._handling.offer(RabbitDelivery(body, message_id=message_id, tag=tag, channel=channel))
