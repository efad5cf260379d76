"""One target's lane: its queue is consumed while it is in service, and it is probed while it isn't."""

import asyncio
from collections.abc import Awaitable
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.backoff import back_off
from common.broker import Broker, Consumption, Requeue, Settlement, jobs_queue
from common.failures import PpsError
from common.ledger import Ledger
from common.ledger.targets import Hold
from deliverer.jobs import Jobs

STOP_SECONDS: Final = 8.0
"""How long deliveries under way may take to finish at the end, before they are cut where they are."""

MAX_PROBE_SECONDS: Final = 60.0
"""Between two probes of a target: how late its recovery may be noticed."""

HOLD_LOOK_SECONDS: Final = 5.0
"""How often it is looked whether a hold still lasts: a person may end it."""

PAUSE_MARGIN_SECONDS: Final = 120.0
"""How much longer than the wait a pause holds: a probe may take its time; if we die, the pause must end by itself."""


class Lane:
    """Consumes one target's jobs, `prefetch` at a time."""

    def __init__(self, jobs: Jobs, *, broker: Broker, ledger: Ledger, log: FilteringBoundLogger, prefetch: int) -> None:
        self._jobs = jobs
        self._name = jobs.name
        self._target = jobs.target
        self._breaker = jobs.breaker
        self._broker = broker
        self._ledger = ledger
        self._log = log
        self._prefetch = prefetch
        self._ending: set[asyncio.Task[None]] = set()  # consumptions that still wait for their handlers
        self._retired = asyncio.Event()
        self._halted = asyncio.Event()  # the consumption that was last begun takes nothing any more

    def retire(self) -> None:
        """Take no more jobs, give back those that are not past their final dot, and wait for the others' outcome."""
        self._retired.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set or the lane is retired; after `stop`, cut what takes longer than STOP_SECONDS."""
        try:
            while not self._is_over(stop):
                await self._consume(stop)
                if not self._is_over(stop):
                    await first_of(stop.wait(), self._retired.wait(), self._recover())
            if self._retired.is_set():
                await self._finish(stop)
        finally:
            await self._end()

    def _is_over(self, stop: asyncio.Event) -> bool:
        return stop.is_set() or self._retired.is_set()

    async def _consume(self, stop: asyncio.Event) -> None:
        """Consume until the target is out of service or all stops; handlers that still run then go on running."""
        for ended in [task for task in self._ending if task.done()]:
            self._ending.remove(ended)
            ended.result()
        halted = self._halted = asyncio.Event()
        handler = partial(self._handle, halted)
        consumption = await self._broker.consume(jobs_queue(self._name), handler, prefetch=self._prefetch)
        try:
            await first_of(stop.wait(), self._retired.wait(), self._breaker.tripped.wait())
        finally:
            self._ending.add(asyncio.create_task(_stop(consumption, halted)))

    async def _handle(self, halted: asyncio.Event, body: bytes) -> Settlement:
        if self._breaker.tripped.is_set():
            await halted.wait()
            return Requeue()
        settlement = await self._jobs.handle(body)
        if isinstance(settlement, Requeue):
            await halted.wait()  # given back any sooner, the job would come straight back to us
        return settlement

    async def _recover(self) -> None:
        """Wait while the ledger holds the target, then probe it, ever more rarely, until it is in service again."""
        await self._wait_while_held()
        while self._breaker.failures:
            seconds = back_off(self._breaker.failures, most=MAX_PROBE_SECONDS)
            relapse = self._breaker.failures > 1  # it may take connections, and then no mail
            patience = seconds + PAUSE_MARGIN_SECONDS
            await self._ledger.pause_target(self._name, self._breaker.reason, patience, relapse=relapse)
            self._log.warning("target_paused", reason=self._breaker.reason, probe_in=round(seconds, 1))
            await asyncio.sleep(seconds)
            trouble = await self._target.probe()
            if trouble is None:
                break
            self._breaker.probe_failed(trouble)
        await self._ledger.resume_target(self._name)
        self._breaker.reset()
        self._log.info("target_resumed")

    async def _wait_while_held(self) -> None:
        told = ""
        while (hold := await self._hold()) is not None:
            if hold.reason != told:
                self._log.error("target_held", reason=hold.reason, seconds=round(hold.seconds))
            told = hold.reason
            await asyncio.sleep(min(hold.seconds, HOLD_LOOK_SECONDS))

    async def _hold(self) -> Hold | None:
        try:
            return await self._ledger.hold_of(self._name)
        except PpsError as error:  # nothing can be claimed either, so nothing is lost by asking again
            return Hold(reason=str(error), seconds=HOLD_LOOK_SECONDS)

    async def _finish(self, stop: asyncio.Event) -> None:
        """Hand back what can be handed back and wait for what can't, but no longer than until `stop`."""
        if self._breaker.tripped.is_set():
            await self._ledger.resume_target(self._name)  # whoever follows may be in service
        if self._ending:
            await self._halted.wait()  # given back any sooner, a job would come straight back to us
            self._jobs.hand_back()
            await first_of(stop.wait(), asyncio.wait(self._ending))

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await asyncio.gather(*self._ending)
        except TimeoutError:  # gather cancelled them: each has cut its handlers and given back their jobs
            self._log.warning("deliveries_cut", after=STOP_SECONDS)


async def _stop(consumption: Consumption, halted: asyncio.Event) -> None:
    stopping = asyncio.create_task(consumption.stop())
    try:
        await asyncio.sleep(0)  # its first step: nothing is handed to us any more
        halted.set()
        await stopping
    finally:
        halted.set()
        stopping.cancel()
        await asyncio.wait({stopping})


async def first_of(*events: Awaitable[object]) -> None:
    """Return when the first of these ends, the others cancelled; raise what it raised."""
    tasks = {asyncio.ensure_future(event) for event in events}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()
