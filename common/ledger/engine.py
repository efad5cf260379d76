"""Opening the ledger's database: the engine for each URL, its safety settings, its schema version."""

import contextlib
import os
import sqlite3
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from common.failures import PpsError, UsageError
from common.ledger.postgresql import checked_url, is_busy, open_postgresql
from common.ledger.schema import HEAD, installation, new_id

MODE: Final = 0o640
"""Of a new SQLite file: it names users, and has sealed passwords."""

BUSY_SECONDS: Final = 2
"""How long one try waits for SQLite's single writer, which holds its lock for milliseconds; services try for ever."""

WRITE: Final = "pps_write"
"""The execution option of a transaction that will write."""

_MIGRATION: Final = 0x7070735F6D
"""The advisory lock of who migrates, of any number that begin at once."""

_SQLITE_NAMES: Final = {
    sqlite3.SQLITE_ERROR: "SQLITE_ERROR",
    sqlite3.SQLITE_BUSY: "SQLITE_BUSY",
    sqlite3.SQLITE_READONLY: "SQLITE_READONLY",
    sqlite3.SQLITE_FULL: "SQLITE_FULL",
    sqlite3.SQLITE_IOERR: "SQLITE_IOERR",
    sqlite3.SQLITE_CANTOPEN: "SQLITE_CANTOPEN",
}

_NO_TABLE: Final = frozenset({"SQLITE_ERROR", "42P01"})

_MENDS: Final = {
    "SQLITE_BUSY": "another program has it locked: end that one (fuser -v FILE names it), or try again",
    "SQLITE_READONLY": "this user may not write it or its folder: chown them, or run as their owner",
    "SQLITE_FULL": "make room",
    "SQLITE_IOERR": "the disk fails or is full: see df and the system's log",
    "SQLITE_CANTOPEN": "this user may not write it or its folder: chown them, or run as their owner",
    "28P01": "check user and password in the URL",
    "28000": "check the user in the URL, its LOGIN right, and pg_hba.conf",
    "3D000": "check the URL, or make it: createdb -O USER DATABASE",
    "42501": "GRANT the user what it lacks (to migrate, CREATE on the schema; to work, SELECT, INSERT, UPDATE and "
    "DELETE on its tables: deploy/postgresql/roles.sql does)",
    "53100": "its disk is full: make room",
    "53300": "raise max_connections, or run fewer processes",
    "26000": "a pooler in between changes connections: set its pool_mode to session",
    "55P03": "others hold its tables: to migrate, stop the workers, and try again",
}
"""What a person does about it, by the database's own code."""


def database_url(url: str, *, base: Path) -> URL:
    """Return the driver's URL for `[service] ledger`; a relative SQLite path is relative to `base`."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(f"[service] ledger: {_masked(url)!r} is not a URL such as sqlite:///pps.db") from error
    if parsed.drivername == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise UsageError("[service] ledger: sqlite needs a file: sqlite:///pps.db")
        return parsed.set(drivername="sqlite+aiosqlite", database=str(base / parsed.database))
    if parsed.drivername in {"postgresql", "postgres"}:
        return checked_url(parsed, base=base)
    raise UsageError(f"[service] ledger: {parsed.drivername}:// is not sqlite:// or postgresql://")


def open_engine(url: URL, *, role: str, migrating: bool = False) -> AsyncEngine:
    """Return an engine whose commits are durable and whose waits end; raises PpsError for a file that can't be one.

    `role` is what PostgreSQL shows of us in pg_stat_activity.
    """
    if url.drivername.startswith("postgresql"):
        return open_postgresql(url, role=role, migrating=migrating)
    _check_file(Path(url.database or ""))
    engine = create_async_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine.sync_engine, "connect", _configure_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def open_sqlite(url: URL) -> Engine:
    """Return an engine for threads, on the file of an engine that is open."""
    engine = create_engine(url.set(drivername="sqlite"), connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _check_file(path: Path) -> None:
    """Say what the driver, in a thread of its own, would only call "unable to open database file"."""
    if path.is_dir():
        raise PpsError(f"[service] ledger: {path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise PpsError(f"[service] ledger: there is no folder {path.parent}: make it, or name another place")
    reach = path if path.exists() else path.parent
    if not os.access(reach, os.R_OK | os.W_OK):
        raise PpsError(f"[service] ledger: this user may not write {reach}: chown it, or run as its owner")
    if not path.exists():
        with contextlib.suppress(OSError):  # SQLite says it better
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, MODE))  # its -wal and -shm get it, too


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a transaction that will write. SQLite takes its lock at once: a read that later writes could deadlock."""
    async with engine.connect() as connection:
        await connection.execution_options(**{WRITE: True})
        async with connection.begin():
            yield connection


