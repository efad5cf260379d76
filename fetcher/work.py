"""The fetcher: leases due profiles and polls them, and sweeps. One task a poll, all owned here."""

import asyncio
import functools
import random
import socket
from collections import Counter
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.failures import PollError, PollResult, PpsError
from common.ledger import LeaseLostError
from common.ledger.records import Lease
from common.ledger.schedule import PollEnd
from common.secrets import resolve
from fetcher.allowance import Allowance
from fetcher.connection import Connection
from fetcher.intake import Workplace
from fetcher.schedule import jittered, seconds_to_next_poll
from fetcher.session import Session, SessionEnd
from fetcher.sweep import Sweeper

MAX_SESSIONS: Final = 50
MAX_SESSIONS_A_HOST: Final = 8
"""A provider that sees more from one address begins to refuse them."""

ONE_BY_ONE_SECONDS: Final = 86_400
"""How long a host is spared PIPELINING after a session broke in it: some offer it, and can't (MailKit #174)."""

LOOK_SECONDS: Final = 1.0
"""How often the schedule is looked at: also how soon `pps pull` beside a service is noticed."""

HOST_FULL_SECONDS: Final = 5.0
"""How soon a profile is looked at again whose host has as many sessions as it should."""

GIVE_BACK_SECONDS: Final = 2.0

RENEW_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
"""How long polls may take to end after a stop; then they are broken off, which deletes nothing."""


class FetcherWorker:
    """Polls due profiles until it is stopped."""

    def __init__(self, at: Workplace, *, names: frozenset[str] | None = None) -> None:
        self._at = at
        self._names = names  # poll only these profiles
        self._log = at.log
        self._owner = f"{socket.gethostname()}:{id(self):x}"[:64]
        self._polls: set[asyncio.Task[None]] = set()
        self._one_by_one: dict[str, float] = {}  # hosts that broke while commands were sent ahead, until when
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
            task = asyncio.create_task(self._poll(lease, stop), name=f"poll-{lease.profile.name}")
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

    async def _poll(self, lease: Lease, stop: asyncio.Event) -> None:
        """Poll one mailbox and record how it went; never raises but for cancellation."""
        log = self._log.bind(profile=lease.profile.name)
        log.info("poll_started", server=str(lease.profile.server), epoch=lease.epoch)
        end: SessionEnd | None = None
        error: str | None = None
        try:
            end = await self._leased(lease, log, stop)
            result = PollResult.OK if end.listed else PollResult.EMPTY
            error = end.withheld
        except LeaseLostError:
            log.warning("lease_lost")
            return
        except asyncio.CancelledError:
            end_now = PollEnd(lease=lease, result=PollResult.LOCAL, error="broken off: the worker stopped", due_in=0)
            giving_back = asyncio.create_task(self._at.ledger.end_poll(end_now))
            await asyncio.wait({giving_back}, timeout=GIVE_BACK_SECONDS)  # else the lease runs out
            raise
        except PollError as failure:
            result, error = failure.result, str(failure)
        except (PpsError, OSError) as failure:
            result, error = PollResult.LOCAL, str(failure)
        except Exception as failure:
            log.exception("poll_crashed")
            result, error = PollResult.LOCAL, f"unexpected {type(failure).__name__}: see the log"
        await self._end(lease, log, result, error, end)

    async def _end(
        self, lease: Lease, log: FilteringBoundLogger, result: PollResult, error: str | None, end: SessionEnd | None
    ) -> None:
        due_in = seconds_to_next_poll(
            result,
            interval=lease.profile.interval,
            failures=lease.failures,
            auth_failures=lease.auth_failures,
            end=end,
        )
        if due_in is not None:
            due_in = jittered(due_in, random.uniform(-1, 1))  # noqa: S311 (spreads load, guards nothing)
        await self._at.ledger.end_poll(PollEnd(lease=lease, result=result, error=error, due_in=due_in))
        done = {} if end is None else {"listed": end.listed, "fetched": end.fetched, "deleted": end.deleted}
        note = log.info if end is not None and error is None else log.warning
        note("poll_ended", result=result.value, error=error, next_in=None if due_in is None else round(due_in), **done)

    async def _leased(self, lease: Lease, log: FilteringBoundLogger, stop: asyncio.Event) -> SessionEnd:
        """Run sessions under a lease that is renewed meanwhile; a lost lease ends them."""
        sessions = asyncio.create_task(self._sessions(lease, log, stop))
        renewal = asyncio.create_task(self._renew(lease))
        try:
            await asyncio.wait({sessions, renewal}, return_when=asyncio.FIRST_COMPLETED)
            if not sessions.done():
                raise LeaseLostError
            return sessions.result()
        finally:
            for task in (sessions, renewal):
                task.cancel()
            await asyncio.gather(sessions, renewal, return_exceptions=True)

    async def _renew(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if not await self._at.ledger.renew_lease(lease):
                return

    async def _sessions(self, lease: Lease, log: FilteringBoundLogger, stop: asyncio.Event) -> SessionEnd:
        """Reopen until the mailbox has nothing more to fetch: a session ends early to bound what an abort repeats."""
        try:
            password = (await resolve(lease.profile.password, base=self._at.base)).reveal()
        except PpsError as failure:
            raise PpsError(f"password: {failure}") from failure
        total = SessionEnd()
        allowance = Allowance(mails=lease.profile.max_mails, octets=lease.profile.max_octets)
        while True:
            end = await self._session(lease, password, log, stop, allowance)
            total.listed = max(total.listed, end.listed)
            total.fetched += end.fetched
            total.deleted += end.deleted
            total.unsettled, total.withheld, total.enough = end.unsettled, end.withheld, end.enough
            total.more = (end.more or end.renamed > 0) and not end.enough
            if not total.more or stop.is_set() or not (end.fetched or end.renamed):
                return total

    async def _session(
        self, lease: Lease, password: str, log: FilteringBoundLogger, stop: asyncio.Event, allowance: Allowance
    ) -> SessionEnd:
        profile = lease.profile
        ca = None if profile.ca is None else str(self._at.base / profile.ca)
        ahead = self._one_by_one.get(profile.server.host, 0.0) < asyncio.get_running_loop().time()
        connection = await Connection.open(profile.server, tls=profile.tls, ca=ca, pipelining=ahead)
        try:
            await connection.authenticate(profile.user, password, profile.auth)
            session = Session(connection=connection, lease=lease, at=self._at, log=log, stop=stop, allowance=allowance)
            return await session.run()
        except PollError:
            if connection.broke_ahead:
                self._one_by_one[profile.server.host] = asyncio.get_running_loop().time() + ONE_BY_ONE_SECONDS
                log.warning("pipelining_doubted", server=str(profile.server))
            raise
        finally:
            connection.abort()  # after QUIT it only closes; before it, it deletes nothing
