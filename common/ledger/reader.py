"""How a command asks the ledger: plain SQL that both databases understand, read-only, beside whatever works.

On SQLite through the standard library alone: `pps status` must answer at once, and importing SQLAlchemy takes longer
than all else that it does. On PostgreSQL through the engine, whose URL and limits are those of the workers.
"""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from common.failures import PpsError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection
    from structlog.typing import FilteringBoundLogger

    from common.ledger.ledger import Ledger

Found = dict[str, Any]
"""A row by the names of its columns."""

BUSY_SECONDS: Final = 2
"""How long SQLite's writer is waited for; in WAL mode readers hardly ever wait."""

POSTGRESQL_CLOCK: Final = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"

_SQLITE: Final = "sqlite:///"


class Reader(Protocol):
    """Answers questions about the ledger. `clock` is the SQL of the database's own time in milliseconds."""

    clock: str

    async def rows(self, query: str, **values: object) -> Sequence[Found]:
        """Return what a query finds; its parameters are written `:name`."""


class SqliteReader:
    """Reads a SQLite ledger."""

    clock = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA query_only = 1")

    async def rows(self, query: str, **values: object) -> Sequence[Found]:
        """Return what a query finds."""
        return [dict(row) for row in self._connection.execute(query, values)]

    def first(self, query: str) -> object:
        """Return the first value that a query finds, None if it finds nothing."""
        row = self._connection.execute(query).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


class LedgerReader:
    """Reads a ledger that is open already, of either kind; raises PpsError when it doesn't answer."""

    def __init__(self, ledger: "Ledger") -> None:
        self._ledger = ledger
        self.clock = POSTGRESQL_CLOCK if ledger.shared else SqliteReader.clock

    async def rows(self, query: str, **values: object) -> Sequence[Found]:
        """Return what a query finds."""
        return await self._ledger.read(lambda connection: _rows(connection, query, values))


async def _rows(connection: "AsyncConnection", query: str, values: dict[str, object]) -> Sequence[Found]:
    from sqlalchemy import text  # noqa: PLC0415 (who has a connection has imported it)

    return [dict(row) for row in (await connection.execute(text(query), values)).mappings()]


@asynccontextmanager
async def open_reader(url: str, *, base: Path, log: "FilteringBoundLogger") -> AsyncIterator[Reader]:
    """Open `[service] ledger` to read; raises PpsError when there is none, or it doesn't answer.

    A SQLite ledger of an older version is brought to this one's schema first.
    """
    if not url.startswith(_SQLITE):
        async with _through_engine(url, base, log) as reader:
            yield reader
        return
    path = base / url.removeprefix(_SQLITE)
    if not path.exists():
        raise PpsError("nothing ran yet: `pps run` or `pps pull` makes the ledger")
    if path.is_dir():
        raise PpsError(f"[service] ledger: {path} is a folder: name a file in it")
    try:
        if _version(path) != newest_schema():
            await _opened_once(url, base, log)
        reader = SqliteReader(path)
        try:
            yield reader
        finally:
            reader.close()
    except sqlite3.Error as error:
        raise PpsError(f"[service] ledger: can't read {path}: {error}") from error


def newest_schema() -> str:
    """Return the newest migration, as `common.ledger.schema.HEAD` has it, without importing SQLAlchemy."""
    return max(path.name for path in (Path(__file__).parent / "migrations" / "versions").glob("[0-9]*.py"))[:4]


def _version(path: Path) -> str | None:
    reader = SqliteReader(path)
    try:
        found = reader.first("SELECT version_num FROM alembic_version")
        return None if found is None else str(found)
    except sqlite3.OperationalError:
        return None  # an empty file
    finally:
        reader.close()


async def _opened_once(url: str, base: Path, log: "FilteringBoundLogger") -> None:
    """Let the ledger itself say what is wrong with its schema, or mend it."""
    from common.ledger.ledger import Ledger  # noqa: PLC0415 (see above)

    await (await Ledger.open(url, base=base, log=log)).close()


@asynccontextmanager
async def _through_engine(url: str, base: Path, log: "FilteringBoundLogger") -> AsyncIterator[Reader]:
    from common.ledger.ledger import Ledger  # noqa: PLC0415 (see above)

    ledger = await Ledger.open(url, base=base, log=log)
    try:
        yield LedgerReader(ledger)
    finally:
        await ledger.close()
