"""A terminal that runs the `pps` command: what it shows is read, and its questions are answered as a person would."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.command import ROOT

SECONDS: Final = 60.0


class Terminal:
    """`with Terminal(folder, "profile", "add") as terminal:` answers with `terminal.answer(question, line)`."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.shown = ""
        self._ours, theirs = pty.openpty()
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PPS_", "XDG_"))}
        self._command = subprocess.Popen(
            [sys.executable, "-m", "manager.cli.main", *arguments],
            cwd=folder,
            env={**clean, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "TERM": "xterm", "COLUMNS": "200"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,  # our own terminal is none of its business
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        """End the command, if it has not ended."""
        if self._command.poll() is None:
            self._command.kill()
        self._command.wait()
        os.close(self._ours)

    def answer(self, question: str, line: str) -> None:
        """Wait for a question that was not shown before, and type a line."""
        self._read_until(question)
        os.write(self._ours, f"{line}\n".encode())

    def await_line(self, text: str) -> None:
        """Wait for a text that was not shown before."""
        self._read_until(text)

    def end(self) -> int:
        """Read until the command ends; return its exit code."""
        self._read_until(None)
        return self._command.wait(timeout=SECONDS)

    def _read_until(self, question: str | None) -> None:
        fresh, deadline = "", time.monotonic() + SECONDS
        while question is None or question not in fresh:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.shown
            try:
                octets = os.read(self._ours, 65536)
            except OSError:  # the other end is closed
                octets = b""
            if not octets:
                assert question is None, self.shown
                return
            fresh += octets.decode(errors="replace")
            self.shown += octets.decode(errors="replace")
