"""What is done with one job: claim → deliver → outcome → ack, in this order."""

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore, NoBlobError
from common.broker import OUTCOMES, Ack, Broker, Dead, Requeue, Settlement
from common.crashpoints import reach
from common.failures import Scope, names_no_user
from common.ledger import Ledger
from common.ledger.records import Claim
from common.messages import (
    DeliveryJob,
    DeliveryOutcome,
    Inline,
    Result,
    Stage,
    UndecodableError,
    decode,
    encode,
    made_at,
    one_line,
)
from common.metrics import NO_METRICS, Metrics
from common.metrics.definitions import DELIVERIES, DELIVERY_SECONDS
from deliverer.attempt import Attempt
from deliverer.breaker import Breaker
from deliverer.claim import JobClaim, to_the_end
from deliverer.content import ContentSource, ContentUnavailableError
from deliverer.target import ClaimLostError, Target
from deliverer.told import Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every lane of a worker shares."""

    broker: Broker
    ledger: Ledger
    blobs: BlobStore
    told: Told
    metrics: Metrics = NO_METRICS


class Jobs:
    """Handles the jobs of one target; what their attempts tell of the target goes to its breaker."""

    def __init__(
        self, name: str, target: Target, breaker: Breaker, services: Services, log: FilteringBoundLogger
    ) -> None:
        self.name = name
        self.target = target
        self.breaker = breaker
        doubts = target.most_in_doubt
        self._doubts = None if doubts is None else asyncio.Semaphore(doubts)
        self._broker = services.broker
        self._ledger = services.ledger
        self._blobs = services.blobs
        self._told = services.told
        self._metrics = services.metrics
        self._log = log
        self._undoable: set[asyncio.Task[object]] = set()  # handlers whose mail has not come to its final step

    def hand_back(self) -> None:
        """Cut what has not come to the step that can't be taken back: it never happened, and its job goes back."""
        for task in self._undoable:
            task.cancel()

    async def handle(self, body: bytes) -> Settlement:
        """Make the attempt that a message asks for. Cancelled before the final step, it never happened."""
        try:
            job = decode(body, DeliveryJob)
        except UndecodableError as error:
            return Dead(str(error))
        if job.target != self.name:
            return Dead(f"a job for the target {job.target}")
        claim = JobClaim(self._ledger, job, repeatable=self.target.repeatable)
        try:
            return await self._handle(job, claim)
        except BaseException:
            await claim.give_back()
            raise

    async def _handle(self, job: DeliveryJob, claim: JobClaim) -> Settlement:
        taken = await claim.take()
        if taken is Claim.DENIED:  # done, in another's hands, or unknown to the ledger
            self._log.info("job_dropped", mail=job.mail_id, delivery=job.delivery_id, attempt=job.attempt)
            return Ack()
        if taken is Claim.HELD:
            self.breaker.hold("held by the ledger")
            return Requeue()
        if taken is Claim.EXPIRED:
            await self._conclude(job, _expired())
            return Ack()
        reach("deliverer.after_claim")  # a crash from here on leaves a claim that runs out
        async with AsyncExitStack() as doubt:
            return await self._deliver(job, claim, doubt, again=taken is Claim.AGAIN)

    async def _deliver(self, job: DeliveryJob, claim: JobClaim, doubt: AsyncExitStack, *, again: bool) -> Settlement:
        attempt = await self._attempt(job, claim, doubt, again=again)
        if attempt is None:
            return Ack()  # another has the job by now
        if attempt.is_outage:
            self._report(job, attempt)
            await claim.give_back()
            return Requeue()
        if attempt.result is Result.NO_CONTENT:
            await claim.give_back()  # before the outcome: the mail that is fetched again comes with this same attempt
        await self._conclude(job, attempt)
        return Ack()

    async def _attempt(
        self, job: DeliveryJob, claim: JobClaim, doubt: AsyncExitStack, *, again: bool
    ) -> Attempt | None:
        async def before_dot() -> bool:
            if self._doubts is not None:  # held until others know how it went: a crash doubles no more than these
                await doubt.enter_async_context(self._doubts)
            held = await claim.confirm()
            self._undoable.discard(task)
            return held

        content = ContentSource.of(job, self._blobs)
        task = _current_task()
        self._undoable.add(task)
        try:
            async with claim.kept():
                attempt = await self.target.deliver(job, content, again=again, before_dot=before_dot)
        except ClaimLostError:
            self._log.warning("claim_lost", delivery=job.delivery_id, attempt=job.attempt)
            return None
        except NoBlobError as error:
            return _not_delivered(Result.NO_CONTENT, Stage.DATA, str(error))
        except ContentUnavailableError as error:
            return _not_delivered(Result.DEFERRED, Stage.DATA, f"the blob store can't be read: {error}")
        except Exception as error:  # noqa: BLE001 (a broken target or mail must not take the worker with it)
            # A fault of ours must not hold up the queue: it counts, so that it ends with a person.
            self._log.exception("delivery_failed", delivery=job.delivery_id)
            result, stage = (Result.AMBIGUOUS, Stage.DOT) if claim.final else (Result.DEFERRED, Stage.DATA)
            return _not_delivered(result, stage, f"internal error: {type(error).__name__}")
        finally:
            self._undoable.discard(task)
        self.breaker.saw(job.mail_id, attempt)
        return attempt

    async def _conclude(self, job: DeliveryJob, attempt: Attempt) -> None:
        self._report(job, attempt)
        self._count(job, attempt)
        if attempt.result is not Result.DELIVERED:
            await self._keep_bytes(job)
        # Once something was sent, how it went must become known: a cancellation waits for the confirmation.
        body = encode(_outcome(job, attempt, refused_to=self.target.refused_to))
        await to_the_end(self._broker.publish(OUTCOMES, body, message_id=job.delivery_id))
        if attempt.result is Result.DELIVERED and not self.target.repeatable:
            self._told.remember(job.delivery_id, body)
        reach("deliverer.after_outcome")  # a crash costs a second outcome, or a claim denied: nothing

    async def _keep_bytes(self, job: DeliveryJob) -> None:
        """Make an inline mail a blob, for the retry or the fallback user; without one it would be fetched again."""
        if not isinstance(job.content, Inline):
            return
        try:
            await self._blobs.put(job.mail_id, job.content.data)  # one that is there may be damaged
        except OSError as error:
            self._log.error("blob_not_written", mail=job.mail_id, error=error.strerror)

    def _count(self, job: DeliveryJob, attempt: Attempt) -> None:
        transport = self.target.transport
        no_user = attempt.result is Result.REFUSED and names_no_user(attempt.code, attempt.enhanced, attempt.stage)
        redirected = no_user and job.recipient != job.fallback
        self._metrics.count(DELIVERIES, transport, "redirected" if redirected else attempt.result)
        if attempt.result is Result.DELIVERED:
            with contextlib.suppress(ValueError):  # an id that came over a queue, and is no UUID
                listed_at = made_at(job.mail_id)  # that is when a mail gets its id
                self._metrics.observe(DELIVERY_SECONDS, max(0.0, time.time() - listed_at), transport)

    def _report(self, job: DeliveryJob, attempt: Attempt) -> None:
        self._log.info(
            "delivery_attempted",
            delivery=job.delivery_id,
            mail=job.mail_id,
            recipient=job.recipient,
            target=self.name,
            attempt=job.attempt,
            result=attempt.result.value,
            code=attempt.code,
            reply=attempt.reply,
            stage=attempt.stage.value,
            duration=round(attempt.duration, 3),
            counted=not attempt.is_outage,
        )


def _expired() -> Attempt:
    return Attempt(
        result=Result.AMBIGUOUS,
        stage=Stage.CLAIM,
        scope=Scope.MAIL,
        reply="a deliverer died at it: it may have been delivered",
    )


def _not_delivered(result: Result, stage: Stage, reason: str) -> Attempt:
    return Attempt(result=result, stage=stage, scope=Scope.MAIL, reply=one_line(reason))


def _outcome(job: DeliveryJob, attempt: Attempt, *, refused_to: str) -> DeliveryOutcome:
    return DeliveryOutcome(
        delivery_id=job.delivery_id,
        mail_id=job.mail_id,
        attempt=job.attempt,
        result=attempt.result,
        code=attempt.code,
        enhanced=attempt.enhanced,
        reply=attempt.reply,
        stage=attempt.stage,
        target=job.target,
        duration=attempt.duration,
        at=time.time_ns() // 1_000_000,
        refused_to=refused_to,
    )


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 (coroutines run in tasks; says so to the type checker)
    return task
