"""The deliverer worker between a real embedded broker, a real SQLite ledger, real blobs and a scripted server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from common.broker import DEAD, OUTCOMES, Ack, Settlement, jobs_queue
from common.folder_blobs import FolderBlobs
from common.ledger import Ledger
from common.ledger.claiming import HeldClaim
from common.ledger.records import Claim, ClaimRequest
from common.memory_broker import MemoryBroker
from common.messages import DeliveryJob, DeliveryOutcome, Result, Stage, decode, encode
from common.metrics import Metrics, new_metrics
from deliverer import lane
from deliverer.claim import JobClaim
from deliverer.make import make_target
from deliverer.target import TargetOptions
from deliverer.work import DelivererWorker
from tests.deliveries import MAIL, job_of
from tests.ledger import Scene, change
from tests.maildir import messages
from tests.scraped import Scraped
from tests.servers.smtp import DOT, Act, SmtpServer
from tests.status import status_of


@dataclass(slots=True, kw_only=True, eq=False)
class Bench:
    """A deliverer with all its neighbours."""

    ledger: Ledger
    broker: MemoryBroker
    blobs: FolderBlobs
    log: FilteringBoundLogger
    events: asyncio.Queue[EventDict]
    outcomes: asyncio.Queue[DeliveryOutcome] = field(default_factory=asyncio.Queue)
    scene: Scene | None = None
    count: int = 0
    metrics: Metrics = field(default_factory=lambda: new_metrics(shown=True))

    async def job(self, recipient: str = "ann@example.com", raw: bytes = MAIL, **more: Any) -> DeliveryJob:  # noqa: ANN401 (those of job_of)
        """Record a routed mail, return the job of its one delivery."""
        self.scene = self.scene or await Scene.begin(self.ledger)
        self.count += 1
        uidl = b"u%d" % self.count
        await self.scene.list(*(b"u%d" % n for n in range(1, self.count + 1)))
        await self.scene.fetch(uidl)
        (planned,) = (await self.scene.route(uidl, recipient)).deliveries
        return job_of(raw, recipient=recipient, delivery_id=planned.delivery_id, mail_id=planned.mail_id, **more)

    async def publish(self, *jobs: DeliveryJob) -> None:
        """Put jobs into their targets' queues."""
        for job in jobs:
            await self.broker.publish(jobs_queue(job.target), encode(job), message_id=job.delivery_id)

    async def outcome(self) -> DeliveryOutcome:
        """Wait for the next outcome."""
        return await self.outcomes.get()

    async def heard(self, event: str) -> EventDict:
        """Wait until the log tells of an event."""
        while (said := await self.events.get())["event"] != event:
            pass
        return said

    async def claim(self, job: DeliveryJob, *, repeatable: bool = False) -> Claim:
        """Ask the ledger for a claim, as another deliverer would."""
        request = ClaimRequest(delivery_id=job.delivery_id, attempt=job.attempt, repeatable=repeatable)
        return (await self.ledger.claim(request)).claim

    async def waiting(self, target: str = "local") -> int:
        """Return how many jobs wait in a target's queue."""
        return (await self.broker.depth(jobs_queue(target))).ready

    @asynccontextmanager
    async def working(self, **urls: str) -> AsyncIterator[asyncio.Event]:
        """Run a deliverer with these targets; stop it at the end, or when the event is set."""
        targets = {
            name: make_target(name, TargetOptions(url=url), installation=self.ledger.installation, log=self.log)
            for name, url in urls.items()
        }
        worker = DelivererWorker(
            broker=self.broker,
            ledger=self.ledger,
            blobs=self.blobs,
            targets=targets,
            log=self.log,
            prefetch=10,
            metrics=self.metrics,
        )
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        try:
            yield stop
        finally:
            stop.set()
            await running


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Open everything but the deliverer, and collect outcomes."""
    events: asyncio.Queue[EventDict] = asyncio.Queue()

    def keep(_logger: object, _method: str, event: EventDict) -> EventDict:
        events.put_nowait(dict(event))
        raise structlog.DropEvent

    log: FilteringBoundLogger = structlog.wrap_logger(
        None, processors=[keep], wrapper_class=structlog.make_filtering_bound_logger("info")
    )
    ledger = await Ledger.open("sqlite:///pps.db", base=tmp_path, log=log)
    broker = MemoryBroker(log)
    bench = Bench(ledger=ledger, broker=broker, blobs=FolderBlobs(tmp_path / "blobs"), log=log, events=events)

    async def collect(body: bytes) -> Settlement:
        bench.outcomes.put_nowait(decode(body, DeliveryOutcome))
        return Ack()

    await broker.consume(OUTCOMES, collect, prefetch=10)
    yield bench
    await broker.close()
    await ledger.close()


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    """Run a server that takes everything, until it is told otherwise."""
    async with SmtpServer() as server:
        yield server


def in_tmp_and_new(folder: Path) -> Sequence[Path]:
    """Return the files of a Maildir."""
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_job_becomes_a_delivery_and_an_outcome(bench: Bench, server: SmtpServer) -> None:
    """The outcome carries the target's words, and the attempt is one line in the log."""
    job = await bench.job()
    async with bench.working(local=server.url):
        await bench.publish(job)
        outcome = await bench.outcome()

    assert (outcome.result, outcome.delivery_id, outcome.attempt) == (Result.DELIVERED, job.delivery_id, 1)
    assert (outcome.reply, outcome.enhanced, outcome.target) == ("250 2.0.0 Saved", "2.0.0", "local")
    said = await bench.heard("delivery_attempted")
    assert (said["delivery"], said["result"], said["stage"]) == (job.delivery_id, "delivered", "dot")
    assert len(server.inbox("ann")) == 1
    assert not await bench.blobs.exists(job.mail_id)


