"""What a long history costs: mails beside none, and beside a million settled ones, in PostgreSQL, synced to disk.

`python -m tests.bench.history` fills one of two ledgers, then works on both in turn: the ledger's part of a mail's way
in batches, the whole pipeline from Dovecot to Maildirs, and what people ask. It prints both and the ratio: 1 is free.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.config import MANAGED_BY_FILE
from common.ledger import Ledger, migrate_database
from common.ledger.lives import Wanted, list_mails
from common.ledger.pruning import BATCH as PRUNED
from common.ledger.reader import LedgerReader
from common.ledger.recorded import MANAGER
from common.ledger.schema import profiles
from common.ledger.standing import read_standing
from common.ledger.writer import Writer
from common.retention import SHORTEST
from tests.history import add_history
from tests.integration.service import Installation, install
from tests.ledger import Scene, change, profile
from tests.mails import mail
from tests.servers.dovecot import PASSWORD, Dovecot
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH: Final = 100
OTHERS: Final = 100
"""Mailboxes that share half of the history; the other half is of the mailbox that is worked on."""

WORKS: Final = 4
"""Batches of a round: one alone is as long as a stall of a busy machine."""

DIRECT: Final = "direct"
"""The profile whose mails go through the ledger alone."""

PRUNE_BATCHES: Final = 20


@dataclass(slots=True, kw_only=True)
class Side:
    """One of the two ledgers, and what was measured on it."""

    name: str
    url: str
    measured: dict[str, list[float]] = field(default_factory=dict)

    def note(self, what: str, value: float) -> None:
        """Take down one measurement."""
        self.measured.setdefault(what, []).append(value)

    def median(self, what: str) -> float:
        """Return the middle one."""
        return statistics.median(self.measured[what])

    def best(self, what: str) -> float:
        """Return the one that other work on the machine disturbed least."""
        return max(self.measured[what]) if "a second" in what else min(self.measured[what])


async def opened(side: Side, folder: Path) -> Ledger:
    """Open a side's ledger."""
    return await Ledger.open(side.url, base=folder, log=structlog.get_logger())


async def fill(side: Side, folder: Path, there: Installation, count: int) -> None:
    """Make the profiles, and the history that half of it is theirs."""
    ledger = await opened(side, folder)
    own, direct, others = there.config.profiles, profile(DIRECT), [profile(f"other{n}") for n in range(OTHERS)]
    await ledger.sync_profiles(own, managed_by=MANAGED_BY_FILE)
    await ledger.sync_profiles([direct, *others], managed_by=MANAGER)
    await change(ledger, "UPDATE schedule SET due_at = NULL")
    ids = dict(await ledger.read(_ids))
    half = [(one.mailbox, ids[one.name]) for one in (*own, direct)] * (OTHERS // 2)
    if count:
        await add_history(ledger, half + [(one.mailbox, ids[one.name]) for one in others], count=count)
    await ledger.close()


async def _ids(connection: AsyncConnection) -> list[tuple[str, str]]:
    return [(row.name, row.id) for row in (await connection.execute(select(profiles.c.name, profiles.c.id))).all()]


async def make_due(ledger: Ledger) -> None:
    """Make the profile that no service polls due, and free."""
    due = "UPDATE schedule SET due_at = 0, lease_until = NULL FROM profiles WHERE id = profile_id AND name = :name"
    await change(ledger, due, name=DIRECT)


async def rest(ledger: Ledger) -> None:
    """Have it polled by nobody."""
    await change(ledger, "UPDATE schedule SET due_at = NULL, lease_until = NULL WHERE lease_owner = 'bench'")


async def work(side: Side, folder: Path, number: int) -> None:
    """Take a batch of mails its whole way through the ledger, and note the milliseconds a mail."""
    ledger = await opened(side, folder)
    await make_due(ledger)
    (lease,) = await ledger.claim_due("bench", 1)
    scene = Scene(ledger=ledger, lease=lease)
    uidls = [b"%d-%d" % (number, n) for n in range(BATCH)]
    began = time.perf_counter()
    await scene.list(*uidls)
    await asyncio.gather(*(scene.fetch(uidl) for uidl in uidls))
    routed = (
        scene.route(uidl, f"u{n}@example.com", fingerprint=f"{number:032}{n:032}") for n, uidl in enumerate(uidls)
    )
    settled = await asyncio.gather(*(scene.deliver(route) for route in await asyncio.gather(*routed)))
    await ledger.record_deleted(lease, [mail_id for one in settled for last in one for mail_id in last.deletable])
    await scene.list()
    await scene.list()
    side.note("ledger alone, ms a mail", (time.perf_counter() - began) * 1000 / BATCH)
    await rest(ledger)
    await ledger.close()


async def pull(side: Side, there: Installation, mailbox: Mailbox, count: int) -> None:
    """Have a service pull so many mails, and note mails a second, and the time that its commits took a mail."""
    spent = 0.0
    transact = Writer._transact

    async def timed(self: Writer, batch: Any) -> Any:  # noqa: ANN401 (whatever it takes and gives)
        nonlocal spent
        began = time.perf_counter()
        try:
            return await transact(self, batch)
        finally:
            spent += time.perf_counter() - began

    async with there.serving() as service:
        await service.poll()
        mailbox.plant(*(mail(to=f"u{n % 20}@local.example", size=4000) for n in range(count)))
        Writer._transact = timed  # type: ignore[method-assign]
        began, spent = time.perf_counter(), 0.0
        assert await service.parts.ledger.set_due("office")
        await service.until(lambda _status: not mailbox.remaining())
        side.note("pipeline, mails a second", count / (time.perf_counter() - began))
        side.note("pipeline: commits, ms a mail", spent * 1000 / count)
        Writer._transact = transact  # type: ignore[method-assign]


async def ask(side: Side, folder: Path) -> None:
    """Note how long what people and workers ask takes, in milliseconds."""
    ledger = await opened(side, folder)
    reader = LedgerReader(ledger)
    asked: dict[str, Callable[[], Any]] = {
        "claim of a due poll, ms": lambda: ledger.claim_due("bench", 1),
        "sweep, ms": lambda: asyncio.gather(ledger.take_due(), ledger.take_stale()),
        "standing, ms": lambda: read_standing(reader),
        "mails of a profile, ms": lambda: list_mails(reader, Wanted(limit=50, profile="office")),
        "mails to a recipient, ms": lambda: list_mails(reader, Wanted(limit=50, recipient="user7@example.com")),
    }
    for what, question in asked.items():
        for _ in range(6):
            await make_due(ledger)
            began = time.perf_counter()
            await question()
            side.note(what, (time.perf_counter() - began) * 1000)
    await rest(ledger)
    await ledger.close()


def command(side: Side, there: Installation, *arguments: str) -> None:
    """Note how long a command takes from its start to its end."""
    for _ in range(3):
        began = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, "-m", "manager.cli.main", *arguments],
            cwd=there.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.DEVNULL,
            check=False,
        )
        assert ended.returncode == 0
        side.note(f"pps {' '.join(arguments)}, s", time.perf_counter() - began)


