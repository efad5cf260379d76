"""The ledger as workers see it: each write is one operation of the group commit, each read one short transaction."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from structlog.typing import FilteringBoundLogger

from common.failures import PpsError
from common.ledger import (
    claiming,
    fetching,
    grants,
    hosts,
    leasing,
    listing,
    profiles,
    pruning,
    reading,
    routing,
    schedule,
    settling,
    sweeping,
    targets,
)
from common.ledger.engine import database_url, open_engine, prepare, unreachable
from common.ledger.postgresql import is_busy
from common.ledger.records import (
    Claimed,
    ClaimRequest,
    Fetched,
    FetchedMail,
    Lease,
    ListedMail,
    MailState,
    Route,
    RoutedMail,
    Settled,
)
from common.ledger.returning import Fates
from common.ledger.transactions import transactions_of
from common.ledger.writer import Operation, Writer, heals
from common.messages import DeliveryOutcome, one_line
from common.profile import Profile

MAX_SESSIONS_A_HOST: Final = 8
"""A provider that sees more from one address begins to refuse them; `[service] host_sessions` sets another."""

CLOSE_SECONDS: Final = 3
"""How long closing waits for the last writes when the database doesn't answer."""

PATIENCE_SECONDS: Final = 5.0
"""How long a person waits for a command's write; a service waits as long as it takes."""

T = TypeVar("T")
Row = TypeVar("Row")


class LeaseLostError(Exception):
    """Another fetcher polls this mailbox now: write and delete nothing more."""


