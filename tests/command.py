"""Runs the `pps` command as a user does, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
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
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PPS_", "XDG_"))}
    state = {"XDG_STATE_HOME": str(folder / "state"), "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    ended = subprocess.run(
        [sys.executable, "-m", "manager.cli.main", *arguments],
        cwd=folder,
        env={**clean, **state, **(environment or {})},
        input=stdin,
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    return Ended(code=ended.returncode, out=ended.stdout.decode(), err=ended.stderr.decode())


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its content: to see that nothing was touched."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
