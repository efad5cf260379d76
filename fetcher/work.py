"""The fetcher: leases due profiles and has them polled, and sweeps. One task a poll, all owned here."""

import asyncio
import functools
import socket
from collections import Counter
from collections.abc import Callable
from typing import Final

from common.config import Config
from common.failures import PpsError
from fetcher.intake import Workplace
from fetcher.poll import Poller
from fetcher.sweep import Sweeper

MAX_SESSIONS: Final = 50
MAX_SESSIONS_A_HOST: Final = 8
"""A provider that sees more from one address begins to refuse them."""

LOOK_SECONDS: Final = 1.0
"""How often the schedule is looked at: also how soon `pps pull` beside a service is noticed."""

HOST_FULL_SECONDS: Final = 5.0
"""How soon a profile is looked at again whose host has as many sessions as it should."""

STOP_SECONDS: Final = 10.0
"""How long polls may take to end after a stop; then they are broken off, which deletes nothing."""


class FetcherWorker:
    """Polls due profiles until it is stopped."""

    def __init__(self, at: Workplace, *, names: frozenset[str] | None = None) -> None:
        self._at = at
        self._names = names  # poll only these profiles
        self._log = at.log
        self._owner = f"{socket.gethostname()}:{id(self):x}"[:64]
        self._poller = Poller(at)
        self._polls: set[asyncio.Task[None]] = set()
        self._hosts: Counter[str] = Counter()  # polls under way

    async def run(self, stop: asyncio.Event) -> None:
        """Poll and sweep until `stop` is set; then let polls end, or break them off."""
        at = self._at
        sweeper = Sweeper(broker=at.broker, ledger=at.ledger, blobs=at.blobs, targets=at.targets, log=self._log)
        await sweeper.begin()
        sweeping = asyncio.create_task(sweeper.run(self._at.settler.redirected))
        scheduling = asyncio.create_task(self._schedule(stop))
        try:
            await asyncio.wait({sweeping, scheduling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end_polls()
            for task in (sweeping, scheduling):
                task.cancel()
            failures = await asyncio.gather(sweeping, scheduling, return_exceptions=True)
        for failure in failures:
            if isinstance(failure, Exception):
                raise failure

    async def prepare(self, config: Config) -> Callable[[], None]:
        """See Reconfigurable: profiles come from the ledger, so only the targets' names are taken from the file."""

        def put_in_force() -> None:
            self._at.targets.clear()
            self._at.targets.update(config.targets)

        return put_in_force

    async def _schedule(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._begin_due(stop)
            except PpsError as error:
                self._log.warning("schedule_unanswered", error=str(error))
            except Exception:  # noqa: BLE001 (one bad row must not end the polls of all others)
                self._log.exception("schedule_crashed")
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _begin_due(self, stop: asyncio.Event) -> None:
        free = MAX_SESSIONS - len(self._polls)
        if free <= 0 or self._at.broker.blocked:
            return
        wait = await self._at.ledger.seconds_to_next_poll()
        if wait is None or wait > 0:
            return
        for lease in await self._at.ledger.claim_due(self._owner, free, self._names):
            if self._hosts[lease.profile.server.host] >= MAX_SESSIONS_A_HOST:
                await self._at.ledger.postpone(lease, HOST_FULL_SECONDS)  # a slot that waits would starve other hosts
                continue
            self._hosts[lease.profile.server.host] += 1
            task = asyncio.create_task(self._poller.poll(lease, stop), name=f"poll-{lease.profile.name}")
            self._polls.add(task)
            task.add_done_callback(functools.partial(self._ended, lease.profile.server.host))

    def _ended(self, host: str, task: asyncio.Task[None]) -> None:
        self._polls.discard(task)
        self._hosts[host] -= 1

    async def _end_polls(self) -> None:
        polls = list(self._polls)
        if polls:
            _done, late = await asyncio.wait(polls, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
