"""/live and /ready: alive depends on nobody else, ready on broker and ledger; and what systemd hears of both."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import structlog

from common import health as health_module
from common.broker import Ack, Settlement, jobs_queue
from common.connect import connect_broker
from common.health import Health
from common.ledger import Ledger, migrate_database
from common.lookout import Lookout
from common.pulse import Pulse
from common.rabbitmq import consumption
from common.worker import Parts, opened
from tests.integration.service import LOOK_SECONDS, MAILDIR, WAIT_SECONDS, install, profile
from tests.scraped import Scraped, page, page_of, scrape
from tests.servers.cutting import CuttingRelay
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.postgres import Postgres
from tests.servers.process import free_port
from tests.servers.rabbitmq import RIGHTS, USER, VHOST, RabbitMQ

TARGETS = {"local": {"url": MAILDIR}}


async def take(_body: bytes) -> Settlement:
    """Handle a message."""
    return Ack()


async def until(health: Health, line: str) -> None:
    """Return once a process is alive ("") or no more, as `line` says."""
    async with asyncio.timeout(WAIT_SECONDS):
        while await health.not_live() != line:  # noqa: ASYNC110 (no broker tells when it has dropped a consumer)
            await asyncio.sleep(LOOK_SECONDS)


async def test_a_consumer_that_is_gone_and_can_t_come_back_is_no_life(
    tmp_path: Path, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is there, the queue has no consumer of ours; once it has one again, all is well."""
    monkeypatch.setattr(consumption, "MISSING_SECONDS", 0.0)
    queue = jobs_queue(uuid4().hex)
    log = structlog.get_logger()
    ledger = await Ledger.open("sqlite:///pps.db", base=tmp_path, log=log)
    broker = await connect_broker(rabbitmq.url, role="test", log=log)

    def may(*rights: str) -> None:
        rabbitmq.ctl("set_permissions", "--vhost", VHOST, USER, *rights)

    try:
        await broker.consume(queue, take, prefetch=1)
        health = Health(ledger, broker, Pulse())
        assert await health.not_live() == ""
        await asyncio.to_thread(may, "^$", "^$", "^$")
        assert (await broker.depth(queue)).consumers == 1, "to look takes no right"
        await asyncio.to_thread(rabbitmq.ctl, "delete_queue", "--vhost", VHOST, queue)
        await until(health, f"not live: no consumer of {queue}")
        assert await health.not_ready() == ""
        await asyncio.to_thread(may, *RIGHTS.values())
        await until(health, "")
    finally:
        await asyncio.to_thread(may, *RIGHTS.values())
        await broker.close()
        await ledger.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A process that has nothing to do but to be looked at."""

    parts: Parts
    lookout: Lookout
    port: int
    ending: asyncio.Event  # says that it is to stop

    async def page(self, path: str) -> tuple[int, str]:
        """Return the status of a page, and its one line."""
        found = await page_of(self.port, path)
        assert found.text.endswith("\n")
        assert found.text.count("\n") == 1
        return found.status_code, found.text.rstrip("\n")

    async def until(self, path: str, status: int, line: str) -> None:
        """Return once a page says this."""
        async with asyncio.timeout(WAIT_SECONDS):
            while await self.page(path) != (status, line):  # noqa: ASYNC110 (a page is asked, it doesn't tell)
                await asyncio.sleep(LOOK_SECONDS)

    async def scrape(self) -> Scraped:
        """Return what /metrics shows."""
        return await asyncio.to_thread(scrape, self.port)


@asynccontextmanager
async def shown(folder: Path, **service: str) -> AsyncIterator[Shown]:
    """Show the pages of this very process."""
    port = free_port()
    there = install(folder, targets=TARGETS, http=f"127.0.0.1:{port}", **service)
    if "ledger" in service:
        await migrate_database(service["ledger"], base=folder)
    ending, stop = asyncio.Event(), asyncio.Event()
    async with opened(there.config, role="run", shown=True) as parts:
        lookout = await Lookout.open(parts, role="run", ending=ending)
        working = asyncio.create_task(lookout.run(stop))
        try:
            yield Shown(parts=parts, lookout=lookout, port=port, ending=ending)
        finally:
            stop.set()
            await working


async def test_ready_follows_the_ledger_and_live_does_not(tmp_path: Path, database: str, postgres: Postgres) -> None:
    """What can't reach it isn't ready until it is back, by itself; a restart of ours would mend nothing."""
    async with shown(tmp_path, ledger=database) as process:
        assert await process.page("/ready") == (200, "ready")
        assert (await process.scrape()).value("ledger_mails", state="listed") == 0

        await asyncio.to_thread(postgres.stop)
        await process.until("/ready", 503, "not ready: the ledger doesn't answer")
        assert await process.page("/live") == (200, "live")

        await asyncio.to_thread(postgres.start)
        await process.until("/ready", 200, "ready")


async def test_ready_follows_the_broker_and_live_does_not(
    tmp_path: Path, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is away nobody has a consumer: that is no fault of the process."""
    monkeypatch.setattr(consumption, "MISSING_SECONDS", 0.0)
    port = free_port()
    url = rabbitmq.url.replace(f":{rabbitmq.port}/", f":{port}/")
    async with AsyncExitStack() as stack:
        with CuttingRelay(rabbitmq.port, at=port):
            process = await stack.enter_async_context(shown(tmp_path, broker=url))
            await process.parts.broker.consume(jobs_queue(uuid4().hex), take, prefetch=1)
            assert await process.page("/ready") == (200, "ready")

        await process.until("/ready", 503, "not ready: the broker is not connected")
        assert await process.page("/live") == (200, "live")
        assert (await process.scrape()).value("broker_connected", role="run") == 0

        with CuttingRelay(rabbitmq.port, at=port):
            await process.until("/ready", 200, "ready")
            await process.until("/live", 200, "live")
            back = await process.scrape()
            assert back.value("broker_connected", role="run") == 1
            assert back.value("broker_reconnects_total", role="run") == 2
            await stack.aclose()


