"""The sweeper: brings back to motion what stands still. Every fetcher runs one; rows are taken, so none works twice."""

import asyncio
import random
from collections.abc import Collection
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore, NoBlobError
from common.broker import FETCHED, OUTCOMES, Broker, jobs_queue, publish_within
from common.failures import PpsError
from common.header import split_header
from common.ledger import Ledger, reading
from common.ledger.records import PlannedDelivery
from common.ledger.sweeping import BATCH, DueDelivery, Return, StaleMail
from common.messages import MAX_HEADER, Blob, DeliveryJob, MailFetched, encode
from common.metrics import NO_METRICS, Metrics
from common.metrics.definitions import SWEPT
from common.profile import Profile
from fetcher.witness import Witnesses

INTERVAL_SECONDS: Final = 5.0
HOUSEKEEPING_SECONDS: Final = 3600.0
ROOM_SECONDS: Final = 5.0
"""How long a message waits for room in its queue."""

IN_ANY_CASE_MS: Final = 6 * 3_600_000
"""The age at which even a mail whose queue is still full is taken in hand."""

ORPHAN_SECONDS: Final = 7 * 86_400
"""How long a blob that no ledger row asks for is kept: a ledger restored from a backup must find its blobs."""


class Sweeper:
    """Publishes due deliveries, sends lost messages' mail back to be fetched, removes what is past its keeping."""

    def __init__(  # noqa: PLR0913 (wired once, by hand)
        self,
        *,
        broker: Broker,
        ledger: Ledger,
        blobs: BlobStore,
        witnesses: Witnesses,
        targets: Collection[str],
        retention: int,
        log: FilteringBoundLogger,
        metrics: Metrics = NO_METRICS,
    ) -> None:
        self._metrics = metrics
        self.retention = retention  # seconds that a mail which left its server is remembered
        self._targets = targets  # that the configuration names, now
        self._broker = broker
        self._ledger = ledger
        self._blobs = blobs
        self._witnesses = witnesses
        self._log = log

    async def begin(self) -> None:
        """Before anything else: where the broker begins empty, put in motion what the last process left."""
        if self._broker.volatile:
            # Nothing is in any queue and nobody else works: all that is unsettled is due, and no message of an earlier
            # fetch can still be about, so this costs a mail none of its five returns.
            await self._ledger.begin_again()
            await self.sweep(began_empty=True)

    async def run(self, wake: asyncio.Event) -> None:
        """Sweep every few seconds, or when woken, until cancelled."""
        housekeeping_at = 0.0
        pruning = False
        loop = asyncio.get_running_loop()
        while True:
            try:
                if loop.time() >= housekeeping_at:
                    pruning = await self.keep_house()
                    housekeeping_at = loop.time() + HOUSEKEEPING_SECONDS
                await self.sweep(began_empty=False)
                pruning = pruning and await self._prune()
            except (PpsError, OSError) as error:
                self._log.warning("sweep_failed", error=str(error))
            except Exception:  # noqa: BLE001 (one row that can't be read must not end the service)
                self._log.exception("sweep_crashed")
            await self._pause(wake)

    async def _pause(self, wake: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(INTERVAL_SECONDS * random.uniform(0.8, 1.2)):  # noqa: S311 (spreads load)
                await wake.wait()
        except TimeoutError:
            pass
        wake.clear()

    async def sweep(self, *, began_empty: bool) -> None:
        """Make one pass. Outcomes that wait come first: they may settle what looks stuck."""
        if not began_empty and (await self._broker.depth(OUTCOMES)).ready:
            return
        while await self._sweep_deliveries(began_empty=began_empty) | await self._sweep_mails(began_empty=began_empty):
            pass

    async def _sweep_deliveries(self, *, began_empty: bool) -> bool:
        taken = await self._ledger.take_due()
        paused = await self._ledger.paused_targets() if taken else {}
        wanted = [
            due
            for due in taken
            if due.planned.target not in paused
            and (
                began_empty
                or due.retry
                or self._is_orphaned(due.planned)  # its job waits for nobody
                or await self._job_is_gone(jobs_queue(due.planned.target), due.age)
            )
        ]
        full: set[str] = set()
        missing = [due.planned for due in wanted if not await self._serve(due, full)]
        if missing:
            ids = tuple(planned.delivery_id for planned in missing)
            await self._ledger.fetch_again(Return(delivery_ids=ids, counted=not began_empty))
            self._metrics.count(SWEPT, "sent_back", by=len(missing))
        return len(taken) == BATCH

    def _is_orphaned(self, planned: PlannedDelivery) -> bool:
        """Whether nobody will ever take the job: its target left the configuration. Routed anew, it gets another."""
        return self._broker.volatile and planned.target not in self._targets

    async def _sweep_mails(self, *, began_empty: bool) -> bool:
        taken = await self._ledger.take_stale()
        missing = [
            stale
            for stale in taken
            if (began_empty or await self._job_is_gone(FETCHED, stale.age)) and not await self._publish_fetched(stale)
        ]
        if missing:
            ids = tuple(stale.mail_id for stale in missing)
            await self._ledger.fetch_again(Return(mail_ids=ids, counted=not began_empty))
            self._metrics.count(SWEPT, "sent_back", by=len(missing))
        return len(taken) == BATCH

    async def _job_is_gone(self, queue: str, age: int) -> bool:
        """Whether no message can be waiting there: the queue has nothing ready, or it is too long ago in any case."""
        return age >= IN_ANY_CASE_MS or (await self._broker.depth(queue)).ready == 0

    async def _serve(self, due: DueDelivery, full: set[str]) -> bool:
        """Publish an attempt from the blob; False: there is none, or nobody would take it."""
        planned = due.planned
        if self._is_orphaned(planned) or not await self._blobs.exists(planned.mail_id):
            return False
        if planned.target in full:
            return True
        if await self._publish_job(planned):
            self._metrics.count(SWEPT, "retry" if due.retry else "job")
        else:
            full.add(planned.target)  # looked at again when its time comes; other targets don't wait for its room
        return True

    async def _publish_job(self, planned: PlannedDelivery) -> bool:
        job = DeliveryJob(
            delivery_id=planned.delivery_id,
            mail_id=planned.mail_id,
            profile_id=planned.profile_id,
            recipient=planned.recipient,
            fallback=planned.fallback,
            target=planned.target,
            sender=planned.sender,
            content=Blob(key=planned.mail_id, size=planned.size),
            digest=planned.digest,
            size=planned.size,
            source_host=planned.source_host,
            attempt=planned.attempt,
            first_attempt_at=planned.created_at,
            reason=planned.reason,
        )
        queue, body = jobs_queue(job.target), encode(job)
        if not await publish_within(ROOM_SECONDS, self._broker, queue, body, message_id=job.delivery_id):
            return False
        self._log.info("delivery_swept", mail=job.mail_id, delivery=job.delivery_id, attempt=job.attempt)
        return True

    async def _publish_fetched(self, stale: StaleMail) -> bool:
        """Publish a fetched mail again from its blob; False: there is none."""
        try:
            content = await self._blob_content(stale.mail_id)
        except NoBlobError:
            return False
        profile = Profile.from_json(stale.settings)
        message = MailFetched(
            mail_id=stale.mail_id,
            mailbox=stale.mailbox,
            profile_id=stale.profile_id,
            revision=stale.revision,
            fetches=stale.fetches,
            policy=profile.policy,
            target=profile.target,
            content=content,
            digest=stale.digest,
            body_digest=stale.body_digest,
            source_host=profile.server.host,
            fetched_at=stale.fetched_at,
        )
        if await publish_within(ROOM_SECONDS, self._broker, FETCHED, encode(message), message_id=stale.mail_id):
            self._metrics.count(SWEPT, "mail")
            self._log.info("mail_swept", mail=stale.mail_id)
        return True  # without room, it is looked at again later

    async def _blob_content(self, key: str) -> Blob:
        size, head = 0, bytearray()
        async for chunk in self._blobs.stream(key):
            size += len(chunk)
            if len(head) <= MAX_HEADER:
                head += chunk
        end = split_header(head)
        return Blob(key=key, size=size, header=bytes(head[: min(end, MAX_HEADER)]), header_cut=end > MAX_HEADER)

    async def _prune(self) -> bool:
        """Forget a batch of what is past its keeping; return whether there may be more, for after the next sweep."""
        pruned = await self._ledger.prune(self.retention)
        self._metrics.count(SWEPT, "pruned", by=pruned)
        if pruned:
            self._log.info("mails_pruned", mails=pruned)
        return pruned > 0

    async def keep_house(self) -> bool:
        """Remove blobs that nobody needs; return whether rows may be forgotten, too: not by a ledger in doubt."""
        origin = await self._witnesses.origin()
        if origin is None or origin.withheld:
            return False  # a person is to see first what a restored ledger lacks
        if not origin.blobs_rest:
            await self._remove_orphans()
        return True

    async def _remove_orphans(self) -> None:
        old = await self._blobs.older_than(ORPHAN_SECONDS)
        needed = await self._ledger.read(lambda connection: reading.needed_blobs(connection, old)) if old else set()
        orphans = set(old) - needed - {self._ledger.installation}
        if orphans and (neighbour := await self._witnesses.neighbour(set(old))) is not None:
            self._log.error(
                "blobs_shared", installation=neighbour, mend="[service] blobs: a folder or prefix of its own"
            )
            return
        await self._blobs.delete(*orphans)
        self._metrics.count(SWEPT, "blob", by=len(orphans))
        if orphans:
            self._log.info("house_kept", blobs_removed=len(orphans))
