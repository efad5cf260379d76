"""A broker that loses `pps.outcomes`, a real RabbitMQ: what an SMTP server took is not sent to it again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from common.broker import OUTCOMES, Ack, Broker, Settlement, jobs_queue
from common.connect import connect_broker
from common.folder_blobs import FolderBlobs
from common.ledger import Ledger
from common.messages import DeliveryJob, DeliveryOutcome, Result, decode, encode
from deliverer import told
from deliverer.make import make_target
from deliverer.target import TargetOptions
from deliverer.work import DelivererWorker
from tests.deliveries import job_of
from tests.ledger import Scene, outcome
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.smtp import SmtpServer

LOG = structlog.get_logger()


@pytest.fixture
async def broker(rabbitmq: RabbitMQ) -> AsyncIterator[Broker]:
    """Connect to RabbitMQ, whose outcomes nobody has."""
    broker = await connect_broker(rabbitmq.url, role="run", log=LOG)
    yield broker
    await broker.close()


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    """Open a ledger."""
    ledger = await Ledger.open("sqlite:///pps.db", base=tmp_path, log=LOG)
    yield ledger
    await ledger.close()


class Lost:
    """Takes outcomes and settles nothing, as a queue that is deleted; those of other tests don't count."""

    def __init__(self) -> None:
        self.taken: dict[str, asyncio.Queue[DeliveryOutcome]] = {}

    async def __call__(self, body: bytes) -> Settlement:
        """Take one."""
        told_of = decode(body, DeliveryOutcome)
        self.of(told_of.delivery_id).put_nowait(told_of)
        return Ack()

    def of(self, delivery_id: str) -> asyncio.Queue[DeliveryOutcome]:
        """Return those of one delivery."""
        return self.taken.setdefault(delivery_id, asyncio.Queue())


async def a_job(ledger: Ledger) -> DeliveryJob:
    """Record a routed mail, and return the job of its one delivery."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    return job_of(recipient="ann@example.com", delivery_id=planned.delivery_id, mail_id=planned.mail_id)


async def test_an_outcome_that_was_lost_is_told_again(
    broker: Broker, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger learns that it was delivered before the claim's end would be doubt, and a second mail."""
    monkeypatch.setattr(told, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(told, "SETTLED_SECONDS", 0.0)
    job, lost = await a_job(ledger), Lost()
    consumption = await broker.consume(OUTCOMES, lost, prefetch=10)
    async with SmtpServer() as server, asyncio.timeout(60):
        target = make_target("local", TargetOptions(url=server.url), installation=ledger.installation, log=LOG)
        worker = DelivererWorker(
            broker=broker, ledger=ledger, blobs=FolderBlobs(tmp_path), targets={"local": target}, log=LOG
        )
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        try:
            await broker.publish(jobs_queue("local"), encode(job), message_id=job.delivery_id)
            first = await lost.of(job.delivery_id).get()
            assert await lost.of(job.delivery_id).get() == first
        finally:
            stop.set()
            await running
    await consumption.stop()

    assert first.result is Result.DELIVERED
    assert len(server.deliveries) == 1


async def test_what_is_settled_or_new_is_not_told_again(
    broker: Broker, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory of what is on its way, and of nothing that the ledger knows."""
    job, lost = await a_job(ledger), Lost()
    delivered = outcome(job.delivery_id, job.mail_id)
    consumption = await broker.consume(OUTCOMES, lost, prefetch=10)
    memory = told.Told(broker=broker, ledger=ledger, log=LOG)

    memory.remember(job.delivery_id, encode(delivered))
    await memory.look()
    assert memory.unsettled == 1
    assert job.delivery_id not in lost.taken

    monkeypatch.setattr(told, "SETTLED_SECONDS", 0.0)
    assert (await ledger.settle(delivered)).applied
    await memory.look()
    assert memory.unsettled == 0
    assert job.delivery_id not in lost.taken
    await consumption.stop()
