"""Which right a user lacks, in one line with its mend: tried when a role starts, and told whenever one is refused.

Without this a role would begin anew for ever, and only RabbitMQ's log would tell why no mail moves.
"""

import asyncio
import uuid
from collections.abc import Collection, Coroutine
from dataclasses import dataclass
from typing import Final

from common.failures import PpsError
from common.rabbitmq.address import Address
from common.rabbitmq.channel import NOT_FOUND, ChannelLostError, Connection
from common.rabbitmq.layout import ROLES, queues_named, rights_of, roles_in, uses_of

REFUSED: Final = 403  # ACCESS_REFUSED, AMQP 0-9-1
UNFIT: Final = 406  # PRECONDITION_FAILED: it is there with other arguments, or they make no sense

EXCHANGE: Final = "amq.default"

_SENSELESS: Final = {"x-queue-type": "quorum", "x-expires": "asked by PPS to see whether it may: nothing is wrong"}
"""Arguments with which no queue is ever made: RabbitMQ looks at the right first, and then refuses the number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """A right that isn't there, or a queue that is there with other arguments than ours (right "type")."""

    right: str  # configure, write, read, or type
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Whose rights they are, and by which roles: all that a complaint names."""

    address: Address
    role: str  # what the process calls itself

    def complaint(self, lack: Lack) -> str:
        """Return what is missing, and how it is mended."""
        user, vhost = self.address.user, self.address.vhost
        if lack.right == "type":
            return (
                f"queue {lack.resource} in vhost {vhost!r} is no quorum queue, or has arguments that PPS gives none: "
                f"delete it, and it is made anew: rabbitmqctl delete_queue --vhost {vhost} {lack.resource}"
            )
        rights = rights_of(roles_in(self.role) or ROLES)
        return (
            f"user {user!r} lacks the right to {lack.right} {lack.resource} in vhost {vhost!r}: "
            f"rabbitmqctl set_permissions -p {vhost} {user} {rights}"
        )

    def told(self, error: ChannelLostError, right: str, resource: str) -> str:
        """Return why a channel ended that asked for this; of a right that is missing, with the mend."""
        if error.code == REFUSED:
            return self.complaint(Lack(right=right, resource=resource))
        if error.code == UNFIT and right == "configure":
            return self.complaint(Lack(right="type", resource=resource))
        return str(error)


async def require_rights(connection: Connection, permit: Permit, targets: Collection[str]) -> None:
    """Raise PpsError that names what the process's roles lack; who plays none may do what it may."""
    lacks = await lacks_of(connection, roles_in(permit.role), targets)
    if lacks:
        raise PpsError(f"[service] broker: {permit.complaint(lacks[0])}")


async def lacks_of(connection: Connection, roles: Collection[str], targets: Collection[str]) -> list[Lack]:
    """Return what a user lacks for these roles. Nothing is made, sent or taken by asking.

    A connection that is lost meanwhile tells nothing: whoever keeps it opens another.
    """
    declares, reads = uses_of(roles)
    configures = await asyncio.gather(*(_configure(connection, queue) for queue in queues_named(declares, targets)))
    consumes = await asyncio.gather(*(_read(connection, queue) for queue in queues_named(reads, targets)))
    writes = [await _write(connection)] if declares else []  # the last: under an alarm all after it would wait
    return [lack for lack in (*configures, *writes, *consumes) if lack is not None]


async def _configure(connection: Connection, queue: str) -> Lack | None:
    """Declare a queue that is there, as it is; of another, ask for one that can't be."""
    there = False
    try:
        there = await _is_there(connection, queue)
        channel = await connection.channel()
        try:
            if there:
                await channel.declare(queue)
            else:
                await channel.call(channel.raw.queue_declare, queue=queue, durable=True, arguments=_SENSELESS)
        finally:
            await channel.close()
    except ChannelLostError as error:
        if error.code == REFUSED:
            return Lack(right="configure", resource=queue)
        if error.code == UNFIT and there:
            return Lack(right="type", resource=queue)
    return None


async def _is_there(connection: Connection, queue: str) -> bool:
    try:
        await connection.declare(queue, passive=True)
    except ChannelLostError as error:
        if error.code != NOT_FOUND:
            raise
        return False
    return True


async def _write(connection: Connection) -> Lack | None:
    """Publish to a queue that nobody has: it is returned, or refused before."""
    try:
        channel = await connection.channel()
        try:
            await channel.call(channel.raw.confirm_delivery, ack_nack_callback=lambda _frame: None)
            channel.raw.basic_publish(
                exchange="", routing_key=f"pps.rights.{uuid.uuid4().hex}", body=b"", mandatory=True
            )
            looked_at = channel.call(channel.raw.basic_qos, prefetch_count=1)  # answered after the publish
            await _unless_blocked(connection, looked_at)
        finally:
            await channel.close()
    except ChannelLostError as error:
        if error.code == REFUSED:
            return Lack(right="write", resource=EXCHANGE)
    return None


async def _unless_blocked(connection: Connection, answer: Coroutine[object, object, object]) -> None:
    """Wait for an answer, unless RabbitMQ stops reading over an alarm: then none comes, and the right isn't known."""
    waiting = {asyncio.ensure_future(answer), asyncio.ensure_future(connection.blocked.wait())}
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
    for one in done:
        one.result()


async def _read(connection: Connection, queue: str) -> Lack | None:
    """Consume for a moment; a message that comes goes back when the channel ends, as if nobody had seen it."""
    try:
        channel = await connection.channel()
        try:
            await channel.call(channel.raw.basic_qos, prefetch_count=1)
            await channel.call(channel.raw.basic_consume, queue=queue, on_message_callback=lambda *_message: None)
        finally:
            await channel.close()
    except ChannelLostError as error:
        if error.code == REFUSED:
            return Lack(right="read", resource=queue)
    return None  # NOT_FOUND comes after the right was looked at