class Stuck:
    """Blocks the loop it is called in, until it is released from outside."""

    def __init__(self) -> None:
        self.blocked = threading.Event()
        self.released = threading.Event()

    def __call__(self) -> None:
        """Block the loop, as a fault of ours would."""
        self.blocked.set()
        assert self.released.wait(WAIT_SECONDS)


async def test_a_loop_that_is_stuck_doesn_t_answer(tmp_path: Path) -> None:
    """So a probe's time-out tells; once it goes on, it is alive again."""
    stuck = Stuck()

    def probe(port: int) -> bool:
        assert stuck.blocked.wait(WAIT_SECONDS)
        try:
            page(port, "/live", seconds=0.5)
        except httpx.TimeoutException:
            return True
        finally:
            stuck.released.set()
        return False

    async with shown(tmp_path) as process:
        asyncio.get_running_loop().call_soon(stuck)
        assert await asyncio.to_thread(probe, process.port)
        assert await process.page("/live") == (200, "live")


async def test_a_schedule_that_never_comes_round_is_no_life(
    mailbox: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetcher's polls have no consumer to show: a fault of ours that holds them up for ever is told by their silence.

    While the ledger is away, they may well be waiting for it.
    """
    monkeypatch.setattr(health_module, "STUCK_SECONDS", 0.0)
    monkeypatch.setattr(health_module, "RECOVERY_SECONDS", 0.0)
    stuck, released = asyncio.Event(), asyncio.Event()

    async def never(_self: Ledger) -> float | None:
        stuck.set()
        await released.wait()
        return None

    monkeypatch.setattr(Ledger, "seconds_to_next_poll", never)
    async with install(tmp_path, profile(mailbox)).serving() as service:
        parts = service.parts
        health = Health(parts.ledger, parts.broker, parts.pulse)
        await stuck.wait()
        await until(health, "not live: no round for 0 s of the schedule")
        with monkeypatch.context() as away:
            away.setattr(Health, "not_ready", _not_ready)
            assert await health.not_live() == ""
        released.set()
        monkeypatch.setattr(health_module, "STUCK_SECONDS", 300.0)
        assert await health.not_live() == ""
    assert parts.pulse.silent(0) == []


async def _not_ready(_self: Health) -> str:
    return "not ready: the ledger doesn't answer"


async def test_a_reload_brings_the_queues_of_other_targets(tmp_path: Path) -> None:
    """What is asked for is what the configuration in force names."""
    async with shown(tmp_path) as process:
        changed = install(tmp_path, targets={"other": {"url": MAILDIR}}).config

        (await process.lookout.prepare(changed))()
        found = await process.scrape()

    assert found.value("consumers", queue=jobs_queue("other")) == 0
    assert found.value("consumers", queue=jobs_queue("local")) is None
    assert found.value("target_paused", target="other") == 0


async def test_what_stops_is_not_ready_any_more(tmp_path: Path) -> None:
    """So that nobody waits for it; it is alive until the end, and shows its last numbers."""
    async with shown(tmp_path) as process:
        assert await process.page("/ready") == (200, "ready")
        process.ending.set()
        assert await process.page("/ready") == (503, "not ready: it stops")
        assert await process.page("/live") == (200, "live")
        assert (await process.scrape()).value("broker_connected", role="run") == 1


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Stand in for systemd: a socket that is told, and a watchdog that wants to hear ten times a second."""
    folder = tmp_path / "systemd"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(folder / "notify"))
        bound.settimeout(WAIT_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        yield bound


async def test_systemd_hears_of_ready_of_life_and_of_the_end(tmp_path: Path, listener: socket.socket) -> None:
    """In this order; of life again and again, but not while the loop is stuck."""
    stuck = Stuck()

    def heard() -> str:
        return listener.recv(4096).decode()

    def silence() -> bool:
        assert stuck.blocked.wait(WAIT_SECONDS)
        listener.settimeout(0)
        try:
            while True:  # what was sent before
                listener.recv(4096)
        except BlockingIOError:
            listener.settimeout(1.0)
        try:
            listener.recv(4096)
        except TimeoutError:
            return True
        finally:
            listener.settimeout(WAIT_SECONDS)
            stuck.released.set()
        return False

    async with shown(tmp_path) as process:
        assert [await asyncio.to_thread(heard) for _ in range(3)] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
        asyncio.get_running_loop().call_soon(stuck)
        assert await asyncio.to_thread(silence)
        assert await asyncio.to_thread(heard) == "WATCHDOG=1"
        process.ending.set()
        while (last := await asyncio.to_thread(heard)) == "WATCHDOG=1":
            pass
        assert last == "STOPPING=1"


def test_a_service_tells_systemd(tmp_path: Path, listener: socket.socket) -> None:
    """As its unit has it started: ready once it works, stopping as soon as it is told to."""
    there = install(tmp_path, targets=TARGETS)
    with there.running("run"):
        assert listener.recv(4096) == b"READY=1"
    said = []
    listener.settimeout(1.0)
    try:
        while True:
            said.append(listener.recv(4096).decode())
    except TimeoutError:
        pass

    assert "STOPPING=1" in said
    assert set(said) <= {"WATCHDOG=1", "STOPPING=1"}
