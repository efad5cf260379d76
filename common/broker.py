"""The broker as workers see it, and the queue names. Which broker stands behind it is decided by one URL.

Queues are a cache: losing any message, or the whole broker, only costs time, because the remote mailbox is the durable
copy and the ledger is the truth. That is why the interface has no transactions, no delays and no retry counters.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

FETCHED: Final = "pps.fetched"
OUTCOMES: Final = "pps.outcomes"
DEAD: Final = "pps.dead"
JOBS_PREFIX: Final = "pps.jobs."


def jobs_queue(target: str) -> str:
    """Return the queue of one target's jobs: one a target, so that a dead target holds up only its own mail."""
    return JOBS_PREFIX + target


@dataclass(frozen=True, slots=True)
class Ack:
    """The message is dealt with, and is forgotten by the broker."""


@dataclass(frozen=True, slots=True)
class Requeue:
    """The message goes back to its queue, for this or another worker."""


@dataclass(frozen=True, slots=True)
class Dead:
    """The message can never be dealt with: it moves to pps.dead, with the reason as its `reason` header."""

    reason: str


Settlement = Ack | Requeue | Dead

Handler = Callable[[bytes], Awaitable[Settlement]]
"""Deals with one message body and says what becomes of the message. An exception means Requeue, after a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How full a queue is."""

    ready: int  # messages that wait for a consumer
    consumers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InHand:
    """What this process has taken of a queue and not settled."""

    count: int
    oldest: float  # seconds since the first of them was begun, 0 where none was


def all_of(hands: Collection[InHand]) -> InHand:
    """Return what several consumptions of one queue have taken together."""
    return InHand(count=sum(one.count for one in hands), oldest=max((one.oldest for one in hands), default=0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerState:
    """How this process stands with the broker: for health and metrics."""

    connected: bool
    publishing: int  # messages sent and not confirmed
    publishing_octets: int
    in_hand: Mapping[str, InHand]  # by queue, of each that is consumed
    unconsumed: tuple[str, ...] = ()  # queues whose consumer is gone, for longer than it takes to get it back


class MessageTooLargeError(ValueError):
    """A message over the limit of messages.MAX_MESSAGE: a fault in this program, never tried again."""


class Consumption(ABC):
    """A running consumer of one queue."""

    @abstractmethod
    async def stop(self) -> None:
        """Take no new message, hand back those not begun, wait for the handlers that run, then return.

        Cancelling `stop` cancels the handlers; their messages go back to the queue.
        """


class Broker(ABC):
    """Publishes with confirmation and consumes with one settlement a message.

    ```python
    broker = await connect_broker("amqp://pps:…@10.0.0.1,10.0.0.2/pps")  # or "memory:"
    consumption = await broker.consume(FETCHED, route, prefetch=100)
    await broker.publish(jobs_queue("local"), encode(job), message_id=job.delivery_id)  # returns once confirmed
    await consumption.stop()
    await broker.close()
    ```

    Every method survives the broker's restart: it waits, reconnects, declares again, and goes on. Only cancellation
    and `close` end that wait.
    """

    @abstractmethod
    async def publish(self, queue: str, body: bytes, *, message_id: str) -> None:
        """Return once the broker has confirmed custody of `body` in `queue`, which is declared if it isn't there.

        A confirmation that is lost, late (30 s), negative, or a returned message leads to another publish of the same
        message: receivers must tolerate it twice. Raises MessageTooLargeError.
        """

    @abstractmethod
    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> Consumption:
        """Run `handler` on each message of `queue`, at most `prefetch` at a time, until the consumption is stopped."""

    @abstractmethod
    async def depth(self, queue: str) -> Depth:
        """Return how full `queue` is; an unknown queue is empty."""

    @abstractmethod
    def state(self) -> BrokerState:
        """Return how this process stands with the broker, without asking it."""

    @property
    @abstractmethod
    def blocked(self) -> bool:
        """Whether the broker takes no messages now (disconnected, alarm, no room): begin nothing new meanwhile."""

    @property
    @abstractmethod
    def volatile(self) -> bool:
        """Whether messages are lost with this process, so that what was unsettled must be begun again at start."""

    @property
    @abstractmethod
    def round_trips(self) -> int:
        """How many waits for the broker's confirmation there were that no other wait overlapped: for cost ceilings."""

    @abstractmethod
    async def close(self) -> None:
        """Give back what is unsettled and disconnect; waiting publishes are cancelled."""


async def publish_within(seconds: float, broker: Broker, queue: str, body: bytes, *, message_id: str) -> bool:
    """Publish if there is room soon; False: not published, or published without our knowing."""
    try:
        async with asyncio.timeout(seconds):
            await broker.publish(queue, body, message_id=message_id)
    except TimeoutError:
        return False
    return True
