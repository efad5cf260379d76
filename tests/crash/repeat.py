"""`make crash N=…`: every fault N times, each at another point of its work, and a table of what came of it.

`python -m tests.crash.repeat 10 --only deliverer` plays only the faults whose name holds the word. Ctrl-C ends it, and
what was played by then is shown.
"""

import argparse
import contextlib
import random
import signal
import sys
import time
import traceback
from collections import defaultdict
from contextlib import ExitStack

from tests.crash.matrix import Fault, Faults
from tests.crash.page import PAGE, Tally, page, table
from tests.crash.verified import unaccounted


def play(fault: Fault, tally: Tally) -> None:
    """Play one fault and count what came of it; whatever fails is a finding, and the next is played."""
    tally.runs += 1
    try:
        with fault.scene() as scene:
            tally.add(fault.play(scene), fault.doubles)
            tally.failures += filter(None, [unaccounted(scene.service.folder, but_for=fault.forgets)])
    except Exception:  # noqa: BLE001 (any exception is a finding)
        tally.failures.append(traceback.format_exc())


def repeat(rounds: int, only: str, source: random.Random) -> dict[str, Tally]:
    """Play all faults whose name holds the word so many times; a signal ends it, and what was played counts."""
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    with contextlib.suppress(KeyboardInterrupt), ExitStack() as servers:
        faults = Faults(servers, source)
        for _ in range(rounds):
            for fault in faults.all():
                if only in fault.name:
                    play(fault, tallies[fault.name])
                    sys.stderr.write(f"{fault.name}: {'failed' if tallies[fault.name].failures else 'ok'}\n")
    return tallies


def main() -> int:
    """Play all faults so many times; exit 1 if anything was lost, or doubled beyond what can't be helped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=1)
    parser.add_argument("--only", default="", help="a word in the fault's name")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--write", action="store_true", help="write docs/faults.md, too")
    arguments = parser.parse_args()
    sys.stdout.write(f"seed {arguments.seed}\n")
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()
    tallies = repeat(arguments.rounds, arguments.only, random.Random(arguments.seed))  # noqa: S311 (a moment is no secret)
    seconds = time.monotonic() - began
    sys.stdout.write(table(tallies, seconds))
    if arguments.write:
        PAGE.write_text(page(tallies, seconds, arguments.rounds))
    return 1 if any(tally.failures for tally in tallies.values()) else 0


def _interrupt(*_signal: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
