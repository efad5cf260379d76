"""What every worker process does alike: open its parts, run until a signal, stop in order, within STOP_SECONDS."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore
from common.broker import Broker
from common.config import Config
from common.connect import broker_url, checked_blobs, connect_broker
from common.ledger import Ledger
from common.log import Destination, logger_to
from common.metrics import Metrics, new_metrics
from common.pulse import Pulse

STOP_SECONDS: Final = 20.0
"""How long all workers of a process may take to finish or hand back; what is left is cut, and all ends within 30 s."""


ALLOCATIONS: Final = 20_000
"""Objects made, less those freed, between two looks of the garbage collector: some MB; Python's own 700 are little."""


class Worker(Protocol):
    """One part of the pipeline: works until `stop` is set, then finishes or hands back what it holds, and returns."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until stopped."""


@runtime_checkable
class Reconfigurable(Protocol):
    """A worker that takes a changed configuration while it works."""

    async def prepare(self, config: Config) -> Callable[[], None]:
        """Make ready what the configuration asks for; return what puts it in force, without fail and without a wait.

        Raises PpsError that names the key; then all stays as it was.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What workers are wired to."""

    config: Config
    ledger: Ledger
    broker: Broker
    blobs: BlobStore
    log: FilteringBoundLogger
    destination: Destination  # of the log
    metrics: Metrics
    pulse: Pulse = field(default_factory=Pulse)


@asynccontextmanager
async def opened(config: Config, *, role: str, shown: bool = False) -> AsyncIterator[Parts]:
    """Open log, ledger, broker and blobs, and close them in reverse; raises PpsError that names the key.

    `shown`: whether metrics are kept, for somebody to look at.
    """
    service = config.service
    metrics = new_metrics(shown=shown)
    destination = Destination(service.log, config.base)
    log = logger_to(destination).bind(role=role)
    ledger = await Ledger.open(service.ledger, base=config.base, log=log, role=role)
    try:
        url = await broker_url(service, config.base)
        broker = await connect_broker(url, role=role, log=log, targets=config.targets, metrics=metrics)
        try:
            blobs = await checked_blobs(service, config.base, log)
            yield Parts(
                config=config,
                ledger=ledger,
                broker=broker,
                blobs=blobs,
                log=log,
                destination=destination,
                metrics=metrics,
            )
        finally:
            await broker.close()
    finally:
        await ledger.close()


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` on SIGTERM and SIGINT; a second one changes nothing, SIGKILL is always safe."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def run_in_order(workers: Sequence[Worker], stop: asyncio.Event, log: FilteringBoundLogger) -> None:
    """Run workers together; on `stop`, end them one after the other, so that the later finish what the earlier sent.

    A worker that fails stops all. What is not done after STOP_SECONDS is broken off, which loses nothing.
    """
    collect_less()
    stops = [asyncio.Event() for _ in workers]
    tasks = [asyncio.create_task(worker.run(own)) for worker, own in zip(workers, stops, strict=True)]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        log.info("worker_stopping")
        await _end_in_order(tasks, stops)
    finally:
        stopping.cancel()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    log.info("worker_stopped")
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


def collect_less() -> None:
    """Have the garbage collector leave alone what lives as long as the process, and look less often at the rest.

    Messages free themselves; with hundreds in hand, looking for circles among them was a seventh of a router's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS)


async def _end_in_order(tasks: Sequence[asyncio.Task[None]], stops: Sequence[asyncio.Event]) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + STOP_SECONDS
    for task, own in zip(tasks, stops, strict=True):
        own.set()
        await asyncio.wait({task}, timeout=max(0.0, until - loop.time()))
