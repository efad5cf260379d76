"""One workload, run by each program in turn, round after round; the order rotates, the mailboxes are the same."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.race.accounting import account
from tests.bench.race.boxes import PASSWORD, Boxes, Mails
from tests.bench.race.figures import Goal, Outcome, Series
from tests.bench.race.probe import files_a_second
from tests.bench.race.programs import Place, Program
from tests.bench.race.running import KIB_IN_MB, Ran, cpu_of, run
from tests.bench.relay import Relay, relaying
from tests.servers.dovecot import Dovecot

MOST_SECONDS: Final = 15.0
"""A program that has had so much of a workload's time is not run again: it is told by the rounds it had."""

PROBE: Final = "fsync probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A program, and which part of the boxes it is given: the slowest would take half an hour for all."""

    program: Program
    part: float = 1.0

    @property
    def missing(self) -> bool:
        """Whether it isn't installed."""
        return not all(shutil.which(name) for name in self.program.executables)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """A workload."""

    key: str
    title: str
    unit: str
    contents: Callable[[float], Mapping[str, Mails]]  # for a part of the mails
    entries: Sequence[Entry]
    goals: Sequence[tuple[Goal, ...]]
    users: Sequence[str] = ()
    delay_ms: int = 0  # each way
    per_box: bool = False  # boxes a second are counted, not mails
    probe: tuple[int, int] | None = None  # files and octets

    def run(self, rounds: int, part: float, say: Callable[[str], None]) -> Outcome:
        """Run all rounds."""
        there = [entry for entry in self.entries if not entry.missing]
        missing = [f"{e.program.name} (apt-get install {e.program.package})" for e in self.entries if e.missing]
        for name in missing:
            say(f"({self.key}) missing: {name}; the others go on")
        series = {entry.program.name: Series(program=entry.program.name) for entry in there}
        if self.probe is not None:
            series[PROBE] = Series(program=PROBE)
        outcome = Outcome(
            key=self.key, title=self.title, unit=self.unit, series=[*series.values()], missing=missing, goals=self.goals
        )
        with Dovecot(tls=False) as dovecot, _relayed(dovecot.pop3_port, self.delay_ms) as (port, relay):
            boxes = Boxes(dovecot, self.contents(part))
            spent = dict.fromkeys(series, 0.0)
            for number in range(rounds):
                shift = number % len(there)
                for entry in (*there[shift:], *there[:shift]):
                    name = entry.program.name
                    if number and spent[name] > MOST_SECONDS:
                        continue
                    spent[name] += self._once(entry, boxes, port, series[name], say)
                if self.probe is not None:
                    files, octets = self.probe
                    series[PROBE].values.append(files_a_second(max(1, int(files * part)), octets))
                    say(f"({self.key}) {PROBE}: {series[PROBE].values[-1]:.0f} files/s")
            if relay is not None:
                outcome.aside["CPU of the relay, s"] = cpu_of(relay.pid)
        ours = outcome.series[0]
        outcome.own |= {"peak memory": ours.peak_mb}
        return outcome

    def _once(self, entry: Entry, boxes: Boxes, port: int, series: Series, say: Callable[[str], None]) -> float:
        """Run a program once on refilled boxes; return the seconds it took."""
        names = boxes.names[: max(1, int(len(boxes.names) * entry.part))]
        boxes.refill(names)
        with tempfile.TemporaryDirectory(prefix="pps-race-") as folder:
            place = Place(folder=Path(folder), port=port, boxes=names, users=self.users)
            entry.program.prepare(place)
            ran = run(
                entry.program.whole(place),
                folder=place.folder,
                environment=environment(place.folder),
                stdin="".join(f"{name}\n" for name in names),
            )
            wanted = {user: boxes.planted[user] for user in self.users or names if user in boxes.planted}
            came = account(wanted, place.maildirs, left=boxes.left(names))
        rate = (len(names) if self.per_box else boxes.mails) / ran.seconds
        if not came.exact:
            series.faults.append(f"{came}; exit {ran.code}: {ran.said}")
        series.values.append(rate)
        series.cpu.append(ran.cpu)
        series.peak_mb = max(series.peak_mb, ran.peak_kib * KIB_IN_MB)
        say(f"({self.key}) {entry.program.name}: {rate:.1f} {self.unit}, {_took(ran)}, {came}")
        return ran.seconds


def environment(folder: Path) -> dict[str, str]:
    """Return what all programs are started with: a home of their own, and Python as it is by default."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PPS_", "XDG_", "PYTHON"))}
    return {**clean, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state"), "BENCH_PASSWORD": PASSWORD}


def _took(ran: Ran) -> str:
    return f"{ran.seconds:.2f} s, CPU {ran.cpu:.2f} s, {ran.peak_kib * KIB_IN_MB:.0f} MB"


@contextmanager
def _relayed(port: int, delay_ms: int) -> Iterator[tuple[int, Relay | None]]:
    if not delay_ms:
        yield port, None
        return
    with relaying(port, delay_ms) as relay:
        yield relay.port, relay
