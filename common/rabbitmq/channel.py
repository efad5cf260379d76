"""One AMQP connection and its channels as awaitables: the callbacks of pika end here.

Whatever ends a channel (the broker, the network, a deadline) is a ChannelLostError to all who wait on it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, Self

from pika import BasicProperties, ConnectionParameters, PlainCredentials, SSLOptions
from pika.channel import Channel as RawChannel
from pika.exceptions import AMQPError, ChannelClosed, ConnectionClosed
from structlog.typing import FilteringBoundLogger

from common.rabbitmq.address import Address, Node
from common.rabbitmq.gathered import GatheredConnection

HEARTBEAT_SECONDS: Final = 15
"""A dead peer is noticed within two of these; a frozen node must cost less than a minute."""

BLOCKED_SECONDS: Final = 300
"""How long a node may refuse publishes over an alarm before we try another one."""

CONNECT_SECONDS: Final = 10
"""For each address: a node that is frozen takes connections, and says nothing."""

REPLY_SECONDS: Final = 30
"""How long an answer may take: electing a queue's leader takes seconds, so anything longer is a fault."""

CLOSE_SECONDS: Final = 5

ARGUMENTS: Final = {"x-queue-type": "quorum"}
"""All else is in policies, since a queue's arguments can never be changed."""

NOT_FOUND: Final = 404


class ChannelLostError(Exception):
    """The channel has ended; the text says why, `code` is AMQP's reply code, 0 where there was none."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class Connection:
    """An open connection to one node. `lost` is done, with the reason, once it has ended for whatever cause."""

    def __init__(self, node: Node, *, on_lost: Callable[[], None], log: FilteringBoundLogger) -> None:
        loop = asyncio.get_running_loop()
        self.node: Final = node
        self.lost: asyncio.Future[str] = loop.create_future()
        self.unblocked = asyncio.Event()
        self.unblocked.set()
        self.blocked = asyncio.Event()
        self._on_lost = on_lost
        self._log = log
        self._opened: asyncio.Future[BaseException | None] = loop.create_future()
        self._raw: GatheredConnection

    @classmethod
    async def open(
        cls, node: Node, address: Address, *, name: str, on_lost: Callable[[], None], log: FilteringBoundLogger
    ) -> Self:
        """Connect and authenticate; raise what pika raises, or TimeoutError. `name` is shown in RabbitMQ's lists."""
        connection = cls(node, on_lost=on_lost, log=log)
        raw = connection._raw = GatheredConnection(
            _parameters(node, address, name),
            on_open_callback=lambda _raw: _resolve(connection._opened, None),
            on_open_error_callback=lambda _raw, error: _resolve(connection._opened, error),
            on_close_callback=lambda _raw, reason: connection._closed(reason),
        )
        raw.add_on_connection_blocked_callback(lambda _raw, frame: connection._blocked(frame.method.reason))
        raw.add_on_connection_unblocked_callback(lambda _raw, _frame: connection._unblocked())
        answered = False
        try:
            await asyncio.wait([connection._opened], timeout=CONNECT_SECONDS)
            answered = connection._opened.done()
        finally:
            if not answered:  # too late, or cancelled: no socket may stay behind
                connection._abort()
                await asyncio.wait([connection._opened], timeout=CLOSE_SECONDS)
        error = connection._opened.result() if answered else TimeoutError()
        if error is not None:
            raise error
        return connection

    async def channel(self) -> "Channel":
        """Open a channel; raises ChannelLostError."""
        opened: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        try:
            raw = self._raw.channel(on_open_callback=lambda raw: _resolve(opened, raw))
        except AMQPError as error:
            raise ChannelLostError("the connection was lost") from error
        channel = Channel(raw)
        await channel.answer(opened)
        return channel

    async def declare(self, queue: str, *, passive: bool = False) -> tuple[int, int]:
        """Declare on a channel of its own: a refusal ends the channel, and must not take anything else along."""
        channel = await self.channel()
        try:
            return await channel.declare(queue, passive=passive)
        finally:
            await channel.close()

    async def close(self) -> None:
        """Disconnect; the broker takes back all that was unsettled."""
        self._abort()
        await asyncio.wait([self.lost], timeout=CLOSE_SECONDS)
        if not self.lost.done():  # it waits for a channel that hangs
            self.drop()
            await asyncio.wait([self.lost], timeout=CLOSE_SECONDS)

    def drop(self) -> None:
        """Leave the node without a word, which it may not answer; `lost` follows."""
        if not self.lost.done():
            self._raw.drop()

    def _abort(self) -> None:
        with contextlib.suppress(AMQPError):  # closing or closed already
            self._raw.close()

    def _blocked(self, reason: str) -> None:
        self._log.warning("broker_blocked", reason=reason)
        self.unblocked.clear()
        self.blocked.set()

    def _unblocked(self) -> None:
        self._log.info("broker_unblocked")
        self.unblocked.set()
        self.blocked.clear()

    def _closed(self, reason: BaseException) -> None:
        _resolve(self.lost, _text(reason))
        self.unblocked.set()  # whoever waits for the alarm's end must find out
        self._on_lost()


