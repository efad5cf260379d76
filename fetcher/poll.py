"""One poll of one mailbox: its sessions under a renewed lease, and how it ended, classed and recorded."""

import asyncio
import random
from typing import Final

from common.failures import PollError, PollResult, PpsError
from common.ledger import LeaseLostError
from common.ledger.hosts import HostNote
from common.ledger.records import Lease
from common.ledger.schedule import PollEnd
from common.metrics.definitions import POLL_SECONDS, POLLS, POP3_SESSIONS
from common.secrets import Secret
from fetcher.ahead import WINDOWS
from fetcher.allowance import Allowance
from fetcher.connection import Connection
from fetcher.intake import Workplace
from fetcher.link import link_of
from fetcher.schedule import jittered, seconds_to_next_poll
from fetcher.session import Session, SessionEnd

GIVE_BACK_SECONDS: Final = 2.0
RENEW_SECONDS: Final = 60.0


class Poll:
    """One poll. `run` never raises but for cancellation."""

    def __init__(self, at: Workplace, lease: Lease, stop: asyncio.Event) -> None:
        self._at = at
        self._lease = lease
        self._stop = stop
        self._log = at.log.bind(profile=lease.profile.name)
        self._allowance = Allowance(mails=lease.profile.max_mails, octets=lease.profile.max_octets)
        self._login_delay = 0  # seconds that the server wants between sign-ins

    async def run(self) -> None:
        """Poll the mailbox and record how it went."""
        self._log.info("poll_started", server=str(self._lease.profile.server), epoch=self._lease.epoch)
        end: SessionEnd | None = None
        error: str | None = None
        try:
            end = await self._leased()
            result = PollResult.OK if end.listed else PollResult.EMPTY
            error = end.withheld
        except LeaseLostError:
            self._log.warning("lease_lost")
            return
        except asyncio.CancelledError:
            await self._give_back()
            raise
        except PollError as failure:
            result, error = failure.result, str(failure)
        except (PpsError, OSError) as failure:
            result, error = PollResult.LOCAL, str(failure)
        except Exception as failure:  # noqa: BLE001 (whatever it was, this poll ends, and says so)
            self._log.exception("poll_crashed")
            result, error = PollResult.LOCAL, f"unexpected {type(failure).__name__}: see the log"
        await self._end(result, error, end)

    async def _give_back(self) -> None:
        error = "broken off: the worker stopped"
        end_now = PollEnd(lease=self._lease, result=PollResult.LOCAL, error=error, due_in=0)
        giving_back = asyncio.create_task(self._at.ledger.end_poll(end_now))
        await asyncio.wait({giving_back}, timeout=GIVE_BACK_SECONDS)  # else the lease runs out

    async def _end(self, result: PollResult, error: str | None, end: SessionEnd | None) -> None:
        lease = self._lease
        due_in = seconds_to_next_poll(
            result,
            interval=lease.profile.interval,
            failures=lease.failures,
            auth_failures=lease.auth_failures,
            end=end,
        )
        if due_in is not None:
            due_in = jittered(due_in, random.uniform(-1, 1))  # noqa: S311 (spreads load, guards nothing)
        elif result is not PollResult.GRANT:  # whose login begins them again
            error = f"{error}; polls have stopped: once that is mended, `pps pull {lease.profile.name}` begins again"
        recorded = PollEnd(lease=lease, result=result, error=error, due_in=due_in, login_delay=self._login_delay)
        await self._at.ledger.end_poll(recorded)
        self._at.metrics.count(POLLS, result)
        done = {} if end is None else {"listed": end.listed, "fetched": end.fetched, "deleted": end.deleted}
        note = self._log.info if end is not None and error is None else self._log.warning
        note("poll_ended", result=result.value, error=error, next_in=None if due_in is None else round(due_in), **done)

    async def _leased(self) -> SessionEnd:
        """Run sessions under a lease that is renewed meanwhile; a lost lease ends them."""
        sessions = asyncio.create_task(self._sessions())
        try:
            while not (await asyncio.wait({sessions}, timeout=RENEW_SECONDS))[0]:
                if not await self._at.ledger.renew_lease(self._lease) and not sessions.done():
                    raise LeaseLostError
            return sessions.result()
        finally:
            sessions.cancel()
            await asyncio.gather(sessions, return_exceptions=True)

    async def _sessions(self) -> SessionEnd:
        """Reopen until the mailbox has nothing more to fetch: a session ends early to bound what an abort repeats."""
        profile = self._lease.profile
        password = await self._password(self._lease)
        total = SessionEnd()
        while True:
            end = await self._session(password)
            total.add(end)
            # Where a listing shows a part of the mailbox, what was fetched makes room for more.
            total.more = (
                end.more or end.renamed > 0 or (profile.lists_in_parts and end.fetched > 0)
            ) and not end.enough
            got_on = end.fetched or end.renamed
            if not total.more or not got_on or self._stop.is_set() or self._login_delay:
                return total

    async def _password(self, lease: Lease) -> Secret | None:
        """Return the password, None where access tokens are signed in with; raises PpsError."""
        if lease.profile.password is None:
            return None
        return await self._at.passwords.of(lease.profile_id, lease.profile)

    async def _sign_in(self, connection: Connection, secret: Secret) -> None:
        profile = self._lease.profile
        bearer = profile.password is None
        try:
            await connection.authenticate(profile.user, secret.reveal(), profile.auth, bearer=bearer)
        except PollError as failure:
            if bearer and failure.result is PollResult.AUTH:
                await self._at.grants.distrust(profile)
            raise

    async def _session(self, password: Secret | None) -> SessionEnd:
        lease = self._lease
        profile = lease.profile
        link = await link_of(profile, base=self._at.base)
        secret = password or await self._at.grants.access_token(profile)  # before a server waits for it
        connection = await Connection.open(link, memory=lease.memory)
        metrics = self._at.metrics
        metrics.shift(POP3_SESSIONS, 1)
        try:
            for phase, seconds in connection.took.items():
                metrics.observe(POLL_SECONDS, seconds, phase)
            self._login_delay = connection.capabilities.login_delay
            with metrics.timed(POLL_SECONDS, "auth"):
                await self._sign_in(connection, secret)
            self._login_delay = await connection.own_login_delay()
            if connection.hung_up_on_capa:
                await self._at.ledger.remember_host(HostNote(host=profile.host, hangs_up_on_capa=True))
            session = Session(
                connection=connection,
                lease=lease,
                at=self._at,
                log=self._log,
                stop=self._stop,
                allowance=self._allowance,
            )
            return await session.run()
        except PollError:
            if connection.broke_ahead:
                await self._step_down(connection.window)
            raise
        finally:
            metrics.shift(POP3_SESSIONS, -1)
            connection.abort()  # after QUIT it only closes; before it, it deletes nothing

    async def _step_down(self, window: int) -> None:
        """Send the host fewer commands ahead, for a day: some offer PIPELINING, and can't bear it (MailKit #174)."""
        narrower = next((smaller for smaller in WINDOWS if smaller < window), WINDOWS[-1])
        await self._at.ledger.remember_host(HostNote(host=self._lease.profile.host, window=narrower))
        self._log.warning("pipelining_doubted", server=str(self._lease.profile.server), window=narrower)
