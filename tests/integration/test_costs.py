"""What a hundred mails cost in commits, syncs, messages and round trips: ceilings, so that no change makes them dear.

Counts, not times: they hardly depend on the machine. Each ceiling is about 1.5 times what is usually seen.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from common.broker import FETCHED, OUTCOMES, jobs_queue
from common.folder_blobs import FolderBlobs
from common.memory_broker import MemoryBroker
from common.rabbitmq.broker import RabbitBroker
from fetcher import sweep, witness
from fetcher.connection import Connection
from fetcher.sweep import Sweeper
from fetcher.witness import Witnesses
from tests.integration.service import MAILDIR, WAIT_SECONDS, Serving, catch_all, install
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.rabbitmq import RabbitMQ

MAILS: Final = 100

COMMITS: Final = 20
"""Seen 12 to 15: claim_due, listing, renew_leases, deleted, end_poll and the test's own set_due are one each; fetched,
routed, claimed and settled share the rest, for not all of a batch comes at once. One a mail and stage would be 500."""

BROKER_ROUND_TRIPS: Final = 12
"""Seen 3 to 7 waits for confirmation: one for each of three queues, as long as their publishes overlap."""

FOLDER_SYNCS: Final = 24
"""Seen 4 to 11 for a Maildir that is there: one covers all the mails linked before it began. It would be 100."""

NEW_MAILDIR_SYNCS: Final = 5
"""Its three folders, itself, and the folder of all Maildirs: each is made once, and durable before it is used."""

POP3_ROUND_TRIPS: Final = 10
"""Seen 7: CAPA, USER, PASS, LIST with UIDL, RETR (its replies overlap, NOOP's too), DELE, QUIT."""

CALLS: Final = 2_400
"""Seen 1,300 to 1,600 reads and writes, as the kernel counts them: of mails, ledger, log and the loop's own pipe, but
not of sockets. With RabbitMQ and PostgreSQL it is 700."""

OCTETS: Final = 5_000_000
"""Seen 2.1 to 3.3 million octets in those, for 26,000 octets of mail: SQLite writes each page that a commit changes,
and copies it later. A commit a mail and stage would be ten times that. With RabbitMQ and PostgreSQL it is 200,000."""

IDLE_COMMITS: Final = 4
"""Seen 4 for an empty mailbox: claim_due, listing, end_poll and the test's own set_due."""

IDLE_ROUND_TRIPS: Final = 6
"""CAPA, USER, PASS, LIST and QUIT; UIDL too where mail is kept."""


@dataclass(slots=True)
class Costs:
    """What was spent since `begin`."""

    publishes: Counter[str] = field(default_factory=Counter)
    syncs: Counter[str] = field(default_factory=Counter)  # of files, and of folders
    pop3: list[int] = field(default_factory=list)  # round trips of each session that ended well
    commits: int = 0
    broker: int = 0
    calls: int = 0  # of read, write and their kin on files
    octets: int = 0  # that went through them

    begun: tuple[asyncio.Event, ...] = ()  # the sweeper and the witness have done what they do at a start

    async def begin(self, service: Serving) -> None:
        """Forget what was spent before; what a start costs is over by then."""
        async with asyncio.timeout(WAIT_SECONDS):
            for event in self.begun:
                await event.wait()
        self.publishes.clear()
        self.syncs.clear()
        self.pop3.clear()
        self.commits, self.broker = service.parts.ledger.commits, service.parts.broker.round_trips
        self.calls, self.octets = file_work()

    def end(self, service: Serving) -> None:
        """Take stock."""
        self.commits = service.parts.ledger.commits - self.commits
        self.broker = service.parts.broker.round_trips - self.broker
        calls, octets = file_work()
        self.calls, self.octets = calls - self.calls, octets - self.octets


def file_work() -> tuple[int, int]:
    """Return how often this process read or wrote, and how many octets: what the kernel has counted so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    count = {name: int(value) for name, value in (line.split(": ") for line in lines)}
    return count["syscr"] + count["syscw"], count["rchar"] + count["wchar"]


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Costs:
    """Count from now on; the sweeper and the ledger's witness, which work by the clock, rest."""
    costs = Costs()
    monkeypatch.setattr(sweep, "INTERVAL_SECONDS", 3600.0)
    monkeypatch.setattr(witness, "SECONDS", 3600.0)
    costs.begun = (_after(monkeypatch, Sweeper, "_pause", before=True), _after(monkeypatch, Witnesses, "look"))
    for kind in (MemoryBroker, RabbitBroker):
        monkeypatch.setattr(kind, "publish", _counted_publish(kind.publish, costs))
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, _counted_sync(getattr(os, name), costs))
    quit_before = Connection.quit

    async def counted_quit(self: Connection) -> None:
        await quit_before(self)
        costs.pop3.append(self.round_trips)

    monkeypatch.setattr(Connection, "quit", counted_quit)
    return costs


def _after(monkeypatch: pytest.MonkeyPatch, kind: type, name: str, *, before: bool = False) -> asyncio.Event:
    """Return an event that is set once a method has run, or is about to."""
    event, method = asyncio.Event(), getattr(kind, name)

    async def told(*arguments: object) -> None:
        if before:
            event.set()
        await method(*arguments)
        event.set()

    monkeypatch.setattr(kind, name, told)
    return event


def _counted_publish(publish: Callable[..., Any], costs: Costs) -> Callable[..., Any]:
    async def counted(self: object, queue: str, body: bytes, *, message_id: str) -> None:
        costs.publishes[queue] += 1
        await publish(self, queue, body, message_id=message_id)

    return counted