async def prune(side: Side, folder: Path) -> None:
    """Forget some batches, and note mails a second."""
    ledger = await opened(side, folder)
    await change(ledger, "UPDATE schedule SET last_success_at = (SELECT max(progress_at) FROM mails)")
    for _ in range(PRUNE_BATCHES):
        began = time.perf_counter()
        if await ledger.prune(SHORTEST) < PRUNED:
            break  # a short history
        side.note("pruning, ms a batch of 500", (time.perf_counter() - began) * 1000)
    await ledger.close()


def show(empty: Side, full: Side, mails: int) -> None:
    """Print the best and the median of each measurement on both sides, and the ratio of the best."""
    sys.stdout.write(f"{'best (median)':34}{'none settled':>20}{f'{mails} settled':>20}{'ratio':>8}\n")
    for what in full.measured:
        sides = [side for side in (empty, full) if what in side.measured]
        cells = [f"{side.best(what):.2f} ({side.median(what):.2f})" for side in sides]
        ratio = f"{full.best(what) / empty.best(what):8.2f}" if len(sides) > 1 else ""
        sys.stdout.write(f"{what:34}{''.join(cell.rjust(20) for cell in cells)}{ratio}\n")
    sys.stdout.write(f"load of the machine: {' '.join(f'{one:.1f}' for one in os.getloadavg())}\n")


def measure(folder: Path, postgres: Postgres, dovecot: Dovecot, *, mails: int, pulled: int, rounds: int) -> None:
    """Measure and print."""
    dovecot.add_user("history", PASSWORD)
    mailbox = Mailbox(dovecot=dovecot, user="history", password=PASSWORD)
    sides, places = [], []
    for name, count in (("empty", 0), ("full", mails)):
        side = Side(name=name, url=postgres.fresh_database())
        (folder / name).mkdir()
        table = {"name": "office", "server": mailbox.server, "user": "history", "password": "file:office.secret"}
        catch_all = {"local_domain": ["local.example"], "local_user": "boss", "distribute": True, "interval": "1h"}
        place = install(folder / name, table | catch_all, ledger=side.url)
        asyncio.run(migrate_database(side.url, base=folder))
        began = time.perf_counter()
        asyncio.run(fill(side, folder, place, count))
        postgres.query("VACUUM ANALYZE", database=side.url.rpartition("/")[2])
        octets = int(
            postgres.query("SELECT pg_database_size(current_database())", database=side.url.rpartition("/")[2])
        )
        took = time.perf_counter() - began
        sys.stdout.write(f"{name}: filled with {count} mails in {took:.0f} s: {octets / 1e6:.0f} MB\n")
        sides.append(side)
        places.append(place)
    postgres.query("CHECKPOINT")
    for number in range(rounds):
        for side, place in list(zip(sides, places, strict=True))[:: 1 if number % 2 else -1]:
            for batch in range(WORKS):
                asyncio.run(work(side, folder, number * WORKS + batch))
            asyncio.run(pull(side, place, mailbox, pulled))
            asyncio.run(ask(side, folder))
            command(side, place, "status")
            command(side, place, "mails", "--profile", "office")
    asyncio.run(prune(sides[1], folder))
    show(sides[0], sides[1], mails)


def main() -> int:
    """Measure with the numbers of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=1_000_000, help="settled mails of the full ledger")
    parser.add_argument("--pulled", type=int, default=300, help="mails that a round pulls")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="pps-history-") as folder,
        Postgres(durable=True, buffers="256MB") as postgres,
        Dovecot() as dovecot,
    ):
        measure(Path(folder), postgres, dovecot, mails=given.mails, pulled=given.pulled, rounds=given.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
