"""One POP3 session, from listing to QUIT. The order of the steps is what keeps mail; each says what a crash costs."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from common import crashpoints
from common.blobs import BlobStore
from common.broker import FETCHED, Broker
from common.failures import PollError
from common.ledger import LeaseLostError, Ledger, RowRejectedError
from common.ledger.records import Fetched, FetchedMail, KnownMail, Lease
from common.messages import Content, MailFetched, encode, one_line
from common.profile import Custody
from fetcher.connection import Connection
from fetcher.identity import identify
from fetcher.incoming import Incoming
from fetcher.plan import Known, Plan, plan
from fetcher.settle import Settler, Waiter
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

MAX_UNDONE: Final = 10_000
MAX_UNDONE_OCTETS: Final = 1024 * 1024 * 1024
"""What a target may have undone before its mailboxes are only listed: the far end sets the pace."""


@dataclass(slots=True, kw_only=True)
class SessionEnd:
    """What a session did, and whether the mailbox wants another soon."""

    listed: int = 0
    fetched: int = 0
    deleted: int = 0
    more: bool = False  # mail was left to fetch only because the session had done enough
    unsettled: int = 0  # mails that were retrieved or on their way, and not done when the window closed
    withheld: str | None = None  # why nothing was fetched


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What every session of a fetcher works with."""

    broker: Broker
    ledger: Ledger
    blobs: BlobStore
    settler: Settler
    targets: Collection[str]  # that the configuration names
    log: FilteringBoundLogger
    base: Path  # where relative paths of secrets and CA files begin


