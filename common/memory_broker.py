"""The embedded broker: queues in this process's memory, for `pps run`. It holds encoded bytes, as a real one would.

Room is per queue, and a message keeps its place until it is settled. Were it shared, a router that holds a fetched mail
could wait for room for its jobs while fetchers fill all room with more fetched mails: nobody could ever go on. So each
step waits only for the next one's room: fetched waits for jobs, jobs (of each target) for outcomes, and whoever takes
an outcome publishes nothing. pps.dead, which nobody needs to empty, never makes anyone wait: it drops its oldest.

All that dies with these queues can be had again, from the ledger and the remote mailbox, but for outcomes: that a mail
was delivered is known to nobody else. So an outcome is confirmed only once it is settled, which is when the ledger has
it, and not while it merely lies here.
"""

import asyncio
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.broker import (
    DEAD,
    FETCHED,
    OUTCOMES,
    Broker,
    BrokerState,
    Consumption,
    Depth,
    Handler,
    InHand,
    MessageTooLargeError,
    all_of,
)
from common.handling import Delivery, Handling
from common.messages import MAX_MESSAGE, one_line
from common.metrics import NO_METRICS, Metrics
from common.metrics.definitions import CONFIRM_SECONDS, PUBLISHES
from common.room import Room

ROOM_OCTETS: Final = 32 * 1024 * 1024
"""Octets of messages in one queue: some thousand small mails, so that a burst is absorbed and memory is not eaten."""

OVERHEAD_OCTETS: Final = 512
"""What a message costs besides its body: a queue of tiny ones must be bounded too."""

