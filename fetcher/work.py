"""The fetcher: leases due profiles and has them polled, and sweeps. One task a poll, all owned here."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

from common.config import Config
from common.failures import PpsError
from common.metrics.definitions import SCHEDULE_LAG
from fetcher.intake import Workplace
from fetcher.poll import Poll
from fetcher.sweep import Sweeper

LOOK_SECONDS: Final = 1.0
"""How often the schedule is looked at: also how soon `pps pull` beside a service is noticed."""

SCHEDULE: Final = "the schedule"

GATHER_SECONDS: Final = 0.02
"""How long a free slot waits for others: a claim costs the same for one profile and for fifty."""

STOP_SECONDS: Final = 10.0
"""How long polls may take to end after a stop; then they are broken off, which deletes nothing."""


class FetcherWorker:
    """Polls due profiles until it is stopped."""

    def __init__(
        self, at: Workplace, *, sessions: int, host_sessions: int, retention: int, names: frozenset[str] | None = None
    ) -> None:
        self._at = at
        self._sweeper = Sweeper(
            broker=at.broker,
            ledger=at.ledger,
            blobs=at.blobs,
            witnesses=at.witnesses,
            targets=at.targets,
            retention=retention,
            log=at.log,
            metrics=at.metrics,
        )
        self._sessions = sessions
        self._host_sessions = host_sessions
        self._names = names  # poll only these profiles
        self._log = at.log
        self._owner = f"{os.getpid()}:{id(self):x}@{socket.gethostname()}"[:64]  # who holds a lease, for whoever looks
        self._polls: set[asyncio.Task[None]] = set()
        self._look = asyncio.Event()  # a slot is free, and more may be due

    async def run(self, stop: asyncio.Event) -> None:
        """Poll and sweep until `stop` is set; then let polls end, or break them off."""
        await self._sweeper.begin()
        sweeping = asyncio.create_task(self._sweeper.run(self._at.settler.redirected))
        scheduling = asyncio.create_task(self._schedule(stop))
        witnessing = asyncio.create_task(self._at.witnesses.run())
        tasks = (sweeping, scheduling, witnessing)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end_polls()
            for task in tasks:
                task.cancel()
            failures = await asyncio.gather(*tasks, return_exceptions=True)
        for failure in failures:
            if isinstance(failure, Exception):
                raise failure

    async def prepare(self, config: Config) -> Callable[[], None]:
        """See Reconfigurable: profiles come from the ledger; the file has the targets' names and the retention."""

        def put_in_force() -> None:
            self._at.targets.clear()
            self._at.targets.update(config.targets)
            self._sweeper.retention = config.service.retention

        return put_in_force

    async def _schedule(self, stop: asyncio.Event) -> None:
        answered = True
        while not stop.is_set():
            self._at.pulse.beat(SCHEDULE)
            try:
                await self._begin_due(stop)
            except PpsError as error:
                if answered:  # each second it would be said again
                    self._log.warning("schedule_unanswered", error=str(error))
                answered = False
            except Exception:  # noqa: BLE001 (one bad row must not end the polls of all others)
                self._log.exception("schedule_crashed")
            else:
                if not answered:
                    self._log.info("schedule_answered")
                answered = True
            await self._pause(stop)
        self._at.pulse.end(SCHEDULE)

    async def _pause(self, stop: asyncio.Event) -> None:
        """Wait until it is time to look again, or sooner where a slot became free for what is due."""
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._look)]
        await asyncio.wait(waits, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        if self._look.is_set() and not stop.is_set():
            await asyncio.sleep(GATHER_SECONDS)

    async def _begin_due(self, stop: asyncio.Event) -> None:
        self._look.clear()
        free = self._sessions - len(self._polls)
        if free <= 0 or self._at.broker.blocked:
            return
        wait = await self._at.ledger.seconds_to_next_poll()
        if wait is None or wait > 0:
            return
        leases = await self._at.ledger.claim_due(self._owner, free, self._names, per_host=self._host_sessions)
        for lease in leases:
            self._at.metrics.observe(SCHEDULE_LAG, lease.lag)
            task = asyncio.create_task(Poll(self._at, lease, stop).run(), name=f"poll-{lease.profile.name}")
            self._polls.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._polls.discard(task)
        self._look.set()

    async def _end_polls(self) -> None:
        polls = list(self._polls)
        if polls:
            _done, late = await asyncio.wait(polls, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
