"""A channel with one consumer, and the messages that come over it: a message is settled on its own channel or never."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from pika import BasicProperties
from pika.exceptions import AMQPError

from common.broker import DEAD
from common.dead_letters import headers_of
from common.handling import Delivery
from common.messages import MAX_MESSAGE
from common.rabbitmq.channel import Channel
from common.rabbitmq.publishing import Publisher
from common.rabbitmq.tags import Tags


class ConsumingChannel:
    """A channel with one consumer. Acks of one tick of the loop leave together."""

    def __init__(self, channel: Channel, queue: str, *, prefetch: int, publisher: Publisher) -> None:
        self.closed: Final = channel.closed
        self.asks_to = "configure"  # which right the broker looks at next
        self._publisher = publisher
        self._channel = channel
        self._queue = queue
        self._prefetch = prefetch
        self._tags = Tags()
        self._consumer_tag = ""
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        channel.raw.add_on_cancel_callback(lambda _frame: self._end())
        channel.closed.add_done_callback(lambda _closed: self._end())

    async def consume(self, on_message: Callable[[int, BasicProperties, bytes], None]) -> None:
        """Return once the broker has confirmed the consumer; raises ChannelLostError."""
        self._ended = asyncio.get_running_loop().create_future()
        self.asks_to = "configure"
        async with self._publisher.declaring(self._queue):
            await self._channel.declare(self._queue)
        self.asks_to = "read"
        await self._channel.call(self._channel.raw.basic_qos, prefetch_count=self._prefetch)
        frame = await self._channel.call(
            self._channel.raw.basic_consume,
            queue=self._queue,
            on_message_callback=lambda _raw, method, properties, body: on_message(
                method.delivery_tag, properties, body
            ),
        )
        self._consumer_tag = frame.method.consumer_tag

    async def ended(self, *, within: float) -> bool:
        """Return once no more messages come, or False after so many seconds.

        If the channel still lives after the end, `consume` may be called again.
        """
        await asyncio.wait([self._ended], timeout=within)
        return self._ended.done()

    def ack(self, tag: int) -> None:
        """Have the broker forget a message."""
        if not self._tags.pending:
            asyncio.get_running_loop().call_soon(self._flush)
        self._tags.ack(tag)

    def requeue(self, tag: int) -> None:
        """Give a message back."""
        self._tags.nacked(tag)
        with contextlib.suppress(AMQPError):  # lost: the broker has taken it back already
            self._channel.raw.basic_nack(tag, requeue=True)

    async def bury(self, body: bytes, *, message_id: str, reason: str) -> None:
        """Have a copy in pps.dead, confirmed."""
        headers = headers_of(reason, self._queue, len(body))
        await self._publisher.publish(DEAD, body[:MAX_MESSAGE], message_id=message_id, headers=headers)

    def cancel(self) -> None:
        """Take no more messages."""
        with contextlib.suppress(AMQPError):  # lost: none will come
            self._channel.raw.basic_cancel(self._consumer_tag)

    async def close(self) -> None:
        """Send the acks that wait, and end the channel: what is unsettled goes back."""
        self._flush()
        await self._channel.close()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _flush(self) -> None:
        with contextlib.suppress(AMQPError):  # lost: the messages come again, and receivers tolerate that
            for frame in self._tags.frames():
                self._channel.raw.basic_ack(frame.tag, multiple=frame.multiple)


class RabbitDelivery(Delivery):
    """A message that came over one channel, and can be settled only there."""

    def __init__(self, body: bytes, *, message_id: str, tag: int, channel: ConsumingChannel) -> None:
        self.body = body
        self._message_id = message_id
        self._tag = tag
        self._channel = channel

    def ack(self) -> None:
        """See Delivery."""
        self._channel.ack(self._tag)

    def requeue(self) -> None:
        """See Delivery."""
        self._channel.requeue(self._tag)

    async def bury(self, reason: str) -> None:
        """See Delivery."""
        await self._channel.bury(self.body, message_id=self._message_id, reason=reason)