DEAD_MESSAGES: Final = 100
"""Dead letters that are kept for a look, newest last: at most 100 MiB."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Message:
    body: bytes
    message_id: str
    reason: str = ""  # why it is in pps.dead
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def size(self) -> int:
        return len(self.body) + OVERHEAD_OCTETS


class _Queue:
    """Messages in order, and who takes them in turn."""

    def __init__(self, room: int) -> None:
        self.room = Room(octets=room)
        self.ready: deque[_Message] = deque()
        self.consumers: deque[MemoryConsumption] = deque()

    def put(self, message: _Message) -> None:
        self.ready.append(message)
        self.dispatch()

    def put_back(self, message: _Message) -> None:
        self.ready.appendleft(message)
        self.dispatch()

    def dispatch(self) -> None:
        """Hand out what waits, to each consumer in turn."""
        for _ in range(len(self.consumers)):
            while self.ready and self.consumers[0].free:
                self.consumers[0].offer(self.ready.popleft())
                self.consumers.rotate(-1)
            self.consumers.rotate(-1)


class MemoryBroker(Broker):
    """Queues that live and die with this process."""

    def __init__(self, log: FilteringBoundLogger, *, room: int = ROOM_OCTETS, metrics: Metrics = NO_METRICS) -> None:
        self._log = log
        self._metrics = metrics
        self._queues: defaultdict[str, _Queue] = defaultdict(lambda: _Queue(room))
        self._publishing: dict[asyncio.Task[object], int] = {}  # and the octets
        self._round_trips = 0
        self._closed = False

    async def publish(self, queue: str, body: bytes, *, message_id: str) -> None:
        """See Broker."""
        if len(body) > MAX_MESSAGE:
            raise MessageTooLargeError(f"{len(body)} octets for {queue}, at most {MAX_MESSAGE}")
        if self._closed:
            raise RuntimeError("the broker is closed")
        if not self._publishing:
            self._round_trips += 1
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (coroutines run in tasks; says so to the type checker)
        self._publishing[task] = len(body)
        began = time.monotonic()
        message = _Message(body=body, message_id=message_id)
        try:
            await self._put(queue, message)
            if queue == OUTCOMES:
                await message.settled.wait()
            await asyncio.sleep(0)  # the confirmation comes later, as from any broker: publishes of one tick overlap
        finally:
            del self._publishing[task]
        self._metrics.count(PUBLISHES, queue, "ack")
        self._metrics.observe(CONFIRM_SECONDS, time.monotonic() - began, queue)

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> Consumption:
        """See Broker."""
        there = self._queues[queue]
        handling = Handling(
            handler,
            prefetch=prefetch,
            log=self._log.bind(queue=queue),
            freed=there.dispatch,
            metrics=self._metrics,
            queue=queue,
        )
        return MemoryConsumption(self, there, handling)

    async def depth(self, queue: str) -> Depth:
        """See Broker."""
        found = self._queues.get(queue)
        return Depth(ready=len(found.ready), consumers=len(found.consumers)) if found else Depth(ready=0, consumers=0)

    def state(self) -> BrokerState:
        """See Broker."""
        taken = {name: [one.in_hand for one in queue.consumers] for name, queue in self._queues.items()}
        return BrokerState(
            connected=not self._closed,
            publishing=len(self._publishing),
            publishing_octets=sum(self._publishing.values()),
            in_hand={name: all_of(hands) for name, hands in taken.items() if hands},
        )

    @property
    def blocked(self) -> bool:
        """See Broker."""
        return not self._queues[FETCHED].room.fits(MAX_MESSAGE + OVERHEAD_OCTETS)

    @property
    def volatile(self) -> bool:
        """See Broker."""
        return True

    @property
    def round_trips(self) -> int:
        """See Broker."""
        return self._round_trips

    async def close(self) -> None:
        """See Broker."""
        self._closed = True
        for task in self._publishing:
            task.cancel()
        consumptions = [consumption for queue in self._queues.values() for consumption in queue.consumers]
        await asyncio.gather(*(consumption.abandon() for consumption in consumptions))

    def bury(self, message: _Message, reason: str) -> None:
        """Keep a message in pps.dead."""
        self._put_dead(_Message(body=message.body, message_id=message.message_id, reason=one_line(reason)))

    async def _put(self, queue: str, message: _Message) -> None:
        if queue == DEAD:
            self._put_dead(message)
            return
        await self._queues[queue].room.take(message.size)
        self._queues[queue].put(message)

    def _put_dead(self, message: _Message) -> None:
        dead = self._queues[DEAD]
        if len(dead.ready) >= DEAD_MESSAGES:
            dropped = dead.ready.popleft()
            dead.room.give(dropped.size)
            self._log.warning("dead_letter_dropped", message_id=dropped.message_id, reason=dropped.reason)
        dead.room.squeeze_in(message.size)
        dead.put(message)


class _MemoryDelivery(Delivery):
    """A message in a handler's hands; it keeps its place in the queue's room."""

    def __init__(self, broker: MemoryBroker, queue: _Queue, message: _Message) -> None:
        self.body = message.body
        self._broker = broker
        self._queue = queue
        self._message = message

    def ack(self) -> None:
        self._queue.room.give(self._message.size)
        self._message.settled.set()

    def requeue(self) -> None:
        self._queue.put_back(self._message)

    async def bury(self, reason: str) -> None:
        self._broker.bury(self._message, reason)


class MemoryConsumption(Consumption):
    """A running consumer of one queue."""

    def __init__(self, broker: MemoryBroker, queue: _Queue, handling: Handling) -> None:
        self._broker = broker
        self._queue = queue
        self._handling = handling
        queue.consumers.append(self)
        queue.dispatch()

    @property
    def free(self) -> bool:
        """Whether it would begin a message at once."""
        return self._handling.free

    @property
    def in_hand(self) -> InHand:
        """What was offered and is not settled."""
        return self._handling.in_hand

    def offer(self, message: _Message) -> None:
        """Begin this message."""
        self._handling.offer(_MemoryDelivery(self._broker, self._queue, message))

    async def stop(self) -> None:
        """See Consumption."""
        self._leave()
        await self._handling.stop()

    async def abandon(self) -> None:
        """Stop at once: handlers that run are cancelled, their messages go back."""
        self._leave()
        await self._handling.abandon()

    def _leave(self) -> None:
        if self in self._queue.consumers:
            self._queue.consumers.remove(self)
