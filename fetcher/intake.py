"""What becomes of a mail once its end is certain: blob -> ledger -> publish, confirmed; and what a crash costs."""

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from common import crashpoints
from common.blobs import BlobStore
from common.broker import FETCHED, Broker
from common.ledger import Ledger, RowRejectedError
from common.ledger.hiding import SUCCEED, Succession
from common.ledger.records import Fetched, FetchedMail, KnownMail, Lease
from common.ledger.schema import new_id
from common.messages import Content, MailFetched, encode
from common.metrics import NO_METRICS, Metrics
from common.metrics.definitions import BYTES_FETCHED, MAILS_FETCHED
from common.passwords import Passwords
from common.pulse import Pulse
from common.routing_policy import RoutingPolicy
from fetcher.grants import Grants
from fetcher.incoming import Incoming, content_of
from fetcher.plan import Known
from fetcher.settle import Settler
from fetcher.witness import Witnesses


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What every session of a fetcher works with."""

    broker: Broker
    ledger: Ledger
    blobs: BlobStore
    settler: Settler
    witnesses: Witnesses
    grants: Grants
    targets: set[str]  # that the configuration names; changed in place when that changes
    log: FilteringBoundLogger
    passwords: Passwords
    base: Path  # where relative paths of CA files begin
    metrics: Metrics = NO_METRICS
    pulse: Pulse = field(default_factory=Pulse)


@dataclass(slots=True, kw_only=True)
class Intake:
    """Takes custody of one session's mails."""

    at: Workplace
    lease: Lease
    log: FilteringBoundLogger
    expect: Callable[[str], None]  # told of each mail whose outcomes may come from now on
    in_hand: dict[str, Known] = field(default_factory=dict)  # recorded in this session, by mail id
    fetched: int = 0  # of those, confirmed by the broker
    renamed: int = 0  # mails whose UIDL names another mail by now: they are new in the next listing
    failure: OSError | None = None  # our own disk's: it ends the session, not the publishing of what is in hand
    _open: set[Incoming] = field(default_factory=set)
    _made: RoutingPolicy | None = None  # and checked once, for the first mail: each carries it

    @property
    def _policy(self) -> RoutingPolicy:
        if self._made is None:
            self._made = self.lease.profile.policy
        return self._made

    def incoming(self, pair: Known) -> Incoming:
        """Return the sink for a mail that is about to be retrieved; `take` or `discard` ends it."""
        mail_id = pair.known.mail_id
        sink = Incoming(mail_id, lambda: self.at.blobs.writer(mail_id), spool_always=self.lease.hides_mail)
        self._open.add(sink)
        return sink

    async def take(self, pair: Known, incoming: Incoming) -> None:
        """Take custody of one mail."""
        try:
            await self._store_and_publish(pair, incoming)
        except OSError as error:
            self.failure = self.failure or error
        finally:
            await incoming.discard()
            self._open.discard(incoming)

    async def discard(self) -> None:
        """Forget all that nobody took: cut mails, and what a cancellation left."""
        for incoming in self._open:
            await incoming.discard()
        self._open.clear()

    async def _store_and_publish(self, pair: Known, incoming: Incoming) -> None:
        content = await incoming.finish()  # durable, if it is a blob
        crashpoints.reach("fetcher.after_blob")  # costs a fetch again; a server that hides mail: see fetcher/hidden.py
        answer = await self._record(pair.known, incoming)
        if answer is Fetched.RECORDED:
            crashpoints.reach("fetcher.after_ledger")  # costs a fetch again, once the sweeper sees no progress
            await self._publish_in_hand(pair, incoming, content)
        elif answer is Fetched.ANOTHER and self.lease.hides_mail:
            await self.succeed(pair, incoming, await self._moved(incoming))
        elif answer is Fetched.ANOTHER:
            self.log.warning("uidl_reused", mail=pair.known.mail_id)
            await self.at.blobs.delete(pair.known.mail_id)  # its deliveries must never find another mail's bytes
            await self.at.ledger.renew_identity(self.lease, [pair.known.mail_id])
            self.renamed += 1

    async def adopt(self, known: KnownMail, incoming: Incoming, content: Content) -> None:
        """Take custody of a mail that is at rest, and that the server lists no more."""
        if await self._record(known, incoming) is Fetched.RECORDED:
            await self._publish(known, incoming, content)

    async def succeed(self, pair: Known, incoming: Incoming, content: Content) -> None:
        """Take custody of a mail that has another's UIDL by now: it is at rest under `incoming.key`, its own id."""
        self.log.warning("uidl_reused", mail=pair.known.mail_id, by=incoming.key)
        known = replace(pair.known, mail_id=incoming.key, fetches=0, deletable=False)
        fetched = self._fetched(known, incoming)
        succession = Succession(lease=self.lease, mail_id=pair.known.mail_id, fetched=fetched, size=pair.listed.size)
        fates = await self.at.ledger.write(SUCCEED, succession)
        if fates is None:
            return  # the lease was lost: whoever has it now finds the mail, or a blob that no row names
        self.at.ledger.tell(fates)
        await self.at.blobs.delete(pair.known.mail_id)
        await self._publish_in_hand(replace(pair, known=known), incoming, content)

    async def _moved(self, incoming: Incoming) -> Content:
        """Copy a mail to an id of its own; a crash from here on leaves a blob that no row names, which is told."""
        old, incoming.key = incoming.key, new_id()
        writer = self.at.blobs.writer(incoming.key)
        try:
            async with aclosing(self.at.blobs.stream(old)) as stream:
                async for chunk in stream:
                    await writer.write(chunk)
            await writer.commit()
        finally:
            await writer.discard()
        return content_of(incoming.key, incoming.digests)

    async def _publish_in_hand(self, pair: Known, incoming: Incoming, content: Content) -> None:
        self.expect(pair.known.mail_id)
        self.in_hand[pair.known.mail_id] = pair
        await self._publish(pair.known, incoming, content)

    async def _publish(self, known: KnownMail, incoming: Incoming, content: Content) -> None:
        message = self._message(known, incoming, content)
        await self.at.broker.publish(FETCHED, encode(message), message_id=message.mail_id)
        crashpoints.reach("fetcher.after_confirm")  # costs nothing: the queue has it
        self.fetched += 1
        self.at.metrics.count(MAILS_FETCHED)
        self.at.metrics.count(BYTES_FETCHED, by=content.size)
        self.log.info("mail_fetched", mail=known.mail_id, octets=content.size, fetches=known.fetches)

    async def _record(self, known: KnownMail, incoming: Incoming) -> Fetched:
        try:
            return await self.at.ledger.record_fetched(self._fetched(known, incoming))
        except RowRejectedError as error:
            await self.at.ledger.quarantine(known.mail_id, str(error))
            return Fetched.STALE

    def _fetched(self, known: KnownMail, incoming: Incoming) -> FetchedMail:
        return FetchedMail(
            mail_id=known.mail_id,
            profile_id=self.lease.profile_id,
            epoch=self.lease.epoch,
            fetches=known.fetches,
            header_hash=incoming.digests.header_hash,
            digest=incoming.digests.whole,
            body_digest=incoming.digests.body,
            size=incoming.size,
        )

    def _message(self, known: KnownMail, incoming: Incoming, content: Content) -> MailFetched:
        profile = self.lease.profile
        return MailFetched(
            mail_id=known.mail_id,
            mailbox=profile.mailbox,
            profile_id=self.lease.profile_id,
            revision=self.lease.revision,
            fetches=known.fetches,
            policy=self._policy,
            target=profile.target,
            content=content,
            digest=incoming.digests.whole,
            body_digest=incoming.digests.body,
            source_host=profile.server.host,
            fetched_at=incoming.fetched_at,
        )
