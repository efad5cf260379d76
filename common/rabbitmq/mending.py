"""Queues that don't work though their cluster does: they are deleted, and workers declare them again.

A RabbitMQ 3.10 node that is killed within moments of a queue's first declaration brings the queue back without a leader
for ever: nothing in it is confirmed, and it takes no consumer. Queues are a cache, so deleting one costs only time.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.backoff import back_off
from common.failures import PpsError
from common.rabbitmq.channel import ARGUMENTS, NOT_FOUND, ChannelLostError, Connection
from common.rabbitmq.confirms import ConfirmingChannel, Publish, Verdict
from common.rabbitmq.layout import SCRATCH_PREFIX
from common.rabbitmq.line import connect
from common.rabbitmq.rights import REFUSED, Permit

AGAIN_SECONDS: Final = 300
"""Between two deletions of one queue, whoever deletes it: what the first didn't mend, another won't."""

TRIAL_SECONDS: Final = 30
"""How long a queue that failed somebody must go on refusing while others work: an election takes far less."""

PROBE_SECONDS: Final = 15
"""How long a queue may take to be made and to confirm a message, on a cluster that works."""

SCRATCH_ARGUMENTS: Final = {**ARGUMENTS, "x-expires": 60_000}  # ms; one that its maker could not delete goes by itself

SICK: Final = frozenset({0, NOT_FOUND, 506, 541})
"""Reply codes that may mean a queue without a leader: silence, and errors that RabbitMQ itself didn't foresee."""

Trial = Callable[[Connection], Awaitable[None]]
"""Has a queue do its work once; raises ChannelLostError if it doesn't."""


def confirms(publish: Publish) -> Trial:
    """Return a trial that publishes the same message, which receivers may get twice."""

    async def trial(connection: Connection) -> None:
        await connection.declare(publish.queue)
        again = _message(publish.queue, publish.body, publish.message_id, publish.headers)
        await _send(connection, again)

    return trial


def serves(queue: str) -> Trial:
    """Return a trial that consumes for a moment: a message that comes goes back when the connection ends."""

    async def trial(connection: Connection) -> None:
        channel = await connection.channel()
        await channel.declare(queue)
        await channel.call(channel.raw.basic_qos, prefetch_count=1)
        await channel.call(channel.raw.basic_consume, queue=queue, on_message_callback=lambda *_message: None)

    return trial


class Mender:
    """Looks after queues that failed a publisher or a consumer of this process."""

    def __init__(self, permit: Permit, log: FilteringBoundLogger) -> None:
        self._permit = permit
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def suspect(self, queue: str, trial: Trial, connection: Connection) -> None:
        """Look after `queue`, unless that is under way, or was of use within AGAIN_SECONDS; returns at once.

        If it turns out to work, then what doesn't is the connection, which is dropped.
        """
        if queue not in self._tasks:
            looking = self._look_after(queue, trial, connection)
            task = self._tasks[queue] = asyncio.create_task(looking, name=f"mender of {queue}")
            task.add_done_callback(lambda _task: self._tasks.pop(queue))

    async def close(self) -> None:
        """Stop looking; what was being deleted is deleted or is not."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_after(self, queue: str, trial: Trial, suspicious: Connection) -> None:
        try:
            async with self._connected() as connection:
                await _lock(connection, queue)  # of many workers that suspect it one acts: the others fail here
                if not await _cluster_works(connection):
                    return  # a minority of a cluster can make no queue: there none is deleted that the majority serves
                if await self._works(trial):
                    suspicious.drop()
                elif await _cluster_works(connection):
                    await self._delete(connection, queue)
                    await asyncio.sleep(AGAIN_SECONDS)  # and the lock stays ours
        except (ChannelLostError, PpsError) as error:
            if isinstance(error, ChannelLostError) and error.code == REFUSED:
                reason = self._permit.told(error, "configure", f"{SCRATCH_PREFIX}*")
                self._log.warning("queue_not_mended", queue=queue, reason=reason)
            else:
                self._log.debug("queue_not_mended", queue=queue, reason=str(error))

    async def _works(self, trial: Trial) -> bool:
        """Try again and again, each time over a connection of its own: a trial may end that, or hang on it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + TRIAL_SECONDS
        while loop.time() < until:
            async with self._connected() as connection:
                try:
                    async with asyncio.timeout_at(until):
                        await trial(connection)
                except ChannelLostError as error:
                    if error.code not in SICK:
                        return True  # it is refused for another reason, which others tell
                except TimeoutError:
                    return False
                else:
                    return True
            await asyncio.sleep(back_off(1))
        return False

    async def _delete(self, connection: Connection, queue: str) -> None:
        """Delete it, which takes RabbitMQ five seconds and ends the connections of others that wait for the queue."""
        self._log.error("queue_made_anew", queue=queue, reason="it did not work while the rest of RabbitMQ did")
        try:
            channel = await connection.channel()
            await channel.call(channel.raw.queue_delete, queue=queue)
        except ChannelLostError as error:
            self._log.warning("queue_not_deleted", queue=queue, reason=str(error))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        """Connect to any node; raises PpsError if none takes us."""
        name = f"pps {self._permit.role} mend"
        connection = await connect(self._permit.address, name=name, on_lost=lambda: None, log=self._log)
        try:
            yield connection
        finally:
            await connection.close()


async def _lock(connection: Connection, queue: str) -> None:
    """Hold what only one connection can hold; raises ChannelLostError if another does."""
    channel = await connection.channel()
    name = f"{SCRATCH_PREFIX}{queue}"
    await channel.call(channel.raw.queue_declare, queue=name, exclusive=True)  # which goes with the connection


async def _cluster_works(connection: Connection) -> bool:
    """Whether a queue can be made anew, and confirms a message: through the node that would be told to delete one."""
    probe = SCRATCH_PREFIX + uuid.uuid4().hex
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PROBE_SECONDS):
            channel = await connection.channel()
            await channel.call(channel.raw.queue_declare, queue=probe, durable=True, arguments=dict(SCRATCH_ARGUMENTS))
            await _send(connection, _message(probe, b"", probe, None))
            await channel.call(channel.raw.queue_delete, queue=probe)
            return True
    return False


async def _send(connection: Connection, publish: Publish) -> None:
    """Publish once; raises ChannelLostError unless it is confirmed."""
    channel = await ConfirmingChannel.open(connection)
    channel.send(publish)
    verdict = await publish.verdict
    if verdict is not Verdict.ACK:
        raise ChannelLostError(verdict)


def _message(queue: str, body: bytes, message_id: str, headers: dict[str, str] | None) -> Publish:
    verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
    return Publish(queue=queue, body=body, message_id=message_id, headers=headers, verdict=verdict)