async def test_job_that_comes_twice_is_delivered_once(bench: Bench, server: SmtpServer) -> None:
    """The claim drops the second message, without an outcome."""
    job = await bench.job()
    after = await bench.job("bob@example.com")
    async with bench.working(local=server.url):
        await bench.publish(job, job, after)
        first, second = await bench.outcome(), await bench.outcome()

    assert {first.delivery_id, second.delivery_id} == {job.delivery_id, after.delivery_id}
    assert len(server.inbox("ann")) == 1


@pytest.mark.parametrize(
    ("step", "answer", "result"),
    [
        ("RCPT", "450 4.2.0 later", Result.DEFERRED),
        ("RCPT", "550 5.1.1 no such user", Result.REFUSED),
        (DOT, "554 5.6.0 no", Result.REFUSED),
        (DOT, Act.CUT, Result.AMBIGUOUS),
    ],
)
async def test_bytes_are_kept_before_any_outcome_but_delivered(
    bench: Bench, server: SmtpServer, step: str, answer: str | Act, result: Result
) -> None:
    """A retry, or the fallback user, finds the mail as a blob."""
    server.replies(step, answer)
    job = await bench.job()
    async with bench.working(local=server.url):
        await bench.publish(job)
        outcome = await bench.outcome()

    assert outcome.result is result
    assert b"".join([chunk async for chunk in bench.blobs.stream(job.mail_id)]) == MAIL


@pytest.mark.parametrize(
    ("reply", "user", "counted"),
    [
        (("RCPT", "250 ok"), "ann", "delivered"),
        (("RCPT", "450 4.2.0 later"), "ann", "deferred"),
        (("RCPT", "550 5.1.1 no such user"), "ann", "redirected"),
        (("RCPT", "550 5.1.1 no such user"), "postmaster", "refused"),
        ((DOT, "554 5.6.0 no"), "ann", "refused"),
        ((DOT, Act.CUT), "ann", "ambiguous"),
    ],
)
async def test_each_attempt_is_counted_by_what_follows(
    bench: Bench, server: SmtpServer, reply: tuple[str, str | Act], user: str, counted: str
) -> None:
    """Once, and its age if it was delivered; the fallback user has nobody who gets what he is refused."""
    server.replies(*reply)
    job = await bench.job(f"{user}@local.example")
    async with bench.working(local=server.url):
        await bench.publish(job)
        await bench.outcome()

    shown = Scraped.read((await bench.metrics.page()).decode())
    assert shown.by("deliveries_total", "result") == {counted: 1}
    assert shown.by("deliveries_total", "transport") == {"smtp": 1}
    assert shown.by("delivery_seconds_count", "transport") == ({"smtp": 1} if counted == "delivered" else {})


async def test_an_outage_is_no_attempt_to_count(bench: Bench, server: SmtpServer) -> None:
    """The target is paused, which has a number of its own; the success rate of deliveries tells of answers."""
    await server.stop()
    async with bench.working(local=server.url):
        await bench.publish(await bench.job())
        await bench.heard("target_paused")

    assert Scraped.read((await bench.metrics.page()).decode()).by("deliveries_total", "result") == {}