class Ledger:
    """The truth about every mail and delivery. Writes wait out the database's troubles; reads raise them."""

    def __init__(
        self, engine: AsyncEngine, installation: str, log: FilteringBoundLogger, *, hurried: bool = False
    ) -> None:
        self.installation = installation  # a UUID that names us in trace fields
        self.hurried = hurried  # whether a person waits, so that writes raise PpsError after PATIENCE_SECONDS
        self._engine = engine
        self._log = log
        self._transactions = transactions_of(engine)
        self._writer = Writer(self._transactions, log)

    @classmethod
    async def open(
        cls, url: str, *, base: Path, log: FilteringBoundLogger, role: str = "command", hurried: bool = False
    ) -> Self:
        """Open `[service] ledger`, bringing SQLite to the newest schema; raises PpsError.

        `hurried` is for commands: what the database's trouble holds up raises PpsError too, within seconds.
        """
        engine = open_engine(database_url(url, base=base), role=role)
        try:
            return cls(engine, await prepare(engine), log, hurried=hurried)
        except BaseException:
            await engine.dispose()
            raise

    @property
    def commits(self) -> int:
        """Transactions that were committed: for cost ceilings."""
        return self._writer.commits

    @property
    def shared(self) -> bool:
        """Whether other processes may work on this ledger."""
        return self._engine.dialect.name != "sqlite"

    # Profiles and their schedule

    async def sync_profiles(
        self, wanted: Iterable[Profile], *, managed_by: str, same_mailbox: Iterable[str] = ()
    ) -> profiles.LeftBehind:
        """Make the profiles of one manager just these; those it no longer names are disabled. Raises PpsError.

        Return the profiles whose server or user changed, so that their mailbox is another now, each with the name under
        which the old one's mails stay; those in `same_mailbox` keep their mails instead.
        """
        named = frozenset(same_mailbox)
        change = profiles.ProfileSet(managed_by=managed_by, profiles=tuple(wanted), same_mailbox=named)
        saved = await self.write(profiles.SYNC, change)
        if saved.refused is not None:
            raise saved.refused
        for name, left in saved.left_behind:
            self._log.warning("profile_on_new_mailbox", profile=name, mails_stay_with=left)
        return saved.left_behind

    async def claim_due(
        self, owner: str, limit: int, names: frozenset[str] | None = None, *, per_host: int = MAX_SESSIONS_A_HOST
    ) -> tuple[Lease, ...]:
        """Lease profiles whose poll is due, for LEASE_MS; only those named, if any are. What may not begin is held."""
        request = leasing.DueRequest(owner=owner, limit=limit, per_host=per_host, names=names)
        return await self.write(leasing.CLAIM_DUE, request)

    async def renew_lease(self, lease: Lease) -> bool:
        """Extend a lease; False: it was lost."""
        return await self.write(leasing.RENEW_LEASES, lease)

    async def end_poll(self, end: schedule.PollEnd) -> bool:
        """Record how a poll ended and give the lease back; False: it was lost."""
        return await self.write(schedule.END_POLLS, end)

    async def set_due(self, name: str) -> bool:
        """Make a profile due now; False: no such profile."""
        return await self.write(schedule.SET_DUE, name)

    async def remember_host(self, note: hosts.HostNote) -> None:
        """Remember for a day what a host did not bear."""
        await self.write(hosts.REMEMBER_HOST, note)

    async def seconds_to_next_poll(self) -> float | None:
        """Return how long nothing will be due; None when nothing is, but what is being polled."""
        found = await self.read(reading.milliseconds_to_next_poll)
        return None if found is None else found / 1000

    # OAuth 2 grants

    async def grant_of(self, mailbox: str) -> grants.Grant | None:
        """Return a mailbox's grant, if somebody has signed in."""
        return await self.read(lambda connection: grants.grant_of(connection, mailbox))

    async def claim_grant(self, mailbox: str) -> grants.GrantClaim | None:
        """Take the right to get the next token, for CLAIM_MS; None: another has it, or there is no grant."""
        return await self.write(grants.CLAIM_GRANT, mailbox)

    async def store_grant(self, stored: grants.StoredGrant) -> bool:
        """Record what was got; False: a newer one is on record."""
        return await self.write(grants.STORE_GRANT, stored)

    async def end_grant(self, end: grants.GrantEnd) -> None:
        """Give a claim back that brought no token."""
        await self.write(grants.END_GRANT, end)

    async def distrust_grant(self, mailbox: str) -> None:
        """Have the next who needs a token get another."""
        await self.write(grants.DISTRUST_GRANT, mailbox)

    # One session

    async def record_listing(self, lease: Lease, listed: Sequence[ListedMail]) -> listing.Recorded:
        """Record a whole listing, return what is known of each mail by UIDL key; raises LeaseLostError."""
        recorded = await self.write(listing.RECORD_LISTING, listing.Listing(lease=lease, listed=tuple(listed)))
        if recorded is None:
            raise LeaseLostError
        self.tell(recorded.fates)
        return recorded

    async def record_fetched(self, mail: FetchedMail) -> Fetched:
        """Record that a mail's bytes are in hand; publish it only if that was RECORDED. Raises RowRejectedError."""
        return await self.write(fetching.RECORD_FETCHED, mail)

    async def record_deleted(self, lease: Lease, mail_ids: Sequence[str]) -> bool:
        """Record deletions that the server confirmed."""
        return await self._of_session(fetching.RECORD_DELETED, lease, mail_ids)

    async def record_kept(self, lease: Lease, mail_ids: Sequence[str]) -> bool:
        """Record that delivered mails stay on the server by the profile's wish."""
        return await self._of_session(fetching.RECORD_KEPT, lease, mail_ids)

    async def record_skipped(self, lease: Lease, mail_ids: Sequence[str], reason: str) -> bool:
        """Record that mails can't be fetched, and why; they stay on the server."""
        return await self._of_session(fetching.RECORD_SKIPPED, lease, mail_ids, reason)

    async def record_broken(self, lease: Lease, mail_ids: Sequence[str], reason: str) -> bool:
        """Record that a session broke while mails were retrieved: after three, they are skipped."""
        return await self._of_session(fetching.RECORD_BROKEN, lease, mail_ids, reason)

    async def renew_identity(self, lease: Lease, mail_ids: Sequence[str]) -> bool:
        """Record that these mails' UIDLs name other mails by now: the next listing sees those as new."""
        if not mail_ids:
            return True
        group = fetching.MailsOfSession(lease=lease, mail_ids=tuple(mail_ids))
        fates = await self.write(fetching.RENEW_IDENTITY, group)
        self.tell(fates or {})
        return fates is not None

    async def deletable(self, mail_ids: Sequence[str]) -> set[str]:
        """Return which of these mails may be deleted: invariant I2."""
        return await self.read(lambda connection: reading.deletable_among(connection, mail_ids))

    async def undone_at(self, target: str) -> tuple[int, int]:
        """Return how many deliveries of a target are undone, and their octets."""
        return await self.read(lambda connection: reading.undone_at(connection, target))

    # Router and deliverer

    async def route(self, mail: RoutedMail) -> Route:
        """Record who gets a mail; idempotent. Raises RowRejectedError when just this row can't be recorded."""
        return await self.write(routing.RECORD_ROUTED, mail)

    async def quarantine(self, mail_id: str, reason: str) -> None:
        """Set a mail aside for a person; its remote copy stays."""
        await self.write(routing.QUARANTINE, (mail_id, one_line(reason)))

    async def claim(self, request: ClaimRequest) -> Claimed:
        """Claim one attempt for CLAIM_MS."""
        return await self.write(claiming.CLAIM, request)

    async def renew(self, held: claiming.HeldClaim) -> bool:
        """Extend a live claim; False: it ran out, was settled or is another's, so write nothing more."""
        return await self.write(claiming.RENEW, held)

    async def release(self, held: claiming.HeldClaim) -> bool:
        """Give a claim back: nothing was sent, no attempt is counted."""
        return await self.write(claiming.RELEASE, held)

    async def settle(self, outcome: DeliveryOutcome) -> Settled:
        """Record how an attempt went. Raises RowRejectedError."""
        settled = await self.write(settling.RECORD_OUTCOME, outcome)
        self.tell(dict(settled.fates))
        return settled

    async def pause_target(self, target: str, reason: str, seconds: float, *, relapse: bool = False) -> None:
        """Tell everybody that a target takes nothing for now: fetchers fetch nothing for it.

        `relapse`: it took nothing since its last pause either, and is out of service since that began.
        """
        pause = targets.Pause(target=target, reason=reason, seconds=seconds, relapse=relapse)
        await self.write(targets.SET_PAUSE, pause)

    async def resume_target(self, target: str) -> None:
        """Tell everybody that a target is back."""
        await self.write(targets.SET_PAUSE, targets.Pause(target=target, reason=None, seconds=0))

    async def paused_targets(self) -> dict[str, str]:
        """Return the paused targets with their reasons."""
        return await self.read(reading.paused_targets)

    async def hold_of(self, target: str) -> targets.Hold | None:
        """Return why and for how long a target is held, since its user table is doubted; None if it isn't."""
        return await self.read(lambda connection: targets.hold_of(connection, target))

    # Sweeper

    async def begin_again(self) -> None:
        """The broker began empty and no other process works: everything unsettled is due."""
        await self.write(sweeping.BEGIN_AGAIN, None)

    async def take_due(self) -> tuple[sweeping.DueDelivery, ...]:
        """Take deliveries that are due, so that no other sweeper does."""
        return await self.write(sweeping.TAKE_DUE, None)

    async def take_stale(self) -> tuple[sweeping.StaleMail, ...]:
        """Take fetched mails that no router dealt with for long."""
        return await self.write(sweeping.TAKE_STALE, None)

    async def fetch_again(self, wanted: sweeping.Return) -> None:
        """Send mails back to be fetched."""
        self.tell(await self.write(sweeping.RETURN, wanted))

    async def prune(self, seconds: int) -> int:
        """Forget a batch of mails that left their server so long ago; return how many, 0 if there are no more."""
        return await self.write(pruning.PRUNE, seconds)

    # Everybody

    async def read(self, query: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run a reading function in a transaction of its own; raises PpsError when the database doesn't answer."""
        try:
            try:
                return await self._transactions.read(query)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return await self._transactions.read(query)  # it was idle, and the server ended it
        except Exception as error:
            if heals(error):
                said = is_busy(error) or one_line(str(getattr(error, "orig", None) or error), 200)
                raise PpsError(f"[service] ledger: the database doesn't answer: {said}") from error
            raise

    async def write(self, operation: Operation[Row, T], row: Row) -> T:
        """Commit one operation, and return its answer; raises RowRejectedError, and PpsError where it is hurried."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if self.hurried else None):
                return await self._writer.submit(operation, row)
        except TimeoutError as error:
            trouble = self._writer.trouble or TimeoutError(f"no answer within {PATIENCE_SECONDS:.0f} s")
            raise PpsError(unreachable(self._engine.url, trouble)) from error

    async def close(self) -> None:
        """Finish what is queued, for a while, and disconnect."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._writer.close()
        except TimeoutError:
            pass  # what was not committed was not confirmed to anybody either
        await self._transactions.close()
        await self._engine.dispose()

    def tell(self, fates: Fates) -> None:
        """Log what became of mails that had to be sent back: a loss is never silent."""
        for mail_id, state in fates.items():
            if state is MailState.LISTED:
                self._log.info("mail_sent_back", mail=mail_id)
            else:
                self._log.error(f"mail_{state.value}", mail=mail_id)

    async def _of_session(
        self,
        operation: Operation[fetching.MailsOfSession, bool],
        lease: Lease,
        mail_ids: Sequence[str],
        reason: str | None = None,
    ) -> bool:
        if not mail_ids:
            return True
        group = fetching.MailsOfSession(lease=lease, mail_ids=tuple(mail_ids), reason=reason)
        return await self.write(operation, group)
