"""What a shell completes beside commands and options: names of profiles and states.

Asked at every press of Tab: quick, from the file and the SQLite ledger with the standard library alone, and silent.
"""

import contextlib
import os
import sqlite3
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from manager.cli.options import DEFAULT_CONFIG

MAX_FILE: Final = 1024 * 1024
"""Octets of a configuration that are read for a completion."""

BUSY_SECONDS: Final = 0.2

DEFAULT_LEDGER: Final = "sqlite:///pps.db"
"""As `[service] ledger` has it, whose own home is too slow to import here."""


def complete_profile(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of profiles that begin so."""
    return _beginning(incomplete, _profiles(_path(context)))


def complete_state(incomplete: str) -> list[str]:
    """Return the states of mails that begin so."""
    from manager.cli.mails import STATES

    return _beginning(incomplete, STATES)


def _beginning(incomplete: str, names: Any) -> list[str]:  # noqa: ANN401 (any names)
    return sorted({name for name in names if name.startswith(incomplete)})


def _path(context: typer.Context) -> Path:
    given = context.params.get("config") or os.environ.get("PPS_CONFIG") or DEFAULT_CONFIG
    return Path(given)


def _profiles(path: Path) -> Iterator[str]:
    """Yield the names in the file and in its ledger; what can't be read has none, and no complaint."""
    try:
        with path.open("rb") as file:
            document = tomllib.loads(file.read(MAX_FILE).decode())
    except (OSError, ValueError):
        return
    rows = document.get("profile", [])
    yield from (str(row["name"]) for row in rows if isinstance(row, dict) and "name" in row)
    service = document.get("service", {})
    url = str(service.get("ledger", DEFAULT_LEDGER)) if isinstance(service, dict) else ""
    if url.startswith("sqlite:///"):
        with contextlib.suppress(sqlite3.Error):
            yield from _recorded(path.absolute().parent / url.removeprefix("sqlite:///"))


def _recorded(ledger: Path) -> list[str]:
    with contextlib.closing(
        sqlite3.connect(f"{ledger.as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)
    ) as connection:
        return [str(name) for (name,) in connection.execute("SELECT name FROM profiles")]
