"""One poll of one mailbox: its sessions under a renewed lease, and how it ended, classed and recorded."""

import asyncio
import random
from typing import Final, NamedTuple

from structlog.typing import FilteringBoundLogger

from common.failures import PollError, PollResult, PpsError
from common.ledger import LeaseLostError
from common.ledger.records import Lease
from common.ledger.schedule import PollEnd
from common.profile import Profile
from common.secrets import Secret
from fetcher.allowance import Allowance
from fetcher.connection import Connection
from fetcher.grants import GrantEndedError
from fetcher.intake import Workplace
from fetcher.link import link_of
from fetcher.schedule import jittered, seconds_to_next_poll
from fetcher.session import Session, SessionEnd

ONE_BY_ONE_SECONDS: Final = 86_400
"""How long a host is spared PIPELINING after a session broke in it: some offer it, and can't (MailKit #174)."""

GIVE_BACK_SECONDS: Final = 2.0
RENEW_SECONDS: Final = 60.0


class _Ended(NamedTuple):
    """How a poll ended."""

    result: PollResult
    error: str | None
    for_good: bool  # only a person can mend it


class Poller:
    """Polls the mailboxes that the fetcher leased."""

    def __init__(self, at: Workplace) -> None:
        self._at = at
        self._one_by_one: dict[str, float] = {}  # hosts that broke while commands were sent ahead, until when

    async def poll(self, lease: Lease, stop: asyncio.Event) -> None:
        """Poll one mailbox and record how it went; never raises but for cancellation."""
        log = self._at.log.bind(profile=lease.profile.name)
        log.info("poll_started", server=str(lease.profile.server), epoch=lease.epoch)
        end: SessionEnd | None = None
        error: str | None = None
        for_good = False  # until a person acts
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
        except GrantEndedError as failure:
            result, error, for_good = failure.result, str(failure), True
        except PollError as failure:
            result, error = failure.result, str(failure)
        except (PpsError, OSError) as failure:
            result, error = PollResult.LOCAL, str(failure)
        except Exception as failure:
            log.exception("poll_crashed")
            result, error = PollResult.LOCAL, f"unexpected {type(failure).__name__}: see the log"
        await self._end(lease, log, _Ended(result, error, for_good), end)

    async def _end(self, lease: Lease, log: FilteringBoundLogger, ended: _Ended, end: SessionEnd | None) -> None:
        result, error = ended.result, ended.error
        due_in = seconds_to_next_poll(
            result,
            interval=lease.profile.interval,
            failures=lease.failures,
            auth_failures=lease.auth_failures,
            end=end,
        )
        if ended.for_good:
            due_in = None
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
        password = await self._password(lease)
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

    async def _password(self, lease: Lease) -> Secret | None:
        """Return the password, None where access tokens are signed in with; raises PpsError."""
        if lease.profile.password is None:
            return None
        return await self._at.passwords.of(lease.profile_id, lease.profile)

    async def _sign_in(self, connection: Connection, profile: Profile, password: Secret | None) -> None:
        if password is not None:
            await connection.authenticate(profile.user, password.reveal(), profile.auth)
            return
        token = await self._at.grants.access_token(profile)
        try:
            await connection.authenticate(profile.user, token.reveal(), profile.auth, bearer=True)
        except PollError as failure:
            if failure.result is PollResult.AUTH:
                await self._at.grants.distrust(profile)
            raise

    async def _session(
        self,
        lease: Lease,
        password: Secret | None,
        log: FilteringBoundLogger,
        stop: asyncio.Event,
        allowance: Allowance,
    ) -> SessionEnd:
        profile = lease.profile
        link = await link_of(profile, base=self._at.base)
        ahead = self._one_by_one.get(profile.server.host, 0.0) < asyncio.get_running_loop().time()
        connection = await Connection.open(link, pipelining=ahead)
        try:
            await self._sign_in(connection, profile, password)
            session = Session(connection=connection, lease=lease, at=self._at, log=log, stop=stop, allowance=allowance)
            return await session.run()
        except PollError:
            if connection.broke_ahead:
                self._one_by_one[profile.server.host] = asyncio.get_running_loop().time() + ONE_BY_ONE_SECONDS
                log.warning("pipelining_doubted", server=str(profile.server))
            raise
        finally:
            connection.abort()  # after QUIT it only closes; before it, it deletes nothing
