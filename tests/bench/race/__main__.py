"""Runs the workloads and prints their table: `make bench`, or `make bench W=a ROUNDS=1 PART=0.1`."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.bench.race.figures import Outcome
from tests.bench.race.idle import idle
from tests.bench.race.separate import separate
from tests.bench.race.startup import startup
from tests.bench.race.table import lines
from tests.bench.race.workloads import CONTESTS

ROUNDS: Final = 3

Run = Callable[[int, float, Callable[[str], None]], Outcome]

WORKLOADS: Final[Mapping[str, Run]] = {
    **{contest.key: contest.run for contest in CONTESTS},
    "f": separate,
    "g": idle,
    "h": startup,
}


def main() -> int:
    """Run what the command line names; fail where we lost, doubled or left mail."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--workloads", default="".join(WORKLOADS), help="their letters, e.g. abe")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--part", type=float, default=1.0, help="the part of the mails or mailboxes, e.g. 0.1")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"))
    given = parser.parse_args()
    unknown = set(given.workloads) - WORKLOADS.keys()
    if unknown or given.rounds < 1 or not 0 < given.part <= 1:
        parser.error(f"W is letters of {''.join(WORKLOADS)}, ROUNDS counts from 1, PART is over 0 and at most 1")
    began = time.monotonic()
    document: dict[str, Any] = {"machine": machine(), "rounds": given.rounds, "part": given.part, "workloads": []}
    right = True
    for key in given.workloads:
        outcome = WORKLOADS[key](given.rounds, given.part, progress(began))
        right = right and outcome.right
        document["workloads"].append(outcome.document(whole=given.part == 1))
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(document, indent=1))  # after each: an interrupted run leaves what it has
        say("\n".join(lines(document["workloads"][-1])))
    say(f"load at the start {document['machine']['load']}, now {load()}; all of it: {given.json}")
    return 0 if right else 1


def progress(began: float) -> Callable[[str], None]:
    """Return what tells of each step, with the seconds since the start."""

    def tell(line: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.0f} s {line}\n")

    return tell


def say(line: str) -> None:
    """Print a part of the table."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def machine() -> dict[str, Any]:
    """Say what it was measured on."""
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": load(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def load() -> str:
    """Return the load averages."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


if __name__ == "__main__":
    sys.exit(main())