@dataclass(slots=True, kw_only=True)
class Session:
    """One session on one mailbox, signed in. `run` ends it with QUIT; on an exception the caller aborts it."""

    connection: Connection
    lease: Lease
    at: Workplace
    log: FilteringBoundLogger  # bound to the profile
    stop: asyncio.Event
    end: SessionEnd = field(default_factory=SessionEnd)
    waiter: Waiter = field(default_factory=Waiter)
    in_hand: dict[str, Known] = field(default_factory=dict)  # retrieved in this session, by mail id
    failure: OSError | None = None  # our own disk's

    async def run(self) -> SessionEnd:
        """List, retrieve, settle, delete, quit; raises PollError, LeaseLostError, PpsError."""
        todo = await self._list()
        self.waiter = self.at.settler.open_waiter()
        try:
            certain = await verified(self, todo.delete)
            await self._retrieve(todo.retrieve)
            await self._settle()
            await self._finish(certain, todo.keep)
        finally:
            self.at.settler.close_waiter(self.waiter)
        return self.end

    async def _list(self) -> Plan:
        listing = await identify(self.connection, await self.connection.listing())
        known = await self.at.ledger.record_listing(self.lease, listing)
        self.end.listed = len(listing)
        self.end.withheld = await self._withheld()
        profile = self.lease.profile
        todo = plan(listing, known, keep=profile.keep, fetch=self.end.withheld is None)
        for pair in todo.retrieve:
            self.log.info(
                "mail_listed",
                mail=pair.known.mail_id,
                uidl=one_line(repr(pair.listed.uidl), 200),
                size=pair.listed.size,
            )
        self.end.unsettled = todo.waiting
        return todo

    async def _withheld(self) -> str | None:
        """Return why nothing may be fetched now: the target, or what it already has undone."""
        target = self.lease.profile.target
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
        room = asyncio.Semaphore(MAX_IN_HAND)
        begun: list[int] = []
        confirmed: set[int] = set()
        broken: PollError | None = None
        async with asyncio.TaskGroup() as custody:
            numbers = self._paced(by_number, begun)
            try:
                async for got in self.connection.retrieve(numbers, lambda number: self._incoming(by_number[number])):
                    confirmed.add(got.number)
                    if got.sink is None:
                        await self._skip(by_number[got.number], got.refused or "")
                        continue
                    crashpoints.reach("fetcher.after_retr")  # costs a fetch again
                    await room.acquire()
                    custody.create_task(self._take_custody(by_number[got.number], got.sink, room))
            except PollError as error:
                broken = error  # what was confirmed before is whole, and is still published
        if broken is not None:
            await self._note_break([by_number[number] for number in begun if number not in confirmed], broken)
            raise broken
        if self.failure is not None:
            raise self.failure
        self.end.more = self.end.more or len(begun) < len(by_number)

    def _paced(self, numbers: Iterable[int], begun: list[int]) -> Iterator[int]:
        """Yield what to retrieve, until the session has done enough or the worker stops."""
        clock = asyncio.get_running_loop().time
        enough_at = clock() + MAX_SECONDS
        for number in numbers:
            if len(begun) >= MAX_MAILS or clock() >= enough_at or self._is_hindered():
                return
            begun.append(number)
            yield number

    def _is_hindered(self) -> bool:
        return self.stop.is_set() or self.at.broker.blocked or self.failure is not None

    def _incoming(self, pair: Known) -> Incoming:
        mail_id = pair.known.mail_id
        spool_always = self.lease.profile.custody is Custody.BLOB
        return Incoming(mail_id, lambda: self.at.blobs.writer(mail_id), spool_always=spool_always)

    async def _take_custody(self, pair: Known, incoming: Incoming, room: asyncio.Semaphore) -> None:
        try:
            await self._store_and_publish(pair, incoming)
        except OSError as error:  # a full disk ends the session, not the publishing of what others have in hand
            self.failure = self.failure or error
        finally:
            await incoming.discard()
            room.release()

    async def _store_and_publish(self, pair: Known, incoming: Incoming) -> None:
        content = await incoming.finish()  # durable, if it is a blob
        crashpoints.reach("fetcher.after_blob")  # costs a fetch again; the blob is replaced
        if not await self._record(pair.known, incoming):
            return
        crashpoints.reach("fetcher.after_ledger")  # costs a fetch again, once the sweeper sees no progress
        self.waiter.expect(pair.known.mail_id)
        self.in_hand[pair.known.mail_id] = pair
        message = self._message(pair.known, incoming, content)
        await self.at.broker.publish(FETCHED, encode(message), message_id=message.mail_id)
        crashpoints.reach("fetcher.after_confirm")  # costs nothing: the queue has it
        self.end.fetched += 1
        self.log.info("mail_fetched", mail=pair.known.mail_id, octets=content.size, fetches=pair.known.fetches)

    async def _record(self, known: KnownMail, incoming: Incoming) -> bool:
        fetched = FetchedMail(
            mail_id=known.mail_id,
            profile_id=self.lease.profile_id,
            epoch=self.lease.epoch,
            fetches=known.fetches,
            header_hash=incoming.header_hash,
            digest=incoming.digest,
            body_digest=incoming.body_digest,
            size=incoming.size,
        )
        try:
            answer = await self.at.ledger.record_fetched(fetched)
        except RowRejectedError as error:
            await self.at.ledger.quarantine(known.mail_id, str(error))
            return False
        if answer is Fetched.ANOTHER:
            self.log.warning("uidl_reused", mail=known.mail_id)
            await self.at.ledger.renew_identity(self.lease, [known.mail_id])
            self.end.more = True
        return answer is Fetched.RECORDED

    def _message(self, known: KnownMail, incoming: Incoming, content: Content) -> MailFetched:
        profile = self.lease.profile
        return MailFetched(
            mail_id=known.mail_id,
            mailbox=profile.mailbox,
            profile_id=self.lease.profile_id,
            revision=self.lease.revision,
            fetches=known.fetches,
            policy=profile.policy,
            target=profile.target,
            content=content,
            digest=incoming.digest,
            body_digest=incoming.body_digest,
            source_host=profile.server.host,
            fetched_at=incoming.fetched_at,
        )

    async def _skip(self, pair: Known, reply: str) -> None:
        reason = one_line(f"the server refuses to give it: {reply}")
        await self.at.ledger.record_skipped(self.lease, [pair.known.mail_id], reason)
        self.log.warning("mail_skipped", mail=pair.known.mail_id, reason=reason)

    async def _note_break(self, unconfirmed: Sequence[Known], error: PollError) -> None:
        """Remember which mail was on the line when the session broke: only the first unconfirmed one was."""
        reason = one_line(f"sessions break while it is retrieved: {error}")
        await self.at.ledger.record_broken(self.lease, [pair.known.mail_id for pair in unconfirmed[:1]], reason)

    # Settle and delete: outcomes -> DELE -> QUIT -> +OK -> ledger

    async def _settle(self) -> None:
        """Wait, with the session open, for what was retrieved in it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self.waiter.pending:
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
        done = await self.at.ledger.deletable(sorted(self.in_hand))
        fresh = [self.in_hand[mail_id] for mail_id in sorted(done)]
        self.end.unsettled += len(self.waiter.pending)
        if self.lease.profile.keep:
            await self.at.ledger.record_kept(self.lease, [pair.known.mail_id for pair in (*fresh, *keep)])
            await self.connection.quit()
            return
        if not await self.at.ledger.renew_lease(self.lease):
            raise LeaseLostError  # before the first DELE: another fetcher may work on what these numbers name
        ids = {pair.listed.number: pair.known.mail_id for pair in (*certain, *fresh)}
        deleted = await self.connection.delete(sorted(ids)) if ids else ()
        crashpoints.reach("fetcher.after_dele")  # costs nothing: without QUIT the server keeps them all
        await self.connection.quit()
        crashpoints.reach("fetcher.after_quit")  # the next listing tells
        await self._record_deleted([ids[number] for number in deleted])

    async def _record_deleted(self, mail_ids: Sequence[str]) -> None:
        await self.at.ledger.record_deleted(self.lease, mail_ids)
        self.end.deleted += len(mail_ids)
        for mail_id in mail_ids:
            self.log.info("mail_deleted", mail=mail_id)
            await self.at.blobs.delete(mail_id)  # a crash before it leaves an orphan, which the sweeper removes
