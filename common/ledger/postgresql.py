"""PostgreSQL's side of the engine: what its URL may say, how many connections a process has, and when waits end."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from common.config_errors import nearest
from common.failures import UsageError

CONNECTIONS: Final = 4
"""What a process keeps open: one for its group commit, the others for reads, which take milliseconds."""

MORE_CONNECTIONS: Final = 4
"""What it may open for a rush besides: eight a process, so that twelve processes fit into `max_connections = 100`."""

POOL_SECONDS: Final = 30
"""How long a read waits for one of them."""

CONNECT_SECONDS: Final = 30

STATEMENT_SECONDS: Final = 60
"""The longest a statement may take: the ledger's are short, and a stuck one must not hold its locks for ever."""

ANSWER_SECONDS: Final = STATEMENT_SECONDS + 5
"""How long an answer is waited for: the server ends a statement first, and this ends the wait for a lost server."""

LOCK_SECONDS: Final = 15
"""How long a row's lock is waited for, which others hold for milliseconds; then the transaction is tried again."""

IDLE_SECONDS: Final = 60
"""How long a transaction may stand still: a worker that is stopped in the midst of one must not hold its rows."""

_FILES: Final = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl"})
_OPTIONS: Final = frozenset({"host", "sslmode", *_FILES})
_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def checked_url(url: URL, *, base: Path) -> URL:
    """Return the driver's URL; the files that it names are relative to `base`. Raises UsageError."""
    options: dict[str, str] = {}
    for name, value in url.query.items():
        if name not in _OPTIONS:
            raise UsageError(f"[service] ledger: unknown option {name} in the URL: {nearest(name, sorted(_OPTIONS))}")
        if not isinstance(value, str):
            raise UsageError(f"[service] ledger: {name} stands twice in the URL: keep one")
        options[name] = str(base / value) if name in _FILES else value
    mode = options.get("sslmode")
    if mode is not None and mode not in _MODES:
        raise UsageError(f"[service] ledger: sslmode: {nearest(mode, _MODES)}")
    if mode == "verify-full" and "sslrootcert" not in options:
        raise UsageError("[service] ledger: sslmode=verify-full needs sslrootcert=FILE: whose certificates are trusted")
    for name in sorted(_FILES & options.keys()):
        try:
            Path(options[name]).open("rb").close()
        except OSError as error:
            raise UsageError(f"[service] ledger: {name}: can't read {options[name]}: {error.strerror}") from error
    return url.set(drivername="postgresql+asyncpg", query=options)


def open_postgresql(url: URL, *, role: str, migrating: bool) -> AsyncEngine:
    """Return an engine whose waits end; a migration may take its time, and only its locks must come soon."""
    # The driver takes libpq's own names only in a URL of its own, beside the rest.
    tls = {name: value for name, value in url.query.items() if name.startswith("ssl")}
    engine = create_async_engine(
        url.difference_update_query(tls),
        pool_size=CONNECTIONS,
        max_overflow=MORE_CONNECTIONS,
        pool_timeout=POOL_SECONDS,
        connect_args={
            "server_settings": {"application_name": f"pps {role}"[:63]},
            "timeout": CONNECT_SECONDS,
            "command_timeout": None if migrating else ANSWER_SECONDS,
            **({"dsn": f"postgresql://?{urlencode(tls)}"} if tls else {}),
        },
    )
    waits = _waits(statement=0 if migrating else STATEMENT_SECONDS)
    event.listen(engine.sync_engine, "connect", lambda connection, _record: _limit(connection, waits))
    return engine


def _waits(*, statement: int) -> str:
    """Return what ends a session's waits. PgBouncer lets these pass as statements, and not as it connects."""
    return (
        f"SET statement_timeout = '{statement}s'; SET lock_timeout = '{LOCK_SECONDS}s'; "
        f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'"
    )


def _limit(connection: Any, waits: str) -> None:  # noqa: ANN401 (the driver's adapter has no public type)
    connection.run_async(lambda driver: driver.execute(waits))


def is_busy(error: BaseException) -> str | None:
    """Return what to say where all connections of this process were in use for too long; None: it is another error."""
    if not isinstance(error, PoolTimeoutError):
        return None
    most = CONNECTIONS + MORE_CONNECTIONS
    return f"all {most} connections of this process were in use for {POOL_SECONDS} s: the database answers too slowly"
