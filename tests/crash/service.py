"""The service as real processes, each started, frozen, killed or asked to stop by itself, all in one folder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from common.crashpoints import VARIABLE
from tests.command import ROOT
from tests.servers.process import POLL_SECONDS, READY_SECONDS

ROLES: Final = ("fetcher", "router", "deliverer")

END_SECONDS: Final = 60.0
"""How long a process may take to come to the place where it is to die."""

STOP_SECONDS: Final = 30.0
"""How long a stop may take: what supervisors wait before they kill."""

STARTED: Final = "worker_started"

FAULTS: Final = frozenset(
    {"handler_failed", "settling_failed", "delivery_failed", "poll_crashed", "ledger_row_rejected", "message_dead"}
)
"""What the log must not hold after any kill: our own mistakes."""


class Service:
    """Processes by the command that starts them: "run", or one for each role; "router-2" is a second router."""

    def __init__(self, folder: Path, *, commands: Sequence[str], environment: Mapping[str, str]) -> None:
        self.commands = tuple(commands)
        self.folder = folder
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PPS_")}
        self._environment = {**clean, "PYTHONPATH": str(ROOT), **environment}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logged = dict.fromkeys(self.commands)  # all that ever ran, in this order

    def start(self, command: str, *, crash_at: str = "", environment: Mapping[str, str] | None = None) -> None:
        """Start a process; with `crash_at` ("point", "point:count", "point:count:stop") it will die or freeze there."""
        self._logged[command] = None
        with self.log(command).open("ab") as log:
            self._processes[command] = subprocess.Popen(
                [sys.executable, "-m", "manager.cli.main", command.partition("-")[0]],
                cwd=self.folder,
                env={**self._environment, **(environment or {}), **({VARIABLE: crash_at} if crash_at else {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start_all(self) -> None:
        """Start what doesn't run, and return when all say that they work."""
        for command in self.commands:
            if command not in self._processes:
                self.start(command)
        for command in self.commands:
            self.await_event(command, STARTED)

    def await_event(self, command: str, event: str, *, seconds: float = READY_SECONDS) -> None:
        """Return once the running process has logged the event; fail if it ends before."""
        process = self._processes[command]
        deadline = time.monotonic() + seconds
        while not any(line["pid"] == process.pid for line in self.lines(command, {event})):
            assert process.poll() is None, f"{command} ended with {process.returncode}: {self.tail(command)}"
            assert time.monotonic() < deadline, f"{command} never said {event}: {self.tail(command)}"
            time.sleep(POLL_SECONDS)

    @contextmanager
    def beside(self, command: str) -> Iterator[None]:
        """Have one more process of a kind at work meanwhile, such as "router-2"."""
        self.start(command)
        self.await_event(command, STARTED)
        yield
        self.stop(command)

    def await_frozen(self, command: str) -> None:
        """Return once the process has stopped itself at its crash point."""
        process = self._processes[command]
        deadline = time.monotonic() + END_SECONDS
        while _state(process.pid) != "T":
            assert process.poll() is None, f"{command} ended with {process.returncode}: {self.tail(command)}"
            assert time.monotonic() < deadline, f"{command} never froze: {self.tail(command)}"
            time.sleep(POLL_SECONDS)

    def thaw(self, command: str) -> None:
        """Have a frozen process go on."""
        self._processes[command].send_signal(signal.SIGCONT)

    def pid(self, command: str) -> int:
        """The process id of one that runs."""
        return self._processes[command].pid

    def has_ended(self, command: str, seconds: float) -> bool:
        """Wait so long for the process to end by itself; say whether it did."""
        try:
            self._processes[command].wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ending(self, command: str) -> int:
        """Forget a process that ended; return its exit code, negative for a signal."""
        return self._processes.pop(command).wait()

    def kill(self, command: str) -> None:
        """End a process with SIGKILL."""
        self._processes[command].kill()
        self.ending(command)

    def stop(self, command: str) -> float:
        """End a process with SIGTERM; return how long that took. It must be in time, with exit code 0."""
        began = time.monotonic()
        self._processes[command].send_signal(signal.SIGTERM)
        ended = self.has_ended(command, STOP_SECONDS)
        assert ended, f"{command} still runs {STOP_SECONDS} s after SIGTERM: {self.tail(command)}"
        code = self.ending(command)
        assert code == 0, f"{command} ended with {code}: {self.tail(command)}"
        return time.monotonic() - began

    def close(self) -> None:
        """Kill what still runs."""
        for command in tuple(self._processes):
            self.kill(command)

    def log(self, command: str) -> Path:
        """Where a command's log goes."""
        return self.folder / f"{command}.log"

    def lines(self, command: str, events: Collection[str]) -> list[dict[str, Any]]:
        """Return what the command has logged of these events; a process that was killed may leave half a line."""
        wanted = [f'"event":"{event}"'.encode() for event in events]
        return [
            json.loads(line)
            for line in self.log(command).read_bytes().splitlines()
            if line.endswith(b"}") and any(event in line for event in wanted)
        ]

    def tail(self, command: str) -> str:
        """Return the end of a command's log, for an assertion's message."""
        return self.log(command).read_text(errors="replace")[-3000:]

    def faults(self) -> list[str]:
        """Return the lines of all logs that tell of mistakes in the program, and whatever isn't a log line."""
        found = [json.dumps(line)[:1000] for command in self._logged for line in self.lines(command, FAULTS)]
        strays = [
            line
            for command in self._logged
            for line in self.log(command).read_text(errors="replace").splitlines()
            if line and not line.startswith("{")
        ]
        return found + strays[:20]


def _state(pid: int) -> str:
    """Return the letter that the kernel gives a process's state: T for one that is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
