"""A router worker's neighbours, all real: the embedded broker, a SQLite ledger, blobs in a folder."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import select, update
from structlog.testing import CapturingLogger
from structlog.typing import FilteringBoundLogger

from common.broker import FETCHED, Ack, Settlement, jobs_queue
from common.folder_blobs import FolderBlobs
from common.header import split_header
from common.ledger import Ledger
from common.ledger.engine import writing
from common.ledger.records import FetchedMail, Lease, ListedMail
from common.ledger.schema import deliveries, mails
from common.memory_broker import MemoryBroker
from common.messages import MAX_HEADER, MAX_INLINE, Blob, Content, DeliveryJob, Inline, MailFetched, decode, encode
from common.profile import Profile
from router.work import RouterWorker

PROFILE = Profile.from_document(
    {
        "name": "office",
        "server": "127.0.0.1 110",
        "user": "default@local.example",
        "password": "env:NONE",
        "local_domain": ["local.example"],
        "local_user": "postmaster",
        "distribute": True,
    }
)


@dataclass(kw_only=True)
class Bench:
    """A router at work, what feeds it, and the jobs that came out."""

    ledger: Ledger
    lease: Lease
    broker: MemoryBroker
    blobs: FolderBlobs
    log: FilteringBoundLogger
    logged: CapturingLogger
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def fetched(self, raw: bytes, *, blob: bool = False) -> MailFetched:
        """Return a mail as a fetcher would publish it, recorded in the ledger."""
        uidl = b"uidl-%d" % next(self.numbers)
        listed = ListedMail(number=1, uidl_key=uidl, uidl=uidl, size=len(raw))
        known = (await self.ledger.record_listing(self.lease, [listed])).known[uidl]
        message = self.message(known.mail_id, raw, fetches=known.fetches)
        await self.ledger.record_fetched(
            FetchedMail(
                mail_id=known.mail_id,
                profile_id=self.lease.profile_id,
                epoch=self.lease.epoch,
                fetches=known.fetches,
                header_hash=hashlib.sha256(raw).digest(),
                digest=message.digest,
                body_digest=message.body_digest,
                size=len(raw),
            )
        )
        if not blob:
            return message
        await self.blobs.put(known.mail_id, raw)
        return replace(message, content=_blob(known.mail_id, raw, split_header(raw)))

    def message(self, mail_id: str, raw: bytes, *, fetches: int = 0) -> MailFetched:
        """Return a mail as a fetcher would publish it."""
        length = split_header(raw)
        return MailFetched(
            mail_id=mail_id,
            mailbox=PROFILE.mailbox,
            profile_id=self.lease.profile_id,
            revision=1,
            fetches=fetches,
            policy=PROFILE.policy,
            target="local",
            content=_content(mail_id, raw, length),
            digest=hashlib.sha256(raw).digest(),
            body_digest=hashlib.sha256(raw[length:]).digest(),
            source_host="pop3.far.example",
            fetched_at=0,
        )

    async def route(self, *messages: MailFetched | bytes) -> list[DeliveryJob]:
        """Have the messages routed one after the other; return the jobs that came out."""
        stop = asyncio.Event()
        stop.set()  # a worker finishes what it has begun, and it begins what is ready at once
        for message in messages:
            body = message if isinstance(message, bytes) else encode(message)
            await self.broker.publish(FETCHED, body, message_id=str(uuid4()))
            await self.worker.run(stop)
        return [decode(body, DeliveryJob) for body in await self.taken(jobs_queue("local"))]

    @property
    def worker(self) -> RouterWorker:
        """A router."""
        return RouterWorker(broker=self.broker, ledger=self.ledger, blobs=self.blobs, log=self.log)

    async def taken(self, queue: str) -> list[bytes]:
        """Return all messages of a queue, and empty it."""
        bodies: list[bytes] = []

        async def take(body: bytes) -> Settlement:
            bodies.append(body)
            return Ack()

        await (await self.broker.consume(queue, take, prefetch=1000)).stop()
        return bodies

    async def state(self, mail_id: str) -> tuple[str, str | None]:
        """Return a mail's state and its reason."""
        query = select(mails.c.state, mails.c.reason).where(mails.c.id == mail_id)
        row = await self.ledger.read(lambda connection: _first(connection, query))
        return row.state, row.reason

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what was logged under a name."""
        return [call.kwargs for call in self.logged.calls if call.kwargs["event"] == name]

    async def make_overdue(self) -> None:
        """Age all deliveries, so that they are due."""
        async with writing(self.ledger._engine) as connection:
            await connection.execute(update(deliveries).values(next_attempt_at=0))


@asynccontextmanager
async def open_bench(folder: Path) -> AsyncIterator[Bench]:
    """Open everything in a folder of its own, and close it."""
    logged = CapturingLogger()
    log = structlog.wrap_logger(logged, processors=[]).bind()
    ledger = await Ledger.open("sqlite:///pps.db", base=folder, log=log)
    await ledger.sync_profiles([PROFILE], managed_by="file")
    (lease,) = await ledger.claim_due("tests", 1)
    broker = MemoryBroker(log)
    yield Bench(ledger=ledger, lease=lease, broker=broker, blobs=FolderBlobs(folder / "blobs"), log=log, logged=logged)
    await broker.close()
    await ledger.close()


def _content(mail_id: str, raw: bytes, length: int) -> Content:
    return Inline(data=raw, header_length=length) if len(raw) <= MAX_INLINE else _blob(mail_id, raw, length)


def _blob(mail_id: str, raw: bytes, length: int) -> Blob:
    return Blob(key=mail_id, size=len(raw), header=raw[: min(length, MAX_HEADER)], header_cut=length > MAX_HEADER)


async def _first(connection: Any, query: Any) -> Any:  # noqa: ANN401 (SQLAlchemy's own generics)
    return (await connection.execute(query)).one()
