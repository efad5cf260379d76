"""Runs a program once and says what it took: time, CPU of it and its children, its own memory."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, Timer
from typing import Final

KIB_IN_MB: Final = 1024 / 1e6

LOOK_SECONDS: Final = 0.05

DEADLINE_SECONDS: Final = 240.0
"""After that a program hangs: its process group is ended, and what it left undone is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one run of a program took."""

    seconds: float
    cpu: float  # seconds, children's included
    peak_kib: int  # of the process itself, not of its children
    code: int
    said: str  # the end of what it printed


def run(command: Sequence[str], *, folder: Path, environment: Mapping[str, str], stdin: str = "") -> Ran:
    """Run a command in a folder to its end."""
    output = folder / "output.log"
    names = folder / "stdin"
    names.write_text(stdin)
    with output.open("wb") as log, names.open("rb") as given:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=given, stdout=log, stderr=log, start_new_session=True
        )
        peak = _Peak(process.pid)
        peak.start()
        deadline = Timer(DEADLINE_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
        deadline.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        finally:
            deadline.cancel()
        seconds = time.perf_counter() - began
        peak.join()
    process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here, not by subprocess
    return Ran(
        seconds=seconds,
        cpu=used.ru_utime + used.ru_stime,
        peak_kib=peak.kib,
        code=process.returncode,
        said=output.read_text(errors="replace")[-300:].strip(),
    )


class _Peak(Thread):
    """Watches the peak memory of a process: what wait4 tells counts the parent's too, as it was before the exec."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.kib = 0
        self._status = Path(f"/proc/{pid}/status")

    def run(self) -> None:
        with suppress(OSError, StopIteration):  # the process is gone, or has no memory any more
            while True:
                lines = self._status.read_text().splitlines()
                self.kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
                time.sleep(LOOK_SECONDS)


def cpu_of(pid: int) -> float:
    """Return the seconds of CPU that a running process has used, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
