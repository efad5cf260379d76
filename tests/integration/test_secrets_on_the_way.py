"""Canary passwords, looked for in all that anybody but the process itself could see: queues, pages, log, ledger."""

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pika
import pytest

from common.broker import DEAD, FETCHED, OUTCOMES, jobs_queue
from common.config import MANAGED_BY_FILE
from common.worker import opened, run_in_order
from manager.service import compose
from tests.integration.service import ROLES, Installation, install, profile, traces, wait_until
from tests.mails import mail
from tests.scraped import page
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.postgres import Postgres
from tests.servers.process import free_port
from tests.servers.rabbitmq import PASSWORD as BROKER_PASSWORD
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.smtp import SmtpServer

CANARIES: Final = {
    "mailbox": "canary-of-the-mailbox",
    "target": "canary-of-the-target",
    "ledger": "canary-of-the-ledger",
    "broker": BROKER_PASSWORD,
}
TARGET: Final = "canaries"
QUEUES: Final = (FETCHED, jobs_queue(TARGET), OUTCOMES, DEAD)
OURS: Final = ("common", "fetcher", "router", "deliverer", "manager")


SHOWN: Final = (("status", "--json"), ("doctor", "--json"), ("queues", "--json"), ("profile", "list", "--json"))
"""Commands that tell of what has secrets."""

PAGES: Final = ("/metrics", "/live", "/ready")


@pytest.fixture
def ledger_url(postgres: Postgres) -> Iterator[str]:
    """Make a database whose owner's password is a canary."""
    postgres.start()
    url = postgres.fresh_database()
    database = url.rpartition("/")[2]
    postgres.query(f"CREATE ROLE canary LOGIN PASSWORD '{CANARIES['ledger']}'")
    postgres.query(f"ALTER DATABASE {database} OWNER TO canary")
    postgres.query("GRANT ALL ON SCHEMA public TO canary", database=database)
    yield url.replace("//pps:secret@", f"//canary:{CANARIES['ledger']}@")
    postgres.drop(url)
    postgres.query("DROP ROLE canary")


@asynccontextmanager
async def at_work(there: Installation, *roles: str) -> AsyncIterator[None]:
    """Run some of the roles in this process."""
    config = there.config
    async with opened(config, role="test") as parts:
        await parts.ledger.sync_profiles(config.profiles, managed_by=MANAGED_BY_FILE)
        stop = asyncio.Event()
        working = asyncio.create_task(run_in_order(await compose(parts, set(roles)), stop, parts.log))
        try:
            yield
        finally:
            stop.set()
            await working


def lying_in(rabbitmq: RabbitMQ, queue: str) -> bytes:
    """Return all that a queue holds, properties and headers too; it stays there."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    found = []
    try:
        channel = connection.channel()
        while (got := channel.basic_get(queue))[0] is not None:
            found.append(repr(got[1]).encode() + got[2])
    finally:
        connection.close()  # which gives them all back
    return b"\n".join(found)


def by_hand(rabbitmq: RabbitMQ, work: Callable[[Any], object]) -> None:
    """Do something to the broker as an administrator might."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    try:
        work(connection.channel())
    finally:
        connection.close()


def reprs() -> bytes:
    """Return how every object of ours that lives now shows itself: in a traceback, a debugger, a crash report."""
    gc.unfreeze()  # workers hide what lives long from the collector
    gc.collect()
    ours = [one for one in gc.get_objects() if str(type(one).__module__).partition(".")[0] in OURS]
    assert len(ours) > 50
    return "\n".join(repr(one) for one in ours).encode(errors="surrogateescape")


