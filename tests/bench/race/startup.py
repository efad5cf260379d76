"""(h): how long commands take to start, and the memory of a service that has nothing to do."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.bench.race.boxes import PASSWORD
from tests.bench.race.contest import environment
from tests.bench.race.figures import Goal, Outcome, Series
from tests.bench.race.programs import Place, pps, write_config
from tests.bench.race.running import KIB_IN_MB, run
from tests.load import roles
from tests.servers.dovecot import Dovecot

RUNS: Final = 7
"""Of each command in a round."""

IDLE_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 60.0

COMMANDS: Final = ("--version", "status")
GOALS: Final = (
    (Goal(label="s for pps --version", bound=0.15, own="pps --version, s", most=True),),
    (Goal(label="s for pps status", bound=0.5, own="pps status, s", most=True),),
    (Goal(label="MB of pps run, idle", bound=120, own="pps run idle, MB", most=True),),
)


def startup(rounds: int, part: float, say: Callable[[str], None]) -> Outcome:
    """Measure commands beside a service that is idle."""
    del part  # there is nothing to do less of
    outcome = Outcome(key="h", title="start-up and idle memory", unit="s", series=[], goals=GOALS)
    with Dovecot(tls=False) as dovecot, tempfile.TemporaryDirectory(prefix="pps-race-") as name:
        boxes = [dovecot.add_user(f"box{number}", PASSWORD) for number in range(3)]
        folder = Path(name)
        write_config(Place(folder=folder, port=dovecot.pop3_port, boxes=boxes))
        with roles(("run",), folder, environment(folder)) as (service,):
            _wait_for(folder / "pop3.log", b'"poll_ended"', len(boxes))
            time.sleep(IDLE_SECONDS)  # what is measured is that nothing happens
            outcome.own["pps run idle, MB"] = resident_mb(service.process.pid)
            for command in COMMANDS:
                values = _seconds((pps(), command), folder, rounds * RUNS)
                outcome.series.append(Series(program=f"pps {command}", values=values))
                outcome.own[f"pps {command}, s"] = statistics.median(values)
                say(f"(h) pps {command}: {statistics.median(values):.3f} s")
    return outcome


def resident_mb(pid: int) -> float:
    """Return what a process has in memory now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * KIB_IN_MB for line in status.splitlines() if line.startswith("VmRSS:"))


def _seconds(command: Sequence[str], folder: Path, times: int) -> list[float]:
    ran = [run(command, folder=folder, environment=environment(folder)) for _ in range(times + 1)]
    bad = next((one for one in ran if one.code), None)
    if bad is not None:
        raise RuntimeError(f"{' '.join(command)}: exit {bad.code}: {bad.said}")
    return [one.seconds for one in ran[1:]]  # the first one found cold caches


def _wait_for(log: Path, event: bytes, times: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not log.exists() or log.read_bytes().count(event) < times:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{event.decode()} is not in {log} after {WAIT_SECONDS:.0f} s")
        time.sleep(0.1)
