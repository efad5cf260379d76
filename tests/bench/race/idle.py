"""(g): very many mailboxes without new mail, polled by one process, and by a client that does nothing else."""

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.bench.race.boxes import PASSWORD
from tests.bench.race.contest import environment
from tests.bench.race.figures import OURS, Goal, Outcome, Series
from tests.bench.race.probe import polls_a_second
from tests.bench.race.programs import Place, write_config
from tests.bench.race.running import KIB_IN_MB, cpu_of
from tests.load import Role, roles
from tests.servers.dovecot import Dovecot

MAILBOXES: Final = 10_000
AT_ONCE: Final = 50
LOOK_SECONDS: Final = 0.5
DEADLINE_SECONDS: Final = 300.0
MOST_ROUNDS: Final = 2

BARE: Final = "bare client"
GOALS: Final = (
    (Goal(label="ms of our CPU a poll", bound=1, own="CPU a poll, ms", most=True),),
    (Goal(label="of a bare client's polls/s", bound=0.8, of=(BARE,)),),
    (Goal(label="MB", bound=200, own="peak memory, MB", most=True),),
)

_DONE: Final = "SELECT count(*), min(last_started_at), max(last_finished_at) FROM schedule WHERE last_result = 'empty'"


def idle(rounds: int, part: float, say: Callable[[str], None]) -> Outcome:
    """Measure both in turn."""
    ours, bare = Series(program=OURS), Series(program=BARE)
    count = max(1, int(MAILBOXES * part))
    outcome = Outcome(
        key="g", title=f"{count:,} idle mailboxes polled", unit="polls/s", series=[ours, bare], goals=GOALS
    )
    with Dovecot(tls=False) as dovecot:
        boxes = [dovecot.add_user(f"box{number}", PASSWORD) for number in range(count)]
        polls_a_second(dovecot.pop3_port, boxes, AT_ONCE)  # Dovecot makes each one's index
        for _ in range(min(rounds, MOST_ROUNDS)):
            bare.values.append(polls_a_second(dovecot.pop3_port, boxes, AT_ONCE))
            say(f"(g) {BARE}: {bare.values[-1]:.0f} polls/s")
            _poll(dovecot.pop3_port, boxes, ours)
            say(f"(g) {OURS}: {ours.values[-1]:.0f} polls/s, CPU {ours.cpu[-1]:.1f} s, {ours.peak_mb:.0f} MB")
    outcome.own["CPU a poll, ms"] = statistics.median(ours.cpu) / count * 1000
    outcome.own["peak memory, MB"] = ours.peak_mb
    return outcome


def _poll(port: int, boxes: Sequence[str], series: Series) -> None:
    """Have a service poll each once; what it does before its first poll is not counted."""
    with tempfile.TemporaryDirectory(prefix="pps-race-") as name:
        folder = Path(name)
        write_config(Place(folder=folder, port=port, boxes=boxes), sessions=AT_ONCE, interval="1d")
        with roles(("run",), folder, environment(folder)) as (service,):
            _until(folder, 1, service)
            before, began_with = cpu_of(service.process.pid), _done(folder)[0]
            _until(folder, len(boxes), service)
            cpu = cpu_of(service.process.pid) - before
        done, first, last = _done(folder)
    series.values.append(done / (last - first) * 1000)
    series.cpu.append(cpu * len(boxes) / (done - began_with))
    series.peak_mb = max(series.peak_mb, service.peak_kib * KIB_IN_MB)


def _until(folder: Path, polled: int, service: Role) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while _done(folder)[0] < polled:
        service.look()
        if time.monotonic() > deadline or service.process.poll() is not None:
            raise RuntimeError(f"{_done(folder)[0]} of {polled} mailboxes polled after {DEADLINE_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def _done(folder: Path) -> tuple[int, int, int]:
    """Return how many were polled, when the first one began, and when the last one ended, in ms."""
    if not (folder / "pps.db").exists():
        return 0, 0, 0
    with closing(sqlite3.connect(f"file:{folder}/pps.db?mode=ro", uri=True, timeout=30)) as connection:
        try:
            count, first, last = connection.execute(_DONE).fetchone()
        except sqlite3.OperationalError:  # it has no tables yet
            return 0, 0, 0
    return int(count), int(first or 0), int(last or 0)
