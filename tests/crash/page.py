"""What came of each fault: counted run by run, shown as a table, and written to docs/faults.md."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.crash.nodes import PAUSE_SECONDS
from tests.crash.scene import Drained

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "faults.md"

HEADER: Final = """# Every fault, as it was played

    make crash N={rounds} WRITE=yes

wrote this page. Each line is a fault that was brought on for real, so many times, each time at another point of the
work: what was killed, frozen, cut off or full is then healed, and all is drained and counted, octet by octet. *Lost*
and *doubled* count mails, each for each of its recipients. At an LMTP server one mail may come twice for each kill
between its final dot and the outcome; in a Maildir none. *Longest drain* is the time from the healing until every
mailbox was empty and nothing was undone, with what would take minutes (leases, claims, retries, 15 minutes without
progress) made older; *longest pause*, where it was watched, the time in which nothing came. "one" is `pps run` on
SQLite, "three" a process for each role on RabbitMQ and PostgreSQL, "nodes" the same on three nodes of RabbitMQ.

What else is tested, and how, stands in the index of `tests/crash/README.md`.

{when}: {runs} runs in {minutes:.0f} minutes on {cores} cores (load {load}), Python {python}.

| fault | runs | lost | doubled | failed | longest drain | longest pause |
| --- | --- | --- | --- | --- | --- | --- |
"""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came of one fault so far."""

    runs: int = 0
    lost: int = 0
    doubled: int = 0
    foreign: int = 0
    longest: float = 0.0
    pause: float = 0.0  # that was watched, in all
    failures: list[str] = field(default_factory=list)

    def add(self, drained: Drained, allowed: int) -> None:
        """Count one run."""
        accounting = drained.accounting
        self.lost += len(accounting.lost)
        self.doubled += len(accounting.doubled)
        self.foreign += len(accounting.foreign)
        self.longest = max(self.longest, drained.seconds)
        self.pause = max(self.pause, drained.pause)
        if drained.pause > PAUSE_SECONDS:
            self.failures.append(f"nothing arrived for {drained.pause:.1f} s although mail kept coming")
        if accounting.lost or accounting.foreign or len(accounting.doubled) > allowed:
            self.failures.append(str(accounting))


def table(tallies: Mapping[str, Tally], seconds: float) -> str:
    """Return the table for a terminal, and what failed below it."""
    width = max(len(name) for name in tallies)
    lines = [f"{'fault':{width}}  runs  lost  doubled  foreign  failed  longest drain  longest pause"]
    lines += [
        f"{name:{width}}  {tally.runs:4}  {tally.lost:4}  {tally.doubled:7}  {tally.foreign:7}  "
        f"{len(tally.failures):6}  {tally.longest:11.1f} s  {tally.pause:11.1f} s"
        for name, tally in tallies.items()
    ]
    lines.append(f"{_runs(tallies)} runs in {seconds:.0f} s")
    lines += [f"\n{name}:\n{failure}" for name, tally in tallies.items() for failure in tally.failures]
    return "\n".join(lines) + "\n"


def page(tallies: Mapping[str, Tally], seconds: float, rounds: int) -> str:
    """Return the page: bad figures too."""
    text = HEADER.format(
        rounds=rounds,
        when=datetime.now(UTC).strftime("%Y-%m-%d"),
        runs=_runs(tallies),
        minutes=seconds / 60,
        cores=os.cpu_count(),
        load=f"{os.getloadavg()[2]:.1f}",
        python=platform.python_version(),
    )
    rows = [
        f"| {name} | {tally.runs} | {tally.lost} | {tally.doubled} | {len(tally.failures)} | {tally.longest:.1f} s | "
        f"{f'{tally.pause:.1f} s' if tally.pause else ''} |"
        for name, tally in tallies.items()
    ]
    return text + "\n".join(rows) + "\n"


def _runs(tallies: Mapping[str, Tally]) -> int:
    return sum(tally.runs for tally in tallies.values())