async def test_what_is_no_job_is_buried(bench: Bench, server: SmtpServer) -> None:
    """Undecodable bytes, and a job for another target, never come back."""
    stray = await bench.job(target="other")
    async with bench.working(local=server.url):
        await bench.broker.publish(jobs_queue("local"), b"not a job", message_id="x")
        await bench.broker.publish(jobs_queue("local"), encode(stray), message_id="y")
        await bench.publish(await bench.job())
        await bench.outcome()

    assert (await bench.broker.depth(DEAD)).ready == 2
    assert len(server.deliveries) == 1


async def test_claim_that_ran_out_is_ambiguous_over_smtp(bench: Bench, server: SmtpServer) -> None:
    """A deliverer died at it: the mail may be there, so it is not sent again at once, and its bytes are kept."""
    job = await bench.job()
    await bench.claim(job)
    await change(bench.ledger, "UPDATE deliveries SET claimed_until = 1")
    async with bench.working(local=server.url):
        await bench.publish(job)
        outcome = await bench.outcome()

    assert (outcome.result, outcome.stage) == (Result.AMBIGUOUS, Stage.CLAIM)
    assert server.deliveries == []
    assert await bench.blobs.exists(job.mail_id)


async def test_claim_that_ran_out_is_simply_made_again_in_a_maildir(bench: Bench, tmp_path: Path) -> None:
    """Equal bytes under the same name: the second attempt finds the first one's mail."""
    job = await bench.job()
    url = f"maildir:{tmp_path}/mail/{{user}}?create=yes"
    async with bench.working(local=url):
        await bench.publish(job)
        await bench.outcome()
        await change(bench.ledger, "UPDATE deliveries SET claimed_until = 1")
        await bench.publish(job)
        outcome = await bench.outcome()

    assert outcome.result is Result.DELIVERED
    assert len(messages(tmp_path / "mail" / "ann")) == 1
    assert len(in_tmp_and_new(tmp_path / "mail" / "ann")) == 1


async def test_missing_blob_asks_for_the_mail_again(bench: Bench, server: SmtpServer) -> None:
    """Nothing is sent, and the claim is given back, for the mail that is fetched again comes with this attempt."""
    job = await bench.job(blob=True)
    async with bench.working(local=server.url):
        await bench.publish(job)
        outcome = await bench.outcome()

    assert outcome.result is Result.NO_CONTENT
    assert server.dots == 0
    assert await bench.claim(job) is Claim.AGAIN


async def test_outage_pauses_the_target_and_counts_nothing(bench: Bench, server: SmtpServer) -> None:
    """Jobs wait while nobody listens; once the target is back they are delivered, as first attempts."""
    await server.stop()
    jobs = [await bench.job() for _ in range(5)]
    async with bench.working(local=server.url):
        await bench.publish(*jobs)
        paused = await bench.heard("target_paused")
        assert "local" in await bench.ledger.paused_targets()
        await server.start()
        await bench.heard("target_resumed")
        outcomes = [await bench.outcome() for _ in jobs]

    assert paused["reason"]
    assert {(outcome.result, outcome.attempt) for outcome in outcomes} == {(Result.DELIVERED, 1)}
    assert await bench.ledger.paused_targets() == {}
    assert len(server.deliveries) == 5


async def test_a_target_that_takes_connections_but_no_mail_is_down_all_along(bench: Bench, server: SmtpServer) -> None:
    """It wants a sign-in that nobody configured: each probe succeeds, yet it is one outage, that people are told of."""
    server.replies("MAIL", "530 5.7.0 Authentication required")
    async with bench.working(local=server.url):
        await bench.publish(await bench.job())
        await bench.heard("target_paused")
        [first] = (await status_of(bench.ledger)).targets
        await bench.heard("target_resumed")
        await bench.heard("target_paused")
        [second] = (await status_of(bench.ledger)).targets

    assert second.paused_since == first.paused_since