async def schema_version(engine: AsyncEngine) -> str | None:
    """Return the migration that the database stands at, None when it is empty; raises PpsError when unreachable."""
    try:
        async with engine.connect() as connection:
            try:
                return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
            except DBAPIError as error:
                if said_by(error)[0] not in _NO_TABLE:
                    raise
                return None
    except (OSError, SQLAlchemyError, TimeoutError) as error:
        raise PpsError(unreachable(engine.url, error)) from error


async def prepare(engine: AsyncEngine) -> str:
    """Bring SQLite to the newest schema, check PostgreSQL's, and return the installation id; raises PpsError."""
    version = await schema_version(engine)
    if version != HEAD:
        if engine.dialect.name != "sqlite" and version is None:
            raise PpsError("the ledger's database has no tables yet: run `pps migrate` once")
        _refuse_newer(version)
        if engine.dialect.name != "sqlite":
            raise PpsError(
                f"the ledger is of an older PPS (schema {version}, this one needs {HEAD}): run `pps migrate`"
            )
        await migrate(engine)
    try:
        async with engine.connect() as connection:
            found: str = (await connection.execute(select(installation.c.id))).scalar_one()
    except (OSError, SQLAlchemyError, TimeoutError) as error:
        raise PpsError(unreachable(engine.url, error)) from error
    return found


def _refuse_newer(version: str | None) -> None:
    if version is not None and version > HEAD:
        raise PpsError(f"the ledger is of a newer PPS (schema {version}, this one knows {HEAD}): upgrade PPS")


async def migrate(engine: AsyncEngine) -> None:
    """Bring the database to the newest schema, and name the installation if it has no name; raises PpsError."""
    _refuse_newer(await schema_version(engine))
    try:
        async with writing(engine) as connection:
            if engine.dialect.name == "postgresql":  # SQLite's transaction is alone already
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION})"))
            await connection.run_sync(_upgrade)
            if (await connection.execute(select(installation.c.id))).first() is None:
                await connection.execute(installation.insert().values(id=new_id()))
    except (OSError, SQLAlchemyError) as error:
        raise PpsError(unreachable(engine.url, error)) from error


async def migrate_database(url: str, *, base: Path) -> None:
    """Bring the database of `[service] ledger` to the newest schema; raises PpsError."""
    engine = open_engine(database_url(url, base=base), role="migrate", migrating=True)
    try:
        await migrate(engine)
    finally:
        await engine.dispose()


def unreachable(url: URL, error: BaseException) -> str:
    """Return one line that says which database failed, how, and what to check; never the password."""
    place = url.database if url.drivername.startswith("sqlite") else f"{url.host}:{url.port or 5432}/{url.database}"
    cause = getattr(error, "orig", None) or error
    said = str(cause).strip().partition("\n")[0] or type(cause).__name__
    if isinstance(cause, ConnectionRefusedError):
        said = "nothing listens there: check the port, and that PostgreSQL runs"
    if isinstance(cause, ssl.SSLCertVerificationError):
        said = f"its certificate isn't trusted: {cause.verify_message}: check sslrootcert, and the host's name"
    said = is_busy(cause) or said
    mend = _MENDS.get(said_by(error)[0], "")
    return f"[service] ledger: can't use {place}: {said.rpartition('>: ')[2]}{mend and f': {mend}'}"


def said_by(error: BaseException) -> tuple[str, str]:
    """Return the database's own code for an error, SQLSTATE or the name of SQLite's primary code, and its words."""
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return str(state), str(cause)
    code = getattr(cause, "sqlite_errorcode", None)
    return _SQLITE_NAMES.get(code & 0xFF, "") if code is not None else "", str(cause)


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 (only a migration pays for importing Alembic)
    from alembic.config import Config  # noqa: PLC0415 (as above)

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _configure_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 (the driver's adapter has no public type)
    connection.isolation_level = None  # the driver must not begin transactions by itself: _begin_sqlite does
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # a commit that was confirmed survives a power cut
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _masked(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]
