"""The deliverer's work: a lane for each target, so that a slow or dead one holds up only its own mail."""

import asyncio
from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore
from common.broker import Broker
from common.ledger import Ledger
from deliverer.breaker import Breaker
from deliverer.jobs import Jobs, Services
from deliverer.lane import Lane
from deliverer.target import Target


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
    ) -> None:
        self._services = Services(broker=broker, ledger=ledger, blobs=blobs)
        self._targets = dict(targets)
        self._log = log
        self._prefetch = prefetch

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set, finish or cut what is under way, and close the targets."""
        try:
            async with asyncio.TaskGroup() as lanes:
                for name, target in self._targets.items():
                    lanes.create_task(self._lane(name, target).run(stop))
        finally:
            await asyncio.gather(*(target.close() for target in self._targets.values()))

    def _lane(self, name: str, target: Target) -> Lane:
        log = self._log.bind(target=name)
        jobs = Jobs(name, target, Breaker(), self._services, log)
        return Lane(jobs, broker=self._services.broker, ledger=self._services.ledger, log=log, prefetch=self._prefetch)
