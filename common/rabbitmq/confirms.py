"""A channel in confirm mode: which publishes the broker has not yet taken custody of, and what became of the others.

https://www.rabbitmq.com/docs/confirms: for a mandatory message that no queue takes, basic.return comes before its ack.
"""

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from pika.exceptions import AMQPError
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from common import crashpoints
from common.rabbitmq.channel import Channel, Connection, persistent

CONFIRM_SECONDS: Final = 30
"""How long a confirmation may take; then its publish counts as unknown, and the message is sent again."""

LATE_LIMIT: Final = 5000
"""Publishes that may be unknown on one channel before it is given up: it bounds what we remember of them."""

_LOOK_SECONDS: Final = 1.0


class Verdict(StrEnum):
    """How an attempt to publish ended, as it is counted; after all but ACK the message is sent again."""

    ACK = "ack"
    NACK = "nack"  # the broker refused it
    RETURNED = "returned"  # there was no such queue
    TIMEOUT = "timeout"  # not confirmed within CONFIRM_SECONDS
    LOST = "lost"  # the channel was lost


@dataclass(slots=True, kw_only=True, eq=False)
class Publish:
    """One message on its way."""

    queue: str
    body: bytes
    message_id: str
    headers: dict[str, str] | None
    verdict: asyncio.Future[Verdict]
    tag: int = 0  # of its newest attempt; an earlier one's confirmation is as good
    sent_at: float = 0
    returned: bool = False

    def decide(self, verdict: Verdict) -> None:
        """Tell who waits how the attempt ended; the first word counts."""
        if not self.verdict.done():
            self.verdict.set_result(verdict)


class ConfirmingChannel:
    """Sends, and matches the broker's confirmations to what was sent."""

    def __init__(self, connection: Connection, channel: Channel) -> None:
        self.closed = channel.closed
        self.declared: set[str] = set()  # known to be there, as far as this channel was told
        self.connection: Final = connection
        self._channel = channel
        self._unconfirmed: dict[int, Publish] = {}
        self._sent = 0
        self._lowest = 1
        self._look: asyncio.TimerHandle | None = None
        channel.closed.add_done_callback(lambda _closed: self._give_up())

    @classmethod
    async def open(cls, connection: Connection) -> Self:
        """Open a channel in confirm mode; raises ChannelLostError."""
        channel = await connection.channel()
        confirming = cls(connection, channel)
        channel.raw.add_on_return_callback(lambda _raw, _method, properties, _body: confirming._returned(properties))
        await channel.call(channel.raw.confirm_delivery, ack_nack_callback=confirming._confirmed)
        confirming._look_for_late()
        return confirming

    def send(self, publish: Publish) -> None:
        """Send now; the verdict follows."""
        self._sent += 1
        publish.tag, publish.sent_at, publish.returned = self._sent, time.monotonic(), False
        properties = persistent(message_id=publish.message_id, tag=publish.tag, headers=publish.headers)
        self._unconfirmed[publish.tag] = publish
        try:
            self._channel.raw.basic_publish("", publish.queue, publish.body, properties, mandatory=True)
        except AMQPError:
            publish.decide(Verdict.LOST)
        crashpoints.reach("broker.after_publish")  # costs what its publisher's step costs: nobody was told

    async def close(self) -> None:
        """End the channel."""
        await self._channel.close()

    def _confirmed(self, frame: Method) -> None:
        verdict = Verdict.NACK if isinstance(frame.method, Basic.Nack) else Verdict.ACK
        last = frame.method.delivery_tag
        first = self._lowest if frame.method.multiple else last
        for tag in range(first, last + 1):
            publish = self._unconfirmed.pop(tag, None)
            if publish is not None:
                publish.decide(Verdict.RETURNED if publish.returned else verdict)
        if frame.method.multiple:
            self._lowest = last + 1

    def _returned(self, properties: BasicProperties) -> None:
        publish = self._unconfirmed.get(int(properties.correlation_id or 0))
        if publish is not None:
            publish.returned = True
            self.declared.discard(publish.queue)  # somebody deleted it: declare again

    def _look_for_late(self) -> None:
        """Have those sent again that wait too long, unless an alarm explains it: the broker has yet to read them."""
        self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look_for_late)
        if not self.connection.unblocked.is_set():
            return
        limit = time.monotonic() - CONFIRM_SECONDS
        for tag, publish in self._unconfirmed.items():
            if publish.tag == tag and publish.sent_at < limit:
                publish.decide(Verdict.TIMEOUT)
        if len(self._unconfirmed) > LATE_LIMIT and self._channel.raw.is_open:
            self._channel.raw.close()

    def _give_up(self) -> None:
        if self._look is not None:
            self._look.cancel()
        for publish in self._unconfirmed.values():
            publish.decide(Verdict.LOST)
        self._unconfirmed.clear()
