"""`make load`: ten thousand mails of all sizes, while workers are killed at random every two seconds for five minutes.

Four fetchers, two routers and four deliverers on a RabbitMQ cluster of three nodes and PostgreSQL pull eight catch-all
mailboxes of a Dovecot into Maildirs. Mail comes all the time, and whoever is killed is started again at once. Then all
is left to drain, and every mail is counted, octet for octet.

What a dead worker holds is left to run out by itself (a claim: two minutes), with two exceptions that would take
longer: the dead fetchers' leases are ended at once, and in the end mails that were recorded but never published.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.command import pps
from tests.crash.rows import PostgresRows
from tests.crash.scene import ENVIRONMENT
from tests.crash.service import STARTED, Service
from tests.crash.traffic import Found, Ledgered, mails
from tests.crash.verified import unaccounted
from tests.mails import DOMAIN, FALLBACK
from tests.servers.dovecot import Dovecot
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.rabbitmq_cluster import RabbitCluster

FLEET: Final = {"fetcher": 4, "router": 2, "deliverer": 4}
MAILBOXES: Final = 8
KILL_SECONDS: Final = 2.0

START_SECONDS: Final = 300.0
"""Ten processes that start together on a machine that has other work take minutes."""

DRAIN_SECONDS: Final = 1200.0
"""A claim that ran out, a sweep, a poll and a retry take a few minutes; the machine may be slow."""

UNPUBLISHED_SECONDS: Final = 60
"""How long a mail must have been recorded and not routed, in the end, to be taken for one that was never published."""

_CONFIG: Final = """
[service]
ledger = "{ledger}"
broker = "{broker}"
log = "-"
host_sessions = {mailboxes}

[target.local]
url = "maildir:mail/{{domain}}/{{user}}?create=yes"
"""

_PROFILE: Final = """
[[profile]]
name = "box{number}"
server = "127.0.0.1 {port}"
user = "box{number}"
password = "env:CRASH_PASSWORD"
local_domain = ["{domain}"]
local_user = "{fallback}"
distribute = true
interval = "10s"
"""


def fleet() -> tuple[str, ...]:
    """Return the names of all workers: "router", "router-2"."""
    return tuple(role if n == 1 else f"{role}-{n}" for role, count in FLEET.items() for n in range(1, count + 1))


@dataclass(slots=True, kw_only=True)
class Load:
    """One run: its parts, and what was planted and killed so far."""

    service: Service
    rows: PostgresRows
    dovecot: Dovecot
    source: random.Random
    planted: Ledgered = field(default_factory=Ledgered)
    kills: Counter[str] = field(default_factory=Counter)

    def run(self, count: int, seconds: float, seed: int) -> None:
        """Plant evenly and kill regularly for so long."""
        began = time.monotonic()
        with ThreadPoolExecutor(1) as beside:
            killing = beside.submit(self._kill_until, began, began + seconds)
            for number, (raw, recipients) in enumerate(mails(count, seed)):
                time.sleep(max(0.0, began + seconds * number / count - time.monotonic()))
                self.dovecot.plant(f"box{number % MAILBOXES}", [raw])
                self.planted.add(raw, recipients)
            killing.result()

    def _kill_until(self, began: float, end: float) -> None:
        """Kill every two seconds; a machine that is busy gets no respite: what is late is made up for."""
        kill_at = began + KILL_SECONDS
        while kill_at < end:
            time.sleep(max(0.0, kill_at - time.monotonic()))
            self._kill_one()
            kill_at += KILL_SECONDS

    def _kill_one(self) -> None:
        command = self.source.choice(self.service.commands)
        pid = self.service.pid(command)
        self.service.kill(command)
        self.kills[command.partition("-")[0]] += 1
        self.rows.end_leases_of(pid)
        self.service.start(command)

    def drain(self) -> float:
        """Return how long it took until nothing was undone; fail if that takes too long."""
        began = time.monotonic()
        while self.remote or self.rows.undone():
            assert time.monotonic() < began + DRAIN_SECONDS, f"{self.remote} on the server, {self.rows.undone()}"
            self.rows.age_unpublished(UNPUBLISHED_SECONDS)
            self.rows.poll_now()
            time.sleep(1.0)
        return time.monotonic() - began

    @property
    def remote(self) -> int:
        """How many mails are on the server."""
        return sum(self.dovecot.count(f"box{number}") for number in range(MAILBOXES))


def begin(stack: ExitStack, folder: Path, broker: str, seed: int) -> Load:
    """Start Dovecot, PostgreSQL and the workers, all idle."""
    dovecot, postgres = stack.enter_context(Dovecot()), stack.enter_context(Postgres())
    for number in range(MAILBOXES):
        dovecot.add_user(f"box{number}")
    database = postgres.fresh_database()
    profiles = [
        _PROFILE.format(number=number, port=dovecot.pop3_port, domain=DOMAIN, fallback=FALLBACK)
        for number in range(MAILBOXES)
    ]
    written = _CONFIG.format(ledger=database, broker=broker, mailboxes=MAILBOXES) + "".join(profiles)
    (folder / "pps.toml").write_text(written)
    migrated = pps("migrate", folder=folder, environment=ENVIRONMENT)
    assert migrated.code == 0, migrated.err
    service = Service(folder, commands=fleet(), environment=ENVIRONMENT)
    stack.callback(service.close)
    for command in service.commands:
        service.start(command)
    for command in service.commands:
        service.await_event(command, STARTED, seconds=START_SECONDS)
    rows = PostgresRows(postgres, database.rpartition("/")[2])
    return Load(service=service, rows=rows, dovecot=dovecot, source=random.Random(seed))  # noqa: S311 (a moment is no secret)


def show(load: Load, found: Found, drain: float, seconds: float) -> None:
    """Print the table."""
    planted = load.planted
    kills = ", ".join(f"{load.kills[role]} of {count} {role}s" for role, count in FLEET.items())
    again = load.rows.begun_twice()
    sys.stdout.write(
        f"mails             {planted.mails}, {planted.octets / 1e6:.0f} MB, for {planted.deliveries} recipients, "
        f"in {seconds:.0f} s\n"
        f"killed            {load.kills.total()}: {kills}\n"
        f"lost              {found.lost}\n"
        f"doubled           {found.doubled}\n"
        f"foreign           {found.foreign}\n"
        f"begun again       {again}\n"
        f"left on servers   {load.remote}\n"
        f"drained           {drain:.0f} s after the last kill\n"
    )


def main() -> int:
    """Run it once; exit 1 unless every user holds just what was planted, and neither logs nor `pps verify` complain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=3, help="of RabbitMQ")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    sys.stdout.write(f"seed {given.seed}\n")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pps-load-")))
        broker = RabbitCluster() if given.nodes > 1 else RabbitMQ()
        stack.enter_context(broker)
        load = begin(stack, folder, broker.url, given.seed)
        load.run(given.mails, given.seconds, given.seed)
        drain = load.drain()
        found = load.planted.against(folder / "mail")
        show(load, found, drain, given.seconds)
        faults = [*load.service.faults(), *filter(None, [unaccounted(folder)])]
        sys.stdout.write("".join(f"{fault}\n" for fault in faults))
    return 0 if found.exact and not faults else 1


if __name__ == "__main__":
    sys.exit(main())
