"""Named places where a test may have the process die by SIGKILL; nothing happens unless PPS_CRASH_AT names one.

A name is `role.step`. `PPS_CRASH_AT=fetcher.after_ledger:3` dies the third time that step is passed, and
`fetcher.after_ledger:3:stop` freezes then, until somebody has it go on.
"""

import os
import signal
from collections import Counter
from functools import cache
from typing import Final

VARIABLE: Final = "PPS_CRASH_AT"

POINTS: Final = frozenset(
    {
        "broker.after_publish",
        "fetcher.after_retr",
        "fetcher.after_blob",
        "fetcher.after_ledger",
        "fetcher.after_confirm",
        "fetcher.after_outcome",
        "fetcher.after_settle",
        "fetcher.after_dele",
        "fetcher.after_quit",
        "router.before_ledger",
        "router.after_ledger",
        "router.amid_publish",
        "router.after_publish",
        "deliverer.after_claim",
        "deliverer.before_dot",
        "deliverer.after_dot",
        "deliverer.after_reply",
        "deliverer.after_link",
        "deliverer.after_outcome",
    }
)

_passed: Counter[str] = Counter()


def reach(point: str) -> None:
    """Die here with SIGKILL, or freeze, if the environment names this point; `point` is one of POINTS."""
    wanted = _wanted()
    if wanted is None:
        return
    if point not in POINTS:
        raise ValueError(f"not a crash point: {point!r}")
    name, _, when = wanted.partition(":")
    count, _, what = when.partition(":")
    _passed[point] += 1
    if name == point and _passed[point] == int(count or 1):
        os.kill(os.getpid(), signal.SIGSTOP if what == "stop" else signal.SIGKILL)


@cache
def _wanted() -> str | None:
    """Read the environment once: each mail passes a dozen points."""
    return os.environ.get(VARIABLE)
