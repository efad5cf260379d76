"""RabbitMQ as a Broker: one line for publishing, one for consuming, wired together here."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection
from functools import partial

from structlog.typing import FilteringBoundLogger

from common.backoff import back_off
from common.broker import Broker, BrokerState, Consumption, Depth, Handler, InHand, all_of
from common.handling import Handling
from common.metrics import NO_METRICS, Metrics
from common.metrics.definitions import BROKER_RECONNECTS
from common.rabbitmq.address import parse_address
from common.rabbitmq.channel import NOT_FOUND, ChannelLostError
from common.rabbitmq.consumption import RabbitConsumption
from common.rabbitmq.line import Line
from common.rabbitmq.mending import Mender
from common.rabbitmq.publishing import Publisher
from common.rabbitmq.rights import Permit, require_rights


async def connect_rabbitmq(
    url: str,
    *,
    role: str,
    log: FilteringBoundLogger,
    targets: Collection[str] = (),
    metrics: Metrics = NO_METRICS,
) -> "RabbitBroker":
    """Connect to the cluster that `url` names.

    Raises UsageError for a wrong URL, PpsError when no node takes us, or the role lacks a right that it needs.
    """
    # Each fault that pika would log reaches us as an exception or callback, and is logged once where it is handled.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    broker = RabbitBroker(Permit(address=parse_address(url), role=role), log=log, metrics=metrics)
    try:
        await broker.open(targets)
    except BaseException:
        await broker.close()
        raise
    return broker


class RabbitBroker(Broker):
    """A broker that outlives us: `volatile` is false."""

    def __init__(self, permit: Permit, *, log: FilteringBoundLogger, metrics: Metrics = NO_METRICS) -> None:
        metrics.count(BROKER_RECONNECTS, permit.role, by=0)  # so that a page has it from the start
        back = partial(metrics.count, BROKER_RECONNECTS, permit.role)
        self._log = log
        self._metrics = metrics
        self._permit = permit
        self._publishing = Line(permit, purpose="publish", log=log, on_back=back)
        self._consuming = Line(permit, purpose="consume", log=log, on_back=back)
        self._mender = Mender(permit, log)
        self._publisher = Publisher(self._publishing, self._mender, log, metrics)
        self._consumptions: set[RabbitConsumption] = set()

    async def open(self, targets: Collection[str] = ()) -> None:
        """Connect both lines for the first time, and see whether our roles may do their work; raises PpsError."""
        await self._publishing.open()
        await self._consuming.open()
        await require_rights(await self._publishing.connection(), self._permit, targets)

    async def publish(self, queue: str, body: bytes, *, message_id: str) -> None:
        """See Broker."""
        await self._publisher.publish(queue, body, message_id=message_id)

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> Consumption:
        """See Broker."""
        consumption = RabbitConsumption(
            queue,
            Handling(handler, prefetch=prefetch, log=self._log.bind(queue=queue), metrics=self._metrics, queue=queue),
            prefetch=prefetch,
            line=self._consuming,
            publisher=self._publisher,
            mender=self._mender,
            log=self._log,
            ended=self._consumptions.discard,
        )
        self._consumptions.add(consumption)
        try:
            await consumption.begun()
        except asyncio.CancelledError:
            await consumption.abandon()
            raise
        return consumption

    async def depth(self, queue: str) -> Depth:
        """See Broker."""
        while True:
            connection = await self._consuming.connection()
            try:
                ready, consumers = await connection.declare(queue, passive=True)
            except ChannelLostError as error:
                if error.code == NOT_FOUND:
                    return Depth(ready=0, consumers=0)
                self._log.warning("depth_unknown", queue=queue, reason=str(error))
                await asyncio.sleep(back_off(1))
            else:
                return Depth(ready=ready, consumers=consumers)

    def state(self) -> BrokerState:
        """See Broker."""
        hands: defaultdict[str, list[InHand]] = defaultdict(list)
        for consumption in self._consumptions:
            hands[consumption.queue].append(consumption.in_hand)
        return BrokerState(
            connected=self._publishing.up and self._consuming.up,
            publishing=self._publisher.window.items,
            publishing_octets=self._publisher.window.octets,
            in_hand={queue: all_of(found) for queue, found in hands.items()},
            unconsumed=tuple(sorted({one.queue for one in self._consumptions if one.is_missing})),
        )

    @property
    def blocked(self) -> bool:
        """See Broker."""
        return self._publishing.blocked

    @property
    def volatile(self) -> bool:
        """See Broker."""
        return False

    @property
    def round_trips(self) -> int:
        """See Broker."""
        return self._publisher.round_trips

    async def close(self) -> None:
        """See Broker."""
        await asyncio.gather(*(consumption.abandon() for consumption in self._consumptions))
        await self._mender.close()
        await self._publisher.close()
        await self._publishing.close()
        await self._consuming.close()
