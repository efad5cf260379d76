"""The router's work: each fetched mail becomes deliveries in the ledger, and a job for each. Decides nothing itself."""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore
from common.broker import FETCHED, Ack, Broker, Dead, Settlement, jobs_queue, publish_within
from common.crashpoints import reach
from common.ledger import Ledger
from common.ledger.records import PlannedDelivery, PlannedRecipient, Route, RoutedMail
from common.ledger.writer import RowRejectedError
from common.messages import (
    MAX_INLINE_FAN_OUT,
    Blob,
    Content,
    DeliveryJob,
    Inline,
    MailFetched,
    UndecodableError,
    decode,
    encode,
)
from common.metrics import NO_METRICS, Metrics
from common.metrics.definitions import COPIES_JOINED, ROUTED
from router.fingerprint import fingerprint_of
from router.headers import fields_of
from router.known_targets import KnownTargets
from router.loops import loop_reason
from router.recipients import Recipients, fallen_back, recipients_in

ROOM_SECONDS: Final = 5.0
"""How long a job waits for room in its target's queue."""

FULL_SECONDS: Final = 30.0
"""How long a queue that had no room is not asked again."""


PREFETCH: Final = 500
"""Mails in hand: while some wait for the broker, enough others wait for the ledger to fill its commits."""


class RouterWorker:
    """Consumes fetched mails, `prefetch` at a time, so that their ledger writes share commits."""

    def __init__(  # noqa: PLR0913 (wired once, by hand)
        self,
        *,
        broker: Broker,
        ledger: Ledger,
        blobs: BlobStore,
        log: FilteringBoundLogger,
        prefetch: int = PREFETCH,
        metrics: Metrics = NO_METRICS,
        targets: Iterable[str] = (),
    ) -> None:
        self._targets = KnownTargets(targets, ledger)
        self._broker = broker
        self._ledger = ledger
        self._blobs = blobs
        self._log = log
        self._prefetch = prefetch
        self._metrics = metrics
        self._full: dict[str, float] = {}  # queues without room, and until when

    async def run(self, stop: asyncio.Event) -> None:
        """Route mail until `stop` is set, then finish what is in hand; if cancelled, hand it back at once."""
        consumption = await self._broker.consume(FETCHED, self._handle, prefetch=self._prefetch)
        try:
            await stop.wait()
            await consumption.stop()
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):  # breaks off the handlers: all they did may be done again
                    await consumption.stop()
            raise

    async def _handle(self, body: bytes) -> Settlement:
        try:
            mail = decode(body, MailFetched)
        except UndecodableError as error:
            return Dead(str(error))
        if not await self._targets.has(mail.target, profile_id=mail.profile_id):
            return Dead(f"a mail for the target {mail.target}: no [target.{mail.target}], and no profile names it")
        log = self._log.bind(mail=mail.mail_id, profile=mail.profile_id)
        reach("router.before_ledger")
        recipients, routed = self._decide(mail, log)
        try:
            route = await self._ledger.route(routed)
        except RowRejectedError as error:
            await self._ledger.quarantine(mail.mail_id, str(error))
            log.warning("mail_quarantined", reason=str(error))
            return Ack()
        reach("router.after_ledger")  # a crash from here to the ack costs a route again: the same rows, the same jobs
        await self._publish(mail, route.deliveries)
        reach("router.after_publish")
        self._report(log, recipients, routed, route)
        return Ack()

    def _decide(self, mail: MailFetched, log: FilteringBoundLogger) -> tuple[Recipients, RoutedMail]:
        """Return who gets the mail. A fault in the reading must not come back with the mail for ever."""
        try:
            return decision_on(mail, self._ledger.installation)
        except Exception as error:  # noqa: BLE001 (whatever it is, it names nobody: a case for the fallback)
            log.error("header_unreadable", error=type(error).__name__)  # noqa: TRY400 (a traceback may hold the header)
            recipients = fallen_back(mail.policy, "the header can't be read")
            return recipients, _routed(mail, recipients, fingerprint=None, quarantine=None)

    async def _publish(self, mail: MailFetched, deliveries: Sequence[PlannedDelivery]) -> None:
        """Publish just the deliveries that the ledger returned: the others of the copy are done, or on their way."""
        if not deliveries:
            return
        content = await self._content(mail, len(deliveries))
        jobs = [_job(mail, delivery, content) for delivery in deliveries]
        if len(jobs) == 1:  # most mail
            await self._publish_job(jobs[0])
            return
        async with asyncio.TaskGroup() as publishing:  # their confirmations share one wait
            for job in jobs:
                publishing.create_task(self._publish_job(job))

    async def _publish_job(self, job: DeliveryJob) -> None:
        if self._broker.volatile:
            await self._publish_or_leave(job)
        else:
            await self._broker.publish(jobs_queue(job.target), encode(job), message_id=job.delivery_id)
        reach("router.amid_publish")

    async def _publish_or_leave(self, job: DeliveryJob) -> None:
        """Publish, unless the target's queue has no room: its mail must not hold up that of other targets.

        What is left stands in the ledger, its bytes in a blob, and the sweeper publishes it once there is room.
        """
        queue, now = jobs_queue(job.target), asyncio.get_running_loop().time()
        if self._full.get(queue, 0.0) <= now:
            body = encode(job)
            if await publish_within(ROOM_SECONDS, self._broker, queue, body, message_id=job.delivery_id):
                return
            self._full[queue] = now + FULL_SECONDS
        if isinstance(job.content, Inline):
            await self._keep(job.mail_id, job.content)
        self._log.info("job_left_to_sweeper", mail=job.mail_id, delivery=job.delivery_id, target=job.target)

    def _report(self, log: FilteringBoundLogger, recipients: Recipients, routed: RoutedMail, route: Route) -> None:
        if route.stale:
            log.info("mail_stale", fetches=routed.fetches)
        elif routed.quarantine is not None:
            log.warning("mail_quarantined", reason=routed.quarantine)
        else:
            rules = tuple(str(recipient.rule) for recipient in recipients.recipients)
            for rule in rules:
                self._metrics.count(ROUTED, rule)
            self._metrics.count(COPIES_JOINED, by=route.joined)
            log.info(
                "mail_routed",
                recipients=recipients.addresses,
                rules=rules,
                joined=route.joined,
                fallback=recipients.fallback,
                why=recipients.why,
            )

    async def _content(self, mail: MailFetched, jobs: int) -> Content:
        """Return the content as so many jobs carry it: many copies of a large mail are one blob."""
        content = mail.content
        if isinstance(content, Blob):
            return Blob(key=content.key, size=content.size)
        if content.size * jobs <= MAX_INLINE_FAN_OUT:
            return content
        await self._keep(mail.mail_id, content)
        return Blob(key=mail.mail_id, size=content.size)

    async def _keep(self, mail_id: str, content: Inline) -> None:
        """Make an inline mail a blob; where that fails, the message goes back to its queue, and is routed again."""
        try:
            await self._blobs.put(mail_id, content.data)
        except OSError as error:
            self._log.warning("blob_not_written", mail=mail_id, error=error.strerror)
            raise