def rows(postgres: Postgres, url: str) -> bytes:
    """Return all rows of all tables."""
    database = url.rpartition("/")[2]
    tables = postgres.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=database).split()
    assert {"profiles", "mails", "deliveries"} <= set(tables)
    found = [postgres.query(f"SELECT to_json(t) FROM {table} t", database=database) for table in tables]  # noqa: S608 (the catalogue's names)
    return "\n".join(found).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """Has two mails pass through an installation, and takes down all that could be seen meanwhile."""

    there: Installation
    rabbitmq: RabbitMQ
    ports: dict[str, int]  # of the roles' pages
    pieces: dict[str, bytes] = field(default_factory=dict)  # each under what it is called in a failure

    async def role_by_role(self) -> None:
        """Each works alone, so that what it sent lies in a queue when it is looked at."""
        async with at_work(self.there, "fetcher"):
            await self._logged("mail_fetched")
            self.pieces["repr in a fetcher"] = reprs()
        self.pieces["fetched"] = lying_in(self.rabbitmq, FETCHED)
        async with at_work(self.there, "router"):
            await self._logged("mail_routed")
        self.pieces["jobs"] = lying_in(self.rabbitmq, jobs_queue(TARGET))
        async with at_work(self.there, "deliverer"):
            await self._logged("delivery_attempted")
            self.pieces["repr in a deliverer"] = reprs()
        self.pieces["outcomes"] = lying_in(self.rabbitmq, OUTCOMES)

    def together(self) -> None:
        """All roles as processes of their own, with pages, commands beside them, and a message that is none."""
        by_hand(self.rabbitmq, lambda channel: channel.basic_publish("", FETCHED, b"\xc1 no message"))
        with self.there.running(*ROLES):
            wait_until(lambda: self.there.events("message_dead"))
            wait_until(lambda: len(self.there.events("mail_deleted")) == 2)
            for role, path in itertools.product(ROLES, PAGES):
                shown = page(self.ports[role], path)
                self.pieces[f"{role} {path}"] = repr(shown.headers).encode() + shown.content
            for arguments in SHOWN:
                ended = self.there.pps(*arguments)
                self.pieces[" ".join(arguments)] = (ended.out + ended.err).encode()
        self.pieces["dead letters"] = lying_in(self.rabbitmq, DEAD)

    async def _logged(self, event: str) -> None:
        await asyncio.to_thread(wait_until, lambda: len(self.there.events(event)) == 2)


@pytest.fixture
def clean(rabbitmq: RabbitMQ) -> Iterator[RabbitMQ]:
    """Return the broker without any queue of ours, and leave it so."""

    def delete(channel: Any) -> None:  # noqa: ANN401 (pika has no types)
        for queue in QUEUES:
            channel.queue_delete(queue)

    by_hand(rabbitmq, delete)
    yield rabbitmq
    by_hand(rabbitmq, delete)


@pytest.fixture
def account(mailbox: Mailbox) -> dict[str, object]:
    """Make an account with two mails whose password is a canary, and return its profile."""
    user = mailbox.dovecot.add_user(f"{mailbox.user}-canary", CANARIES["mailbox"])
    mailbox.dovecot.plant(user, [mail(), mail(size=100_000)])
    return profile(mailbox, user=user, target=TARGET, interval="10s")


async def test_no_secret_can_be_seen(
    account: dict[str, object], tmp_path: Path, ledger_url: str, postgres: Postgres, clean: RabbitMQ
) -> None:
    """Not those of the mailbox, the target, the ledger and the broker; pps.toml alone holds the last two."""
    (tmp_path / "target.secret").write_text(CANARIES["target"])
    (tmp_path / "target.secret").chmod(0o600)
    ports = {role: free_port() for role in ROLES}
    async with SmtpServer(extensions=["SIZE 52428800", "AUTH PLAIN"]) as server:
        there = install(
            tmp_path,
            account,
            targets={TARGET: {"url": server.url, "user": "pps", "password": "file:target.secret"}},
            password=CANARIES["mailbox"],
            ledger=ledger_url,
            broker=clean.url,
            http={role: f"127.0.0.1:{port}" for role, port in ports.items()},
        )
        assert (await asyncio.to_thread(there.pps, "migrate")).code == 0
        looking = Looking(there=there, rabbitmq=clean, ports=ports)
        await looking.role_by_role()
        await asyncio.to_thread(looking.together)
    pieces = looking.pieces
    pieces["ledger"] = rows(postgres, ledger_url)
    pieces["repr of the configuration"] = repr(there.config).encode()

    assert any(command.startswith("AUTH") for command in server.commands)
    assert all(len(pieces[queue]) > 300 for queue in ("fetched", "jobs", "outcomes"))
    assert b"no message" in pieces["dead letters"]
    for canary in map(str.encode, CANARIES.values()):
        assert [name for name, piece in pieces.items() if canary in piece] == []
        assert [path for path in traces(tmp_path, canary) if not path.endswith("pps.toml")] == []
