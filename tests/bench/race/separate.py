"""(f): as (a), but each role a process of its own, on RabbitMQ and on PostgreSQL that syncs: all on the same cores."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.bench.race.accounting import account
from tests.bench.race.boxes import Boxes
from tests.bench.race.contest import Entry, environment
from tests.bench.race.figures import OURS, Goal, Outcome, Series
from tests.bench.race.programs import Mpop, Place, pps, write_config
from tests.bench.race.running import KIB_IN_MB, cpu_of, run
from tests.bench.race.workloads import small
from tests.load import Role, roles
from tests.servers.dovecot import Dovecot
from tests.servers.postgres import Postgres
from tests.servers.process import descendants
from tests.servers.rabbitmq import RabbitMQ

MAILS: Final = 5_000
ROLES: Final = ("fetcher", "router", "deliverer")
DEADLINE_SECONDS: Final = 240.0
LOOK_SECONDS: Final = 0.05

GOALS: Final = ((Goal(label="times mpop", bound=0.7, of=("mpop",)),),)


def separate(rounds: int, part: float, say: Callable[[str], None]) -> Outcome:
    """Measure services that run already, and mpop, in turn."""
    mpop = Entry(program=Mpop())
    ours, theirs = Series(program=OURS), Series(program="mpop")
    outcome = Outcome(
        key="f",
        title="as (a), through RabbitMQ and PostgreSQL, a process a role, all on the same cores",
        unit="mails/s",
        series=[ours] if mpop.missing else [ours, theirs],
        missing=["mpop (apt-get install mpop)"] if mpop.missing else [],
        goals=GOALS,
    )
    with Dovecot(tls=False) as dovecot, Postgres(durable=True) as postgres, RabbitMQ() as rabbitmq:
        boxes = Boxes(dovecot, {"box": small(max(1, int(MAILS * part)), "box")})
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="pps-race-") as folder:
                place = Place(folder=Path(folder), port=dovecot.pop3_port, boxes=boxes.names)
                _ours(place, boxes, postgres, rabbitmq, outcome)
            say(f"(f) {OURS}: {ours.values[-1]:.0f} mails/s, CPU of the roles {ours.cpu[-1]:.1f} s, {ours.faults}")
            if not mpop.missing:
                with tempfile.TemporaryDirectory(prefix="pps-race-") as folder:
                    place = Place(folder=Path(folder), port=dovecot.pop3_port, boxes=boxes.names)
                    _theirs(mpop, place, boxes, theirs)
                say(f"(f) mpop: {theirs.values[-1]:.0f} mails/s, {theirs.faults}")
    return outcome


def _theirs(entry: Entry, place: Place, boxes: Boxes, series: Series) -> None:
    boxes.refill(boxes.names)
    entry.program.prepare(place)
    names = "".join(f"{name}\n" for name in boxes.names)
    ran = run(entry.program.whole(place), folder=place.folder, environment=environment(place.folder), stdin=names)
    _count(series, place, boxes, ran.seconds)
    series.cpu.append(ran.cpu)


def _ours(place: Place, boxes: Boxes, postgres: Postgres, rabbitmq: RabbitMQ, outcome: Outcome) -> None:
    """Let the services find an empty mailbox, fill it, make it due, and wait until it is empty again."""
    series, database = outcome.series[0], postgres.fresh_database()
    write_config(place, interval="1d", ledger=database, broker=rabbitmq.url)
    boxes.empty(boxes.names)
    known = environment(place.folder)
    for command in (("migrate",), ("profile", "sync")):
        subprocess.run([pps(), *command], cwd=place.folder, env=known, check=True, stdout=subprocess.DEVNULL)
    name = database.rpartition("/")[2]
    with roles(ROLES, place.folder, known) as running:
        _wait(lambda: postgres.query("SELECT last_result FROM schedule", database=name) == "empty", running)
        boxes.refill(boxes.names)
        watched = {"PostgreSQL": [postgres.pid], "RabbitMQ": [rabbitmq.pid]}
        before = _cpu(role.process.pid for role in running)
        servers = {server: _cpu(pids) for server, pids in _families(watched).items()}
        began = time.perf_counter()
        postgres.query("UPDATE schedule SET due_at = 0", database=name)
        _wait(lambda: not boxes.left(boxes.names), running)
        seconds = time.perf_counter() - began
        series.cpu.append(_cpu(role.process.pid for role in running) - before)
        for server, pids in _families(watched).items():
            outcome.aside[f"CPU of {server}, s"] = _cpu(pids) - servers[server]
        for role in running:
            outcome.aside[f"memory of the {role.name}, MB"] = role.peak_kib * KIB_IN_MB
    _count(series, place, boxes, seconds)
    postgres.drop(database)


def _count(series: Series, place: Place, boxes: Boxes, seconds: float) -> None:
    came = account(boxes.planted, place.maildirs, left=boxes.left(boxes.names))
    if not came.exact:
        series.faults.append(str(came))
    series.values.append(boxes.mails / seconds)


def _families(watched: dict[str, list[int]]) -> dict[str, list[int]]:
    return {server: [*pids, *(below for pid in pids for below in descendants(pid))] for server, pids in watched.items()}


def _cpu(pids: Iterable[int]) -> float:
    total = 0.0
    for pid in pids:
        with suppress(OSError):  # a server's child that ended meanwhile
            total += cpu_of(pid)
    return total


def _wait(reached: Callable[[], bool], running: Iterable[Role]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not reached():
        for role in running:
            role.look()
        if time.monotonic() > deadline:
            raise RuntimeError(f"not reached in {DEADLINE_SECONDS:.0f} s; load {os.getloadavg()}")
        time.sleep(LOOK_SECONDS)
