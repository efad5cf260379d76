"""Who looks at RabbitMQ's queues and works on none: a command, over one connection, for as long as it takes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from pika import BasicProperties
from pika.exceptions import AMQPError
from pika.spec import Basic
from structlog.typing import FilteringBoundLogger

from common.broker import DEAD, Depth
from common.dead_letters import DeadLetter, letter_of
from common.failures import PpsError
from common.rabbitmq.address import parse_address
from common.rabbitmq.channel import NOT_FOUND, Channel, ChannelLostError
from common.rabbitmq.layout import roles_in
from common.rabbitmq.line import Line
from common.rabbitmq.rights import Permit, lacks_of

MAX_OCTETS: Final = 8 * 1024 * 1024
"""Of dead letters that are looked at: each may be a megabyte, and only its headers are wanted."""


@asynccontextmanager
async def visit_rabbitmq(url: str, *, role: str, log: FilteringBoundLogger) -> AsyncIterator["Visitor"]:
    """Connect, and disconnect in the end; raises UsageError for the URL, PpsError when no node takes us."""
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    line = Line(Permit(address=parse_address(url), role=role), purpose="look", log=log)
    await line.open()
    try:
        yield Visitor(line)
    finally:
        await line.close()


class Visitor:
    """Looks, over a connection that is kept up; raises PpsError that names what is missing."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def depth(self, queue: str) -> Depth | None:
        """Return how full a queue is; None where there is no such queue."""
        connection = await self._line.connection()
        try:
            ready, consumers = await connection.declare(queue, passive=True)
        except ChannelLostError as error:
            if error.code == NOT_FOUND:
                return None
            raise PpsError(f"[service] broker: {queue}: {error}") from error
        return Depth(ready=ready, consumers=consumers)

    async def complaints(self, role: str, targets: Collection[str]) -> list[str]:
        """Return a line for each right that our user would lack in this role."""
        permit = replace(self._line.permit, role=role)
        lacks = await lacks_of(await self._line.connection(), roles_in(role), targets)
        return [permit.complaint(lack) for lack in lacks]

    async def letters(self, most: int) -> list[DeadLetter]:
        """Return what the oldest dead letters say of themselves; all go back as they were."""
        found: list[DeadLetter] = []
        octets = 0
        async with self._asking("read") as channel:
            while len(found) < most and octets < MAX_OCTETS:
                got = await _get(channel)
                if got is None:
                    break
                properties, body = got
                octets += len(body)
                found.append(letter_of(properties.headers or {}))
        return found

    async def purge(self) -> int:
        """Forget all dead letters; return how many there were."""
        async with self._asking("read") as channel:
            frame = await channel.call(channel.raw.queue_purge, queue=DEAD)
            return int(frame.method.message_count)
        return 0  # there is no such queue

    @asynccontextmanager
    async def _asking(self, right: str) -> AsyncIterator[Channel]:
        """Have a channel of our own for pps.dead; a queue that isn't there ends what is asked of it."""
        channel = await (await self._line.connection()).channel()
        try:
            yield channel
        except ChannelLostError as error:
            if error.code != NOT_FOUND:
                raise PpsError(f"[service] broker: {self._line.permit.told(error, right, DEAD)}") from error
        finally:
            await channel.close()


async def _get(channel: Channel) -> tuple[BasicProperties, bytes] | None:
    """Take the next dead letter, which goes back when the channel ends; None: there are no more."""
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answer(found: object) -> None:
        if not answered.done():
            answered.set_result(found)

    channel.raw.add_callback(lambda _frame: answer(None), [Basic.GetEmpty], one_shot=True)
    try:
        channel.raw.basic_get(DEAD, lambda _raw, _method, properties, body: answer((properties, body)))
    except AMQPError as error:
        raise ChannelLostError("the channel was lost") from error
    found: tuple[BasicProperties, bytes] | None = await channel.answer(answered)
    return found
