"""`make scaling`: mails a second with more and more workers, and the CPU that each process took.

Deliverers (1, 2, 4, 8) hand mail to an LMTP server that takes 20 ms a mail; each has one connection, so that their
number alone says how many mails are under way: one deliverer can do no more than 50 mails/s. Fetchers (1, 2, 4) pull
mailboxes from a Dovecot that is 50 ms away (a relay delays each way by 25 ms); each has two sessions.

All on RabbitMQ and PostgreSQL, on the machine that the workers share with the servers: where its CPU is used up, more
workers can't help, and the table shows it. A rate is that of the middle four fifths of all mails.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from tests.bench.cpu import Meter
from tests.bench.relay import relay_to
from tests.command import pps
from tests.crash.rows import PostgresRows
from tests.crash.scene import ENVIRONMENT
from tests.crash.service import STARTED, Service
from tests.mails import mail
from tests.servers.dovecot import Dovecot
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.slow_lmtp import slow_lmtp

TARGET_MS: Final = 20
RELAY_MS: Final = 25
SESSIONS: Final = 2
SIZE: Final = 4_000
MAILS_A_BOX: Final = 10
DEADLINE_SECONDS: Final = 300.0
LOOK_SECONDS: Final = 0.2

FULL: Final = 0.95
"""The part of all cores from which on the CPU is the limit, whatever else could go faster."""

_CONFIG: Final = """
[service]
ledger = "{ledger}"
broker = "{broker}"
log = "-"
sessions = {sessions}
host_sessions = 1000

