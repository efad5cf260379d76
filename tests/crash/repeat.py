"""`make crash N=…`: every fault N times, each at another point of its work, and a table of what came of it.

`python -m tests.crash.repeat 10 --only deliverer` plays only the faults whose name holds the word.
"""

import argparse
import random
import sys
import time
import traceback
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.crash.matrix import Fault, Faults
from tests.crash.nodes import PAUSE_SECONDS
from tests.crash.scene import Drained


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came of one fault so far."""

    runs: int = 0
    lost: int = 0
    doubled: int = 0
    foreign: int = 0
    longest: float = 0.0
    pause: float = 0.0
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


def play(fault: Fault, tally: Tally) -> None:
    """Play one fault and count what came of it; whatever fails is a finding, and the next is played."""
    tally.runs += 1
    try:
        with fault.scene() as scene:
            tally.add(fault.play(scene), fault.doubles)
    except Exception:  # noqa: BLE001 (any exception is a finding)
        tally.failures.append(traceback.format_exc())


def show(tallies: dict[str, Tally], seconds: float) -> None:
    """Print the table, and what failed below it."""
    width = max(len(name) for name in tallies)
    lines = [f"{'fault':{width}}  runs  lost  doubled  foreign  failed  longest drain  longest pause"]
    lines += [
        f"{name:{width}}  {tally.runs:4}  {tally.lost:4}  {tally.doubled:7}  {tally.foreign:7}  "
        f"{len(tally.failures):6}  {tally.longest:11.1f} s  {tally.pause:11.1f} s"
        for name, tally in tallies.items()
    ]
    lines.append(f"{sum(tally.runs for tally in tallies.values())} runs in {seconds:.0f} s")
    lines += [f"\n{name}:\n{failure}" for name, tally in tallies.items() for failure in tally.failures]
    sys.stdout.write("\n".join(lines) + "\n")


def main() -> int:
    """Play all faults so many times; exit 1 if anything was lost, or doubled beyond what can't be helped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=1)
    parser.add_argument("--only", default="", help="a word in the fault's name")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    sys.stdout.write(f"seed {arguments.seed}\n")
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    began = time.monotonic()
    with ExitStack() as servers:
        faults = Faults(servers, random.Random(arguments.seed))  # noqa: S311 (a moment is no secret)
        for _ in range(arguments.rounds):
            for fault in faults.all():
                if arguments.only in fault.name:
                    play(fault, tallies[fault.name])
                    sys.stderr.write(f"{fault.name}: {'failed' if tallies[fault.name].failures else 'ok'}\n")
    show(tallies, time.monotonic() - began)
    return 1 if any(tally.failures for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