def _counted_sync(sync: Callable[[int], None], costs: Costs) -> Callable[[int], None]:
    def counted(descriptor: int) -> None:
        costs.syncs["folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else "file"] += 1
        sync(descriptor)

    return counted


@asynccontextmanager
async def after_an_empty_poll(mailbox: Mailbox, folder: Path, **service: str) -> AsyncIterator[Serving]:
    """Run a service whose first poll found nothing: what follows is not its start."""
    there = install(
        folder, catch_all(mailbox, interval="1h", target="costs"), targets={"costs": {"url": MAILDIR}}, **service
    )
    if service:
        assert (await asyncio.to_thread(there.pps, "migrate")).code == 0
    async with there.serving() as serving:
        await serving.until(lambda status: status.profiles[0].last_result == "empty")
        yield serving


async def pulled(service: Serving, costs: Costs, mailbox: Mailbox, *mails: bytes) -> None:
    """Plant mails, poll, and count what that costs until they are deleted."""
    mailbox.plant(*mails)
    await costs.begin(service)
    stands = await service.poll()
    costs.end(service)
    assert stands.mails.get("deleted", 0) == sum(stands.mails.values())
    assert mailbox.remaining() == []


def hundred(to: str = "ann@local.example") -> list[bytes]:
    """Return a hundred small mails."""
    return [mail(to=to) for _ in range(MAILS)]


def assert_cheap(costs: Costs) -> None:
    """Hold a batch of a hundred mails to one user against the ceilings that don't depend on the Maildir's age."""
    assert costs.commits <= COMMITS, costs
    assert costs.broker <= BROKER_ROUND_TRIPS, costs
    assert costs.publishes == {FETCHED: MAILS, jobs_queue("costs"): MAILS, OUTCOMES: MAILS}
    assert costs.syncs["file"] == MAILS
    assert len(costs.pop3) == 1
    assert costs.pop3[0] <= POP3_ROUND_TRIPS, costs
    assert costs.calls <= CALLS, costs
    assert costs.octets <= OCTETS, costs


async def test_a_hundred_mails_in_one_process(mailbox: Mailbox, tmp_path: Path, costs: Costs) -> None:
    """With SQLite and the embedded broker; the second hundred finds the Maildir made."""
    async with after_an_empty_poll(mailbox, tmp_path) as service:
        await pulled(service, costs, mailbox, *hundred())
        assert_cheap(costs)
        assert costs.syncs["folder"] <= FOLDER_SYNCS + NEW_MAILDIR_SYNCS, costs

        await pulled(service, costs, mailbox, *hundred())
        assert_cheap(costs)
        assert costs.syncs["folder"] <= FOLDER_SYNCS, costs


async def test_a_hundred_mails_over_rabbitmq_and_postgresql(
    mailbox: Mailbox, tmp_path: Path, database: str, rabbitmq: RabbitMQ, costs: Costs
) -> None:
    """The servers cost no more commits, messages or syncs than the embedded ones."""
    async with after_an_empty_poll(mailbox, tmp_path, ledger=database, broker=rabbitmq.url) as service:
        await pulled(service, costs, mailbox, *hundred())

    assert_cheap(costs)
    assert costs.syncs["folder"] <= FOLDER_SYNCS + NEW_MAILDIR_SYNCS, costs


async def test_more_recipients_cost_messages_and_files_but_no_commits(
    mailbox: Mailbox, tmp_path: Path, costs: Costs
) -> None:
    """A hundred mails to three users each: three hundred jobs, outcomes and files; commits as for one user, almost."""
    async with after_an_empty_poll(mailbox, tmp_path) as service:
        await pulled(service, costs, mailbox, *hundred("a@local.example, b@local.example, c@local.example"))

    assert costs.publishes == {FETCHED: MAILS, jobs_queue("costs"): 3 * MAILS, OUTCOMES: 3 * MAILS}
    assert costs.commits <= 2 * COMMITS, costs  # the deliverer takes a hundred jobs at a time
    assert costs.syncs["file"] == 3 * MAILS


async def test_large_mails_cost_one_more_file_each(mailbox: Mailbox, tmp_path: Path, costs: Costs) -> None:
    """A blob is written once, however many users get it, and its folder is synced with it."""
    async with after_an_empty_poll(mailbox, tmp_path) as service:
        blobs = service.parts.blobs
        await pulled(
            service, costs, mailbox, *(mail(to="a@local.example, b@local.example", size=100_000) for _ in range(10))
        )
        assert isinstance(blobs, FolderBlobs)
        assert blobs.fsyncs <= 10 * 3 + 5, costs

    assert costs.syncs["file"] == 10 + 2 * 10
    assert costs.commits <= COMMITS, costs


async def test_an_empty_mailbox_costs_next_to_nothing(mailbox: Mailbox, tmp_path: Path, costs: Costs) -> None:
    """Most polls find nothing."""
    async with after_an_empty_poll(mailbox, tmp_path) as service:
        await pulled(service, costs, mailbox)

    assert costs.commits <= IDLE_COMMITS, costs
    assert costs.pop3[0] <= IDLE_ROUND_TRIPS, costs
    assert not costs.publishes
    assert not costs.syncs


async def test_kept_mail_costs_next_to_nothing(mailbox: Mailbox, tmp_path: Path, costs: Costs) -> None:
    """It is listed poll after poll: one commit for the listing, however many there are, and no TOP or RETR."""
    mailbox.plant(*hundred())
    there = install(tmp_path, catch_all(mailbox, keep=True, interval="1h"))
    async with there.serving() as service:
        await service.until(lambda status: status.profiles[0].mails == {"kept": MAILS})
        await service.until(lambda status: not status.profiles[0].polling)
        await costs.begin(service)
        await service.poll()
        costs.end(service)

    assert costs.commits <= IDLE_COMMITS, costs
    assert costs.pop3[0] <= IDLE_ROUND_TRIPS, costs
    assert not costs.publishes