[target.local]
url = "{url}"
connections = {connections}
"""

_PROFILE: Final = """
[[profile]]
name = "box{number}"
server = "127.0.0.1 {port}"
user = "box{number}"
password = "env:CRASH_PASSWORD"
local_user = "ann@local.example"
interval = "1d"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table."""

    workers: int
    rate: float  # mails a second
    cpu: dict[str, float]  # cores, by who used them, while that was measured
    busy: float  # cores of the whole machine


def named(role: str, count: int) -> list[str]:
    """Return the names of so many workers of a role."""
    return [role, *(f"{role}-{n}" for n in range(2, count + 1))]


def middle(moments: Sequence[float]) -> tuple[float, float]:
    """Return when the first tenth was done, and the last tenth began."""
    ordered = sorted(moments)
    tenth = len(ordered) // 10
    return ordered[tenth], ordered[-tenth - 1]


@dataclass(slots=True, kw_only=True)
class Bench:
    """The servers, and one installation on them after the other."""

    stack: ExitStack
    postgres: Postgres = field(init=False)
    rabbitmq: RabbitMQ = field(init=False)
    dovecot: Dovecot = field(init=False)
    _boxes: int = 0

    def __post_init__(self) -> None:
        self.postgres = self.stack.enter_context(Postgres())
        self.rabbitmq = self.stack.enter_context(RabbitMQ())
        self.dovecot = self.stack.enter_context(Dovecot(tls=False))

    def deliverers(self, count: int, mails: int) -> Row:
        """Have so many mails a deliverer routed, and then let the deliverers begin together."""
        with ExitStack() as stack, slow_lmtp(TARGET_MS) as target:
            boxes = self._fill(count * mails // MAILS_A_BOX)
            service, rows = self._install(
                stack, boxes, port=self.dovecot.pop3_port, url=f"lmtp://127.0.0.1:{target.port}", connections=1
            )
            workers = named("deliverer", count)
            self._start(service, ["fetcher", "router"])
            _wait(lambda: rows.undone().get("pending", 0) == len(boxes) * MAILS_A_BOX, rows)
            for command in workers:
                service.start(command)
            watched = self._watched(service, [*workers, "fetcher", "router"]) | {"target": [target.pid]}
            meter = Meter(watched)
            _wait(lambda: len(target.moments) >= len(boxes) * MAILS_A_BOX, rows, meter)
            return _row(count, target.moments, meter)

    def fetchers(self, count: int, boxes: int, sessions: int) -> Row:
        """Have all mailboxes due at once when so many fetchers have begun; a router and two deliverers follow."""
        with ExitStack() as stack, relay_to(self.dovecot.pop3_port, RELAY_MS) as port:
            names = self._new(boxes)
            url = "maildir:mail/{user}?create=yes"
            service, rows = self._install(stack, names, port=port, url=url, connections=16, sessions=sessions)
            workers = named("fetcher", count)
            others = ["router", "deliverer"]
            self._start(service, [*workers, *others])
            _wait(lambda: rows.polled() == len(names), rows)
            for box in names:
                self.dovecot.plant(box, [mail(to="ann@local.example", size=SIZE) for _ in range(MAILS_A_BOX)])
            meter = Meter(self._watched(service, [*workers, *others]))
            rows.poll_now()
            _wait(lambda: not any(self.dovecot.count(box) for box in names), rows, meter)
            offset = time.time() - time.monotonic()
            moments = [
                datetime.fromisoformat(line["timestamp"]).timestamp() - offset
                for command in workers
                for line in service.lines(command, {"mail_fetched"})
            ]
            return _row(count, moments, meter)

    def _new(self, count: int) -> list[str]:
        names = [f"box{self._boxes + n}" for n in range(count)]
        self._boxes += count
        for name in names:
            self.dovecot.add_user(name)
        return names

    def _fill(self, count: int) -> list[str]:
        names = self._new(count)
        for name in names:
            self.dovecot.plant(name, [mail(to="ann@local.example", size=SIZE) for _ in range(MAILS_A_BOX)])
        return names

    def _install(
        self, stack: ExitStack, boxes: Sequence[str], *, port: int, url: str, connections: int, sessions: int = 50
    ) -> tuple[Service, PostgresRows]:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pps-scaling-")))
        database = self.postgres.fresh_database()
        stack.callback(self.rabbitmq.wipe)
        keys = {"ledger": database, "broker": self.rabbitmq.url, "url": url}
        written = _CONFIG.format(**keys, sessions=sessions, connections=connections)
        written += "".join(_PROFILE.format(number=box.removeprefix("box"), port=port) for box in boxes)
        (folder / "pps.toml").write_text(written)
        migrated = pps("migrate", folder=folder, environment=ENVIRONMENT)
        assert migrated.code == 0, migrated.err
        service = Service(folder, commands=(), environment=ENVIRONMENT)
        stack.callback(service.close)
        return service, PostgresRows(self.postgres, database.rpartition("/")[2])

    def _start(self, service: Service, commands: Sequence[str]) -> None:
        for command in commands:
            service.start(command)
        for command in commands:
            service.await_event(command, STARTED, seconds=DEADLINE_SECONDS)

    def _watched(self, service: Service, commands: Sequence[str]) -> dict[str, list[int]]:
        """Return the processes by who they are; workers of a role together."""
        watched = {"PostgreSQL": [self.postgres.pid], "RabbitMQ": [self.rabbitmq.pid], "Dovecot": [self.dovecot.pid]}
        for command in commands:
            watched.setdefault(f"{command.partition('-')[0]}s", []).append(service.pid(command))
        return watched


def _wait(reached: Callable[[], bool], rows: PostgresRows, meter: Meter | None = None) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not reached():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not reached in {DEADLINE_SECONDS:.0f} s: {rows.undone()}; load {os.getloadavg()}")
        if meter is not None:
            meter.look()
        time.sleep(LOOK_SECONDS)


def _row(count: int, moments: Sequence[float], meter: Meter) -> Row:
    first, last = middle(moments)
    done = sum(first <= moment <= last for moment in moments)
    used = meter.cores(first, last)
    busy = used.pop("the machine")
    return Row(workers=count, rate=done / (last - first), cpu=used, busy=busy)


def show(title: str, counts: Sequence[int], measure: Callable[[int], Row]) -> None:
    """Measure, and print each row as it is known, with its ratio to the first."""
    say(f"{title}\n{'workers':>7}  {'mails/s':>8}  {'ratio':>5}  {'machine':>10}  cores used by")
    first = 0.0
    for count in counts:
        row = measure(count)
        first = first or row.rate
        used = ", ".join(f"{who} {cores:.2f}" for who, cores in row.cpu.items())
        limit = "*" if row.busy > FULL * (os.cpu_count() or 1) else " "
        machine = f"{row.busy:4.2f} of {os.cpu_count()}{limit}"
        say(f"{row.workers:7}  {row.rate:8.1f}  {row.rate / first:5.2f}  {machine:>10}  {used}")


def say(line: str) -> None:
    """Print at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Measure, and print each table as it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=500, help="for each deliverer")
    parser.add_argument("--boxes", type=int, default=120, help="mailboxes for the fetchers")
    parser.add_argument("--only", choices=("deliverers", "fetchers"))
    given = parser.parse_args()
    say(f"load at the start {os.getloadavg()}; *: the machine's CPU was used up")
    with ExitStack() as stack:
        bench = Bench(stack=stack)
        if given.only != "fetchers":
            title = f"deliverers, one connection each, to a target of {TARGET_MS} ms a mail"
            show(title, (1, 2, 4, 8), lambda count: bench.deliverers(count, given.mails))
        if given.only != "deliverers":
            title = f"fetchers, {SESSIONS} sessions each, to a server with a round trip of {2 * RELAY_MS} ms"
            show(title, (1, 2, 4), lambda count: bench.fetchers(count, given.boxes, SESSIONS))
    say(f"load at the end {os.getloadavg()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
