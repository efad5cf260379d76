"""One POP3 session, from listing to QUIT. The order of the steps is what keeps mail; each says what a crash costs."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from structlog.typing import FilteringBoundLogger

from common import crashpoints
from common.failures import PollError, PollResult
from common.ledger import LeaseLostError, reading
from common.ledger.records import Lease, ListedMail
from common.messages import one_line
from common.metrics.definitions import DELETES_WITHHELD, MAILS_DELETED, POLL_SECONDS
from fetcher.allowance import Allowance
from fetcher.connection import Connection, Retrieved
from fetcher.digests import is_folder_data
from fetcher.hidden import ask, recover
from fetcher.identity import CONTENT_KEY, CONTENT_KEYS_END, NO_UIDL, identify
from fetcher.incoming import Incoming
from fetcher.intake import Intake, Workplace
from fetcher.plan import Known, Plan, plan
from fetcher.pop3 import Listed, Status
from fetcher.renumbering import adopted
from fetcher.settle import Waiter
from fetcher.verify import verified

MAX_MAILS: Final = 1000
MAX_SECONDS: Final = 300.0
"""A session QUITs and reopens after this many mails or seconds: it bounds what an abort repeats."""

SETTLE_SECONDS: Final = 10.0
"""How long a session stays open for outcomes; servers drop idle sessions after 60 s and more."""

STOPPING_SETTLE_SECONDS: Final = 3.0
"""The same while the worker is asked to stop, which must be done within 30 s."""

MAX_IN_HAND: Final = 200
"""Mails retrieved but not yet confirmed by the broker: at most 64 KiB each in memory."""

_TEMPORARY: Final = frozenset({"SYS/TEMP", "IN-USE"})  # RFC 3206, section 4; RFC 2449, section 8.1.2

MAX_UNDONE: Final = 10_000
MAX_UNDONE_OCTETS: Final = 1024 * 1024 * 1024
"""What a target may have undone before its mailboxes are only listed: the far end sets the pace."""


@dataclass(slots=True, kw_only=True)
class SessionEnd:
    """What a session did, and whether the mailbox wants another soon."""

    listed: int = 0
    fetched: int = 0
    deleted: int = 0
    renamed: int = 0  # mails that lost their UIDL to another mail, which the next session fetches
    more: bool = False  # mail was left to fetch only because the session had done enough
    enough: bool = False  # mail was left because the profile wants no more in one poll
    unsettled: int = 0  # mails that were retrieved or on their way, and not done when the window closed
    withheld: str | None = None  # why nothing was fetched

    def add(self, later: "SessionEnd") -> None:
        """Count a later session of the same poll in: what it did adds up, how it left the mailbox is what counts."""
        self.listed = max(self.listed, later.listed)
        self.fetched += later.fetched
        self.deleted += later.deleted
        self.unsettled, self.withheld, self.enough = later.unsettled, later.withheld, later.enough


@dataclass(slots=True, kw_only=True)
class Session:
    """One session on one mailbox, signed in. `run` ends it with QUIT; on an exception the caller aborts it."""

    connection: Connection
    lease: Lease
    at: Workplace
    log: FilteringBoundLogger  # bound to the profile
    stop: asyncio.Event
    allowance: Allowance  # what this poll may still fetch
    end: SessionEnd = field(default_factory=SessionEnd)
    waiter: Waiter = field(init=False)
    intake: Intake = field(init=False)

    def __post_init__(self) -> None:
        self.intake = Intake(at=self.at, lease=self.lease, log=self.log, expect=self._expect)

    def _expect(self, mail_id: str) -> None:
        self.waiter.expect(mail_id)

    async def run(self) -> SessionEnd:
        """List, retrieve, settle, delete, quit; raises PollError, LeaseLostError, PpsError."""
        timed = self.at.metrics.timed
        with timed(POLL_SECONDS, "list"):
            todo = await self._list()
        if not self.end.listed and not self.intake.fetched:  # most polls
            with timed(POLL_SECONDS, "quit"):
                await self.connection.quit()
            return self.end
        self.waiter = self.at.settler.open_waiter(self.lease.profile.target)
        try:
            with timed(POLL_SECONDS, "retrieve"):
                certain = await verified(self, todo.verify)
                await verified(self, todo.doubt, by_header=True)
                await self._retrieve(todo.retrieve)
            with timed(POLL_SECONDS, "settle"):
                await self._settle()
            self._withhold("unverified", len(todo.verify) - len(certain))
            with timed(POLL_SECONDS, "quit"):
                await self._finish(certain, todo.keep)
        finally:
            self.at.settler.close_waiter(self.waiter)
        return self.end

    async def _list(self) -> Plan:
        listing = await self._identified(await self.connection.listing())
        recorded = await self.at.ledger.record_listing(self.lease, listing)
        if await adopted(self, listing, recorded.known):
            recorded = await self.at.ledger.record_listing(self.lease, listing)
        if recorded.hidden and not self.lease.hides_mail:
            self.log.warning("mail_is_hidden_once_retrieved", mails=recorded.hidden)
            self.lease = self.intake.lease = replace(self.lease, hides=True)
        if self.lease.hides_mail:
            await recover(self)
        self.end.listed = len(listing)
        self.end.withheld = await self._withheld() if listing else None
        profile = self.lease.profile
        todo = plan(listing, recorded.known, profile, fetch=self.end.withheld is None)
        await self._skip([pair.known.mail_id for pair in todo.too_large], f"larger than max_size: {profile.max_size}")
        for pair in todo.retrieve[:MAX_MAILS]:  # of the others the next session tells
            self.log.info(
                "mail_listed",
                mail=pair.known.mail_id,
                uidl=one_line(repr(pair.listed.uidl), 200),
                size=pair.listed.size,
            )
        self.end.unsettled = todo.waiting
        return todo

    async def _identified(self, listing: Sequence[Listed]) -> tuple[ListedMail, ...]:
        if not listing:  # most listings
            return ()
        mailbox, read = self.lease.profile.mailbox, self.at.ledger.read
        doubted = await read(lambda c: reading.uidls_of_keys(c, mailbox, CONTENT_KEY, CONTENT_KEYS_END))
        uidls = {mail.uidl for mail in listing if mail.uidl} if NO_UIDL in doubted else set()
        return await identify(
            self.connection,
            listing,
            doubted=doubted,
            strange=await read(lambda c: reading.unrecorded(c, mailbox, uidls)) if uidls else set(),
            recall=lambda hashes: read(lambda c: reading.recorded_with_headers(c, mailbox, hashes)),
        )

    async def _withheld(self) -> str | None:
        """Return why nothing may be fetched now: the target, or what it already has undone."""
        target = self.lease.profile.target
        if self.at.broker.volatile and target not in self.at.targets:  # else another machine may serve it
            return f"mail is withheld: there is no [target.{target}] in the configuration: add it, or name another"
        reason = (await self.at.ledger.paused_targets()).get(target)
        if reason is not None:
            return f"mail is withheld: target {target} is paused: {reason}"
        count, octets = await self.at.ledger.undone_at(target)
        if count > MAX_UNDONE or octets > MAX_UNDONE_OCTETS:
            return f"mail is withheld: target {target} has {count} deliveries undone"
        return None

    # Fetch: RETR -> the next reply's status line -> blob -> ledger -> publish, confirmed

    async def _retrieve(self, wanted: Sequence[Known]) -> None:
        by_number = {pair.listed.number: pair for pair in wanted}
        sizes = {pair.listed.number: pair.listed.size for pair in wanted}
        begun: list[int] = []
        broken: PollError | None = None
        try:
            async with asyncio.TaskGroup() as custody:
                try:
                    async with aclosing(self._arriving(by_number, self._paced(sizes, begun))) as arriving:
                        await self._take_all(by_number, arriving, custody)
                except PollError as error:
                    broken = error  # what was confirmed before is whole, and is still published
                except OSError as error:
                    self.intake.failure = self.intake.failure or error  # the mail that streamed to our disk is cut
        finally:
            await self.intake.discard()
            self.end.fetched, self.end.renamed = self.intake.fetched, self.end.renamed + self.intake.renamed
        if broken is not None:
            await self.note_break(by_number, broken)
            raise broken
        if self.intake.failure is not None:
            raise self.intake.failure
        self.end.enough = self.allowance.spent
        self.end.more = self.end.more or (len(begun) < len(by_number) and not self.end.enough)

    async def _take_all(
        self, by_number: dict[int, Known], arriving: AsyncIterator[Retrieved[Incoming]], custody: asyncio.TaskGroup
    ) -> None:
        room = asyncio.Semaphore(MAX_IN_HAND)
        async for got in arriving:
            pair = by_number[got.number]
            if got.sink is None:
                await self._refused(pair, got.refused)
                continue
            if got.number == 1 and is_folder_data(got.sink.digests.header):
                await self._skip([pair.known.mail_id], "the server keeps data of its own in it (X-IMAP)")
                continue
            crashpoints.reach("fetcher.after_retr")  # costs a fetch again
            taking = custody.create_task(self.intake.take(pair, got.sink))
            taking.add_done_callback(lambda _: room.release())
            await room.acquire()
            if self.lease.hides_mail:
                await asyncio.wait({taking})  # our copy is the only one: it is at rest before the next command

    async def _arriving(
        self, by_number: dict[int, Known], numbers: Iterator[int]
    ) -> AsyncGenerator[Retrieved[Incoming], None]:
        """Retrieve all at once or, where a connection that breaks would cost what was asked ahead, one by one."""
        for group in ([number] for number in numbers) if self.lease.hides_mail else (numbers,):
            if isinstance(group, list) and not await ask(self, by_number[group[0]]):
                return  # the lease is lost
            retrieving = self.connection.retrieve(group, lambda number: self.intake.incoming(by_number[number]))
            async with aclosing(retrieving):
                async for got in retrieving:
                    yield got

    def _paced(self, sizes: Mapping[int, int], begun: list[int]) -> Iterator[int]:
        """Yield what to retrieve, until the session or the poll has done enough, or the worker stops."""
        clock = asyncio.get_running_loop().time
        enough_at = clock() + MAX_SECONDS
        for number in sizes:
            if len(begun) >= MAX_MAILS or clock() >= enough_at or self._is_hindered():
                return
            if not self.allowance.takes(sizes[number]):
                return
            begun.append(number)
            yield number

    def _is_hindered(self) -> bool:
        return self.stop.is_set() or self.at.broker.blocked or self.intake.failure is not None

    async def _refused(self, pair: Known, status: Status | None) -> None:
        """Skip a mail that the server doesn't give; what it calls temporary is tried again soon, three times."""
        said = status.text if status is not None else ""
        reason = one_line(f"the server refuses to give it: {said}")
        if status is not None and status.code in _TEMPORARY:
            await self.at.ledger.record_broken(self.lease, [pair.known.mail_id], reason)
            self.log.warning("mail_refused", mail=pair.known.mail_id, reason=reason)
        else:
            await self._skip([pair.known.mail_id], reason)

    async def _skip(self, mail_ids: Sequence[str], reason: str) -> None:
        await self.at.ledger.record_skipped(self.lease, mail_ids, reason)
        for mail_id in mail_ids:
            self.log.warning("mail_skipped", mail=mail_id, reason=reason)

    async def note_break(self, by_number: Mapping[int, Known], error: PollError) -> None:
        """Remember which mail was on the line when the session broke, if a mail may be to blame."""
        pair = by_number.get(self.connection.suspect or 0)
        if pair is None or (error.result is PollResult.NETWORK and self.connection.broke_ahead):
            return
        reason = one_line(f"sessions break while it is retrieved: {error}")
        await self.at.ledger.record_broken(self.lease, [pair.known.mail_id], reason)

    # Settle and delete: outcomes -> DELE -> QUIT -> +OK -> ledger

    async def _settle(self) -> None:
        """Wait, with the session open, for what was retrieved in it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self.waiter.pending and not self.waiter.held_up:
            patience = STOPPING_SETTLE_SECONDS if self.stop.is_set() else SETTLE_SECONDS
            remaining = began + patience - loop.time()
            if remaining <= 0:
                break
            self.waiter.changed.clear()
            try:
                async with asyncio.timeout(min(remaining, 1.0)):
                    await self.waiter.changed.wait()
            except TimeoutError:
                continue
        crashpoints.reach("fetcher.after_outcome")

    async def _finish(self, certain: Sequence[Known], keep: Sequence[Known]) -> None:
        in_hand = self.intake.in_hand
        earlier = {pair.known.mail_id for pair in certain if pair.known.deletable}
        asked = sorted({*in_hand, *earlier})
        done = await self.at.ledger.deletable(asked) if asked else set()  # a copy may have got a recipient meanwhile
        self._withhold("undelivered", len(earlier - done))
        certain = [pair for pair in certain if pair.known.mail_id in done or pair.known.mail_id not in earlier]
        fresh = [in_hand[mail_id] for mail_id in sorted(done & in_hand.keys())]
        self.end.unsettled += len(self.waiter.pending)
        if self.lease.profile.keep:
            await self.at.ledger.record_kept(self.lease, [pair.known.mail_id for pair in (*fresh, *keep)])
            fresh = []
        ids = await self._deletable_now({pair.listed.number: pair.known.mail_id for pair in (*certain, *fresh)})
        if self.connection.retrieved - ids.keys():
            await self.connection.reset()  # some servers delete at QUIT whatever was retrieved
        if ids and not await self.at.ledger.renew_lease(self.lease):
            self._withhold("lease_lost", len(ids))
            raise LeaseLostError  # before the first DELE: another fetcher may work on what these numbers name
        deleted = await self.connection.delete(sorted(ids))
        self.at.metrics.count(MAILS_DELETED, "refused", by=len(ids) - len(deleted))
        crashpoints.reach("fetcher.after_dele")  # costs nothing: without QUIT the server keeps them all
        try:
            await self.connection.quit()
        except PollError:
            self.at.metrics.count(MAILS_DELETED, "unconfirmed", by=len(deleted))
            raise
        crashpoints.reach("fetcher.after_quit")  # the next listing tells
        await self._record_deleted([ids[number] for number in deleted])

    def _withhold(self, reason: str, mails: int) -> None:
        self.at.metrics.count(DELETES_WITHHELD, reason, by=mails)

    async def _deletable_now(self, ids: dict[int, str]) -> dict[int, str]:
        """Return what may be deleted: nothing while the ledger may be older than what was delivered or decided."""
        why = await self.at.witnesses.why_kept() if ids else None
        if why is None:
            return ids
        self._withhold("restored", len(ids))
        self.log.warning("deletion_withheld", mails=len(ids), reason=why)
        self.end.withheld = self.end.withheld or why
        return {}

    async def _record_deleted(self, mail_ids: Sequence[str]) -> None:
        await self.at.ledger.record_deleted(self.lease, mail_ids)
        self.end.deleted += len(mail_ids)
        self.at.metrics.count(MAILS_DELETED, "ok", by=len(mail_ids))
        for mail_id in mail_ids:
            self.log.info("mail_deleted", mail=mail_id)
        try:
            await self.at.blobs.delete(*mail_ids)  # a crash before it leaves orphans, which the sweeper removes
        except OSError as error:  # as does a store that is away: the mails are done with
            self.log.warning("blobs_not_deleted", error=str(error))
