"""Runs the `pps` command as a user does, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def pps(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None, stdin: bytes = b"", seconds: int = 60
) -> Ended:
    """Run `pps` in `folder`, its state kept there too, and return how it ended."""
    ended = subprocess.run(
        _command(arguments),
        cwd=folder,
        env=_environment(folder, environment),
        input=stdin,
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    return Ended(code=ended.returncode, out=ended.stdout.decode(), err=ended.stderr.decode())


@contextmanager
def started(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start `pps` as `pps()` does, and yield it at work; it is ended at the end, if it still runs.

    SIGINT works even where the tests themselves were started in the background, with SIGINT ignored.
    """
    with subprocess.Popen(
        ["env", "--default-signal=INT", *_command(arguments)],
        cwd=folder,
        env=_environment(folder, environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as command:
        try:
            yield command
        finally:
            command.kill()


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "manager.cli.main", *arguments]


def _environment(folder: Path, more: Mapping[str, str] | None) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PPS_", "XDG_"))}
    state = {"XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    return {**clean, **state, **(more or {})}


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its content: to see that nothing was touched."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
