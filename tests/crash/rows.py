"""The ledger as the crash tests see it: what is left to do, and rows made older, where waiting would take minutes."""

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

from tests.servers.postgres import Postgres

_UNDONE: Final = """
SELECT state, count(*) FROM deliveries WHERE state NOT IN ('delivered', 'redirected') GROUP BY state
UNION ALL SELECT state, count(*) FROM mails WHERE state <> 'deleted' GROUP BY state
"""

_TWICE: Final = """
SELECT 'deliveries', count(*) FROM deliveries WHERE attempts > 1 OR claims > 1
UNION ALL SELECT 'mails', count(*) FROM mails WHERE fetches > 0
"""

_DEAD: Final = {
    "fetcher": (
        "UPDATE schedule SET lease_until = 1 WHERE lease_until IS NOT NULL",
        "UPDATE mails SET progress_at = 1 WHERE state = 'fetched'",  # recorded, but perhaps never published
    ),
    "router": (),  # the broker still has what it held
    "deliverer": ("UPDATE deliveries SET claimed_until = 1, next_attempt_at = 1 WHERE claimed_until IS NOT NULL",),
}
"""What a dead process held, and would hold for minutes."""

_QUEUED: Final = (
    "UPDATE mails SET progress_at = 1 WHERE state = 'fetched'",
    "UPDATE deliveries SET next_attempt_at = 1 WHERE state = 'pending' AND claimed_until IS NULL",
)
"""What waits for messages that were lost with a broker."""

_POLL: Final = "UPDATE schedule SET due_at = 1 WHERE lease_until IS NULL AND due_at <> 1"
_RETRY: Final = "UPDATE deliveries SET next_attempt_at = 1 WHERE state = 'deferred' AND claimed_until IS NULL"


class Rows(ABC):
    """Reads and ages rows beside the running service."""

    def undone(self) -> dict[str, int]:
        """Return how many deliveries and mails are in states other than their last."""
        return {state: int(count) for state, count in self._query(_UNDONE)}

    def age_what_died(self, command: str) -> None:
        """Let what a killed process held run out: only while no other process of its kind lives."""
        for role in _DEAD if command == "run" else (command,):
            for change in _DEAD[role]:
                self._execute(change)

    def age_what_was_queued(self) -> None:
        """Let the sweeper look at once after messages that a broker lost."""
        for change in _QUEUED:
            self._execute(change)

    def begun_twice(self) -> int:
        """Return how many deliveries took more than one attempt, and mails more than one fetch."""
        return sum(int(count) for _, count in self._query(_TWICE))

    def poll_now(self) -> None:
        """Make mailboxes due that nobody polls."""
        self._execute(_POLL)

    def retry_now(self) -> None:
        """Make deliveries due that wait for their next attempt."""
        self._execute(_RETRY)

    @abstractmethod
    def _execute(self, change: str) -> None: ...

    @abstractmethod
    def _query(self, query: str) -> list[tuple[str, str]]: ...


class SqliteRows(Rows):
    """The rows of a SQLite ledger, which may not be there yet: then there is nothing to age."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _execute(self, change: str) -> None:
        with contextlib.suppress(sqlite3.OperationalError), self._connection() as connection:
            connection.execute(change)

    def _query(self, query: str) -> list[tuple[str, str]]:
        with self._connection() as connection:
            return connection.execute(query).fetchall()

    def _connection(self) -> contextlib.closing[sqlite3.Connection]:
        place = f"file:{self._path}?mode=rw"
        return contextlib.closing(sqlite3.connect(place, uri=True, timeout=30, isolation_level=None))


class PostgresRows(Rows):
    """The rows of a PostgreSQL ledger."""

    def __init__(self, postgres: Postgres, database: str) -> None:
        self._postgres = postgres
        self._database = database

    def _execute(self, change: str) -> None:
        self._postgres.query(change, database=self._database)

    def _query(self, query: str) -> list[tuple[str, str]]:
        found = self._postgres.query(query, database=self._database)
        return [(state, count) for state, _, count in (line.partition("|") for line in found.splitlines())]