def _job(mail: MailFetched, delivery: PlannedDelivery, content: Content) -> DeliveryJob:
    """Return a delivery's job with this mail's bytes, also where an earlier mail of the copy began it.

    Copies differ only in what servers added, and the user wants one of them.
    """
    return DeliveryJob(
        delivery_id=delivery.delivery_id,
        mail_id=mail.mail_id,
        profile_id=delivery.profile_id,
        recipient=delivery.recipient,
        fallback=delivery.fallback,
        target=delivery.target,
        sender=delivery.sender,
        content=content,
        digest=mail.digest,
        size=content.size,
        source_host=delivery.source_host,
        attempt=delivery.attempt,
        first_attempt_at=delivery.created_at,
        reason=delivery.reason,
    )


def decision_on(mail: MailFetched, installation: str) -> tuple[Recipients, RoutedMail]:
    """Return who gets a mail and what the ledger is to record of it. Pure."""
    fields, cut = fields_of(mail.content.header), mail.content.header_cut
    recipients = recipients_in(fields, mail.policy, header_cut=cut)
    # Without distribution there is one recipient a mail, and nothing to join.
    fingerprint = fingerprint_of(fields, mail.body_digest, header_cut=cut) if mail.policy.distribute else None
    loop = loop_reason(fields, installation, recipients.addresses)
    return recipients, _routed(mail, recipients, fingerprint=fingerprint, quarantine=loop)


def _routed(
    mail: MailFetched, recipients: Recipients, *, fingerprint: str | None, quarantine: str | None
) -> RoutedMail:
    return RoutedMail(
        mail_id=mail.mail_id,
        mailbox=mail.mailbox,
        profile_id=mail.profile_id,
        fetches=mail.fetches,
        fingerprint=fingerprint,
        digest=mail.digest,
        recipients=tuple(
            PlannedRecipient(address=recipient.address, reason=recipient.reason) for recipient in recipients.recipients
        ),
        fallback=mail.policy.fallback,
        target=mail.target,
        sender=recipients.sender,
        source_host=mail.source_host,
        quarantine=quarantine,
    )