class Channel:
    """A channel. `closed` is done once it has ended for whatever cause, and then holds that cause."""

    def __init__(self, raw: RawChannel) -> None:
        self.raw = raw
        self.closed: asyncio.Future[ChannelLostError] = asyncio.get_running_loop().create_future()
        raw.add_on_close_callback(lambda _raw, reason: _resolve(self.closed, _lost(reason)))

    async def answer(self, awaited: "asyncio.Future[Any]") -> Any:  # noqa: ANN401 (pika's frames have no common type)
        """Return what `awaited` gives, unless the channel ends first or the broker stays silent."""
        await asyncio.wait([awaited, self.closed], timeout=REPLY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if self.closed.done():
            raise self.closed.result()
        if not awaited.done():
            raise ChannelLostError(f"no answer within {REPLY_SECONDS} s")
        return awaited.result()

    async def call(self, method: Callable[..., object], **arguments: object) -> Any:  # noqa: ANN401 (same)
        """Call a method of the raw channel that takes a callback, and return the broker's answer."""
        answered: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        try:
            method(**arguments, callback=lambda frame: _resolve(answered, frame))
        except AMQPError as error:
            raise ChannelLostError("the channel was lost") from error
        return await self.answer(answered)

    async def declare(self, queue: str, *, passive: bool = False) -> tuple[int, int]:
        """Make sure the queue is there; return its ready messages and its consumers."""
        frame = await self.call(
            self.raw.queue_declare, queue=queue, durable=True, passive=passive, arguments=dict(ARGUMENTS)
        )
        return frame.method.message_count, frame.method.consumer_count

    async def close(self) -> None:
        """End the channel; the broker takes back what is unsettled on it."""
        with contextlib.suppress(AMQPError):  # closing or closed already
            self.raw.close()
        await asyncio.wait([self.closed], timeout=CLOSE_SECONDS)


def persistent(*, message_id: str, tag: int, headers: dict[str, str] | None) -> BasicProperties:
    """Return a message's properties; `tag` comes back with a returned message, and is nothing to receivers."""
    return BasicProperties(delivery_mode=2, message_id=message_id, correlation_id=str(tag), headers=headers)


def _parameters(node: Node, address: Address, name: str) -> ConnectionParameters:
    return ConnectionParameters(
        host=node.host,
        port=node.port,
        virtual_host=address.vhost,
        credentials=PlainCredentials(address.user, address.password),
        heartbeat=HEARTBEAT_SECONDS,
        blocked_connection_timeout=BLOCKED_SECONDS,
        connection_attempts=1,  # whoever opens it has the back-off
        socket_timeout=CONNECT_SECONDS + CLOSE_SECONDS,  # later than ours: two ends at one moment trip pika up
        stack_timeout=CONNECT_SECONDS + CLOSE_SECONDS,
        client_properties={"connection_name": name},
        ssl_options=_tls(node.host) if address.tls else None,
    )


def _tls(host: str) -> SSLOptions:
    import ssl  # noqa: PLC0415 (only amqps:// pays for loading the system's certificates)

    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return SSLOptions(context, host)


def _resolve(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)


def _lost(reason: BaseException) -> ChannelLostError:
    code = reason.reply_code if isinstance(reason, ChannelClosed | ConnectionClosed) else 0
    return ChannelLostError(_text(reason), code)


def _text(reason: BaseException) -> str:
    return str(getattr(reason, "reply_text", None) or reason or type(reason).__name__)
