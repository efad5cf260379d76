"""What CPU processes use, looked at now and then: cores of each, and of the whole machine, between two moments."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.servers.process import descendants

MACHINE: Final = "the machine"

_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Meter:
    """Watches processes, by who they are; children that come and go are counted with those that began them."""

    def __init__(self, watched: Mapping[str, Sequence[int]]) -> None:
        self._watched = watched
        self._looks: list[tuple[float, dict[str, float]]] = []
        self.look()

    def look(self) -> None:
        """Note what was used so far."""
        used = {who: sum(_used(pid) for pid in pids) for who, pids in self._watched.items()}
        self._looks.append((time.monotonic(), {**used, MACHINE: _busy()}))

    def cores(self, first: float, last: float) -> dict[str, float]:
        """Return the cores that each used between two moments, by the looks nearest to them."""
        began = min(self._looks, key=lambda look: abs(look[0] - first))
        ended = min(self._looks, key=lambda look: abs(look[0] - last))
        seconds = max(ended[0] - began[0], 1e-9)
        return {who: (ended[1][who] - began[1][who]) / seconds for who in began[1]}


def _used(pid: int) -> float:
    """Return the seconds of a process, its living children and those that it has waited for."""
    ticks = 0
    for one in (pid, *descendants(pid)):
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def _busy() -> float:
    """Return the seconds in which any core of the machine worked."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / _TICKS
