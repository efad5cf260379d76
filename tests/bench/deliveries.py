"""Deliveries a second to Dovecot's LMTP and into Maildirs, and what a sick target beside it costs a healthy one.

`make deliveries`. A measurement, not a test: what it prints depends on the machine.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from common.broker import OUTCOMES, Ack, Settlement, jobs_queue
from common.folder_blobs import FolderBlobs
from common.ledger import Ledger
from common.memory_broker import MemoryBroker
from common.messages import DeliveryJob, DeliveryOutcome, Result, decode, encode
from deliverer.target import TargetOptions
from deliverer.work import DelivererWorker
from tests.deliveries import LOG, deliver, job_of, target_of
from tests.ledger import Scene
from tests.mails import mail
from tests.servers.dovecot import Dovecot
from tests.servers.process import free_port
from tests.servers.smtp import GREETING, Act, SmtpServer

SIZE: Final = 4_000
RECIPIENT: Final = "ann@example.com"


def say(line: str) -> None:
    """Print a figure as soon as it is known."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def rate(url: str, count: int, connections: int) -> float:
    """Return deliveries a second, by the target alone: no claims, no outcomes."""
    target = target_of(TargetOptions(url=url, connections=connections))
    jobs = iter([job_of(mail(to=RECIPIENT, size=SIZE), recipient=RECIPIENT) for _ in range(count)])

    async def work() -> None:
        for job in jobs:
            attempt = await deliver(target, job)
            assert attempt.result is Result.DELIVERED, attempt

    began = time.monotonic()
    await asyncio.gather(*(work() for _ in range(connections)))
    took = time.monotonic() - began
    await target.close()
    return count / took


async def jobs_for(ledger: Ledger, targets: Sequence[str], count: int) -> list[DeliveryJob]:
    """Record `count` routed mails for each target, and return the jobs of their deliveries, taking turns."""
    uidls = [f"{target}-{number}".encode() for number in range(count) for target in targets]
    scene = await Scene.begin(ledger, *uidls)
    await asyncio.gather(*(scene.fetch(uidl) for uidl in uidls))
    names = [uidl.decode().partition("-")[0] for uidl in uidls]
    routes = await asyncio.gather(
        *(scene.route(uidl, RECIPIENT, target=name) for uidl, name in zip(uidls, names, strict=True))
    )
    raw = mail(to=RECIPIENT, size=SIZE)
    return [
        job_of(raw, recipient=RECIPIENT, delivery_id=one.delivery_id, mail_id=one.mail_id, target=one.target)
        for route in routes
        for one in route.deliveries
    ]


@asynccontextmanager
async def broker_at_work() -> AsyncIterator[tuple[MemoryBroker, "asyncio.Queue[DeliveryOutcome]"]]:
    """Run a broker whose outcomes are collected."""
    broker = MemoryBroker(LOG)
    outcomes: asyncio.Queue[DeliveryOutcome] = asyncio.Queue()

    async def collect(body: bytes) -> Settlement:
        outcomes.put_nowait(decode(body, DeliveryOutcome))
        return Ack()

    await broker.consume(OUTCOMES, collect, prefetch=100)
    try:
        yield broker, outcomes
    finally:
        await broker.close()


async def seconds_of_the_healthy(urls: dict[str, str], count: int) -> float:
    """Return how long the target `up` takes for its mails, through claims, queues and outcomes, beside the others."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = await Ledger.open("sqlite:///pps.db", base=Path(folder), log=structlog.get_logger())
        async with broker_at_work() as (broker, outcomes):
            jobs = await jobs_for(ledger, list(urls), count)
            for job in jobs:
                await broker.publish(jobs_queue(job.target), encode(job), message_id=job.delivery_id)
            targets = {name: target_of(TargetOptions(url=url)) for name, url in urls.items()}
            blobs = FolderBlobs(Path(folder) / "blobs")
            worker = DelivererWorker(broker=broker, ledger=ledger, blobs=blobs, targets=targets, log=LOG)
            stop = asyncio.Event()
            began = time.monotonic()
            working = asyncio.create_task(worker.run(stop))
            for _ in range(count):
                outcome = await outcomes.get()
                assert (outcome.target, outcome.result) == ("up", Result.DELIVERED), outcome
            took = time.monotonic() - began
            stop.set()
            await working
        await ledger.close()
    return took


async def measure(count: int) -> None:
    """Print all figures."""
    with Dovecot() as dovecot, tempfile.TemporaryDirectory() as folder:
        lmtp = f"lmtp://127.0.0.1:{dovecot.lmtp_port}"
        for name, url in {"Dovecot LMTP": lmtp, "Maildir": f"maildir:{folder}/{{user}}?create=yes"}.items():
            for connections in (1, 16):
                found = await rate(url, count, connections)
                say(f"{name}, {connections} connections: {found:.0f} deliveries/s")
        alone = await seconds_of_the_healthy({"up": lmtp}, count)
        say(f"healthy target alone: {alone:.1f} s for {count} mails")
        down = f"smtp://127.0.0.1:{free_port()}"
        beside = await seconds_of_the_healthy({"up": lmtp, "down": down}, count)
        say(f"beside a target that is down: {beside:.1f} s, ratio {beside / alone:.2f}")
        async with SmtpServer() as silent:
            silent.replies(GREETING, Act.HANG)
            beside = await seconds_of_the_healthy({"up": lmtp, "silent": silent.url}, count)
        say(f"beside a target that says nothing: {beside:.1f} s, ratio {beside / alone:.2f}")


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=1000)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(measure(parser.parse_args().count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