async def test_held_target_takes_nothing_until_the_hold_ends(
    bench: Bench, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger doubts its user table: its jobs wait, although it would take them; then they are first attempts."""
    monkeypatch.setattr(lane, "HOLD_LOOK_SECONDS", 0.01)
    job = await bench.job()
    await bench.ledger.pause_target("local", "makes the row", 1)
    await change(bench.ledger, "UPDATE targets SET held_until = 9999999999999, doubt = 'its user table'")
    async with bench.working(local=server.url):
        await bench.publish(job)
        held = await bench.heard("target_held")
        assert server.commands == []
        await change(bench.ledger, "UPDATE targets SET held_until = NULL")
        outcome = await bench.outcome()

    assert held["reason"] == "its user table"
    assert (outcome.result, outcome.attempt) == (Result.DELIVERED, 1)


async def test_dead_target_holds_up_only_its_own_mail(bench: Bench, server: SmtpServer) -> None:
    """Each target has its queue and its lane."""
    dead = await bench.job(target="dead")
    alive = await bench.job("bob@example.com")
    async with bench.working(dead="smtp://127.0.0.1:1", local=server.url):
        await bench.publish(dead)
        await bench.heard("target_paused")
        await bench.publish(alive)
        outcome = await bench.outcome()

    assert outcome.delivery_id == alive.delivery_id
    assert await bench.waiting("dead") == 1
    assert await bench.claim(dead) is Claim.AGAIN


async def test_stopped_before_the_dot_a_delivery_never_happened(
    bench: Bench, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim is given back and the job is in its queue again: the next worker just does it."""
    monkeypatch.setattr(lane, "STOP_SECONDS", 0.05)
    server.replies("RCPT", Act.HANG)
    job = await bench.job()
    async with bench.working(local=server.url):
        await bench.publish(job)
        await server.hung.wait()

    assert await bench.waiting() == 1
    assert bench.outcomes.empty()
    server.replies("RCPT", "250 ok")
    async with bench.working(local=server.url):
        assert (await bench.outcome()).result is Result.DELIVERED
    assert server.dots == 1


async def test_stopped_after_the_dot_the_doubt_stays(
    bench: Bench, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mail may be there: its claim is left to run out, and nobody sends it again before a judgement."""
    monkeypatch.setattr(lane, "STOP_SECONDS", 0.05)
    server.replies(DOT, Act.HANG)
    job = await bench.job()
    async with bench.working(local=server.url):
        await bench.publish(job)
        await server.hung.wait()

    assert await bench.waiting() == 1
    assert await bench.claim(job) is Claim.DENIED
    await change(bench.ledger, "UPDATE deliveries SET claimed_until = 1")
    async with bench.working(local=server.url):
        assert (await bench.outcome()).result is Result.AMBIGUOUS
    assert server.dots == 1


async def test_delivery_under_way_is_finished_at_stop(bench: Bench, server: SmtpServer) -> None:
    """A stop waits for what has begun: its outcome is published before the worker returns."""
    server.replies(DOT, Act.HANG, "250 2.0.0 Saved")
    jobs = [await bench.job() for _ in range(10)]
    async with bench.working(local=server.url):
        await bench.publish(*jobs)
        await server.hung.wait()
        for _ in range(9):
            assert (await bench.outcome()).result is Result.DELIVERED
        await server.stop()

    assert (await bench.outcome()).result is Result.AMBIGUOUS


async def test_claim_is_confirmed_only_while_it_is_held(bench: Bench) -> None:
    """A claim with little left is renewed before the dot; one that another took says no."""
    job = await bench.job()
    claim = JobClaim(bench.ledger, job, repeatable=True)
    assert await claim.take() is Claim.FIRST
    claim._until = 0.0  # as after a long stop of this process

    assert await claim.confirm()
    await change(bench.ledger, "UPDATE deliveries SET claimed_until = 1")
    claim._until = 0.0
    assert await bench.claim(job, repeatable=True) is Claim.AGAIN
    assert not await claim.confirm()


@pytest.mark.parametrize(
    ("repeatable", "final", "found"),
    [
        (False, False, Claim.AGAIN),
        (False, True, Claim.DENIED),
        (True, True, Claim.AGAIN),
    ],
)
async def test_claim_given_back_is_free_unless_doubt_must_show(
    bench: Bench,
    repeatable: bool,  # noqa: FBT001 (a case)
    final: bool,  # noqa: FBT001 (a case)
    found: Claim,
) -> None:
    """After the final step was allowed only time or an outcome ends a claim, except where a repeat finds the mail."""
    job = await bench.job()
    claim = JobClaim(bench.ledger, job, repeatable=repeatable)
    await claim.take()
    if final:
        await claim.confirm()

    await claim.give_back()

    assert await bench.claim(job, repeatable=repeatable) is found


async def test_claim_cancelled_while_it_is_taken_is_still_given_back(bench: Bench) -> None:
    """The ledger may have granted it already: forgotten, it would run out, and count as doubt."""
    job = await bench.job()
    claim = JobClaim(bench.ledger, job, repeatable=False)
    taking = asyncio.create_task(claim.take())
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the request is with the writer now
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking

    assert isinstance(claim._held, HeldClaim)
    await claim.give_back()
    assert await bench.claim(job) is Claim.AGAIN
