"""The deliverer's work: a lane for each target, so that a slow or dead one holds up only its own mail.

Targets may change meanwhile: the lane of one that was replaced or removed finishes what it holds, and takes no more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore
from common.broker import Broker
from common.config import Config
from common.ledger import Ledger
from common.metrics import NO_METRICS, Metrics
from deliverer.breaker import Breaker
from deliverer.jobs import Jobs, Services
from deliverer.lane import Lane, first_of
from deliverer.target import Target
from deliverer.told import Told

HANDOVER_SECONDS: Final = 10.0
"""How long a changed target waits for the lane it replaces, which may be far longer in doubt about one last mail."""

MakeTargets = Callable[[Config, Mapping[str, Target]], Awaitable[Mapping[str, Target]]]
"""Makes the targets of a configuration. Given those that stand, it returns the very same where nothing changed."""


async def _unchanged(_config: Config, standing: Mapping[str, Target]) -> Mapping[str, Target]:
    return standing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Working:
    target: Target
    lane: Lane
    task: asyncio.Task[None]


class DelivererWorker:
    """Consumes the jobs of all its targets, `prefetch` of each at a time, so that their claims share commits."""

    def __init__(  # noqa: PLR0913 (wired once, by hand)
        self,
        *,
        broker: Broker,
        ledger: Ledger,
        blobs: BlobStore,
        targets: Mapping[str, Target],
        log: FilteringBoundLogger,
        prefetch: int = 100,
        make: MakeTargets = _unchanged,
        metrics: Metrics = NO_METRICS,
    ) -> None:
        self._told = Told(broker=broker, ledger=ledger, log=log)
        self._services = Services(broker=broker, ledger=ledger, blobs=blobs, told=self._told, metrics=metrics)
        self._targets = dict(targets)
        self._log = log
        self._prefetch = prefetch
        self._make = make
        self._lanes: dict[str, _Working] = {}
        self._changed = asyncio.Event()

    @property
    def targets(self) -> Mapping[str, Target]:
        """The targets in force."""
        return self._targets

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set, then finish or cut what is under way; each lane closes its target."""
        telling = asyncio.create_task(self._told.run(), name="outcomes told again")
        try:
            async with asyncio.TaskGroup() as group:
                while not stop.is_set():
                    self._changed.clear()
                    self._arrange(group, stop)
                    await first_of(stop.wait(), self._changed.wait())
        finally:
            telling.cancel()
            await asyncio.wait({telling})

    async def prepare(self, config: Config) -> Callable[[], None]:
        """See Reconfigurable."""
        targets = dict(await self._make(config, self._targets))

        def put_in_force() -> None:
            self._targets = targets
            self._changed.set()

        return put_in_force

    def _arrange(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Have just the lanes that the targets ask for."""
        before = self._lanes
        self._lanes = {name: one for name, one in before.items() if self._targets.get(name) is one.target}
        for name in before.keys() - self._lanes.keys():
            before[name].lane.retire()
        for name in self._targets.keys() - self._lanes.keys():
            self._lanes[name] = self._begin(name, group, stop, before.get(name))

    def _begin(self, name: str, group: asyncio.TaskGroup, stop: asyncio.Event, before: _Working | None) -> _Working:
        target = self._targets[name]
        lane = self._lane(name, target)

        async def work() -> None:
            try:
                if before is not None:  # the target may not stand the connections of both
                    await asyncio.wait({before.task}, timeout=HANDOVER_SECONDS)
                await lane.run(stop)
            finally:
                await target.close()

        return _Working(target=target, lane=lane, task=group.create_task(work()))

    def _lane(self, name: str, target: Target) -> Lane:
        log = self._log.bind(target=name)
        jobs = Jobs(name, target, Breaker(), self._services, log)
        return Lane(jobs, broker=self._services.broker, ledger=self._services.ledger, log=log, prefetch=self._prefetch)
