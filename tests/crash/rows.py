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

_LEASES: Final = "UPDATE schedule SET lease_until = 1 WHERE lease_until IS NOT NULL"

_DEAD: Final = {
    "fetcher": (
        _LEASES,
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

    def age_what_froze(self) -> None:
        """Let what a frozen fetcher holds run out: its leases, and the locks of the commit that it was amid."""
        self._break_off("fetcher")
        self._execute(_LEASES)

    def leased_for(self) -> float | None:
        """Return the seconds that are left of the longest lease, by the database's clock; None: there is none."""
        return self._seconds("SELECT max(lease_until) - {now}, '' FROM schedule")

    def deferred_for(self) -> float | None:
        """Return the seconds until the first deferred delivery is due, by the database's clock; None: there is none."""
        return self._seconds("SELECT min(next_attempt_at) - {now}, '' FROM deliveries WHERE state = 'deferred'")

    def stopped(self) -> int:
        """Return how many profiles have stopped until a person acts."""
        return int(self._query("SELECT count(*), '' FROM schedule WHERE due_at IS NULL")[0][0])

    def try_skipped_now(self) -> None:
        """Let mails that were skipped have rested for a day."""
        self._execute("UPDATE mails SET progress_at = 1 WHERE state = 'skipped'")

    def poll_now(self) -> None:
        """Make mailboxes due that nobody polls."""
        self._execute(_POLL)

    def retry_now(self) -> None:
        """Make deliveries due that wait for their next attempt."""
        self._execute(_RETRY)

    def _seconds(self, query: str) -> float | None:
        (found,) = self._query(query.format(now=self._now))
        return None if found[0] in {None, ""} else int(found[0]) / 1000

    @property
    @abstractmethod
    def _now(self) -> str: ...

    @abstractmethod
    def _break_off(self, role: str) -> None:
        """End the transactions in which a role's processes do nothing, as the database does after a minute."""

    @abstractmethod
    def _execute(self, change: str) -> None: ...

    @abstractmethod
    def _query(self, query: str) -> list[tuple[str, str]]: ...


class SqliteRows(Rows):
    """The rows of a SQLite ledger, which may not be there yet: then there is nothing to age."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def _now(self) -> str:
        return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

    def _break_off(self, role: str) -> None:
        raise NotImplementedError("one process works on SQLite: nobody waits for what it holds")

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

    @property
    def _now(self) -> str:
        return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"

    def _break_off(self, role: str) -> None:
        self._postgres.query(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "  # noqa: S608 (our own words)
            f"WHERE application_name = 'pps {role}' AND state LIKE 'idle in transaction%'"
        )

    def end_leases_of(self, pid: int) -> None:
        """Let the leases of a dead fetcher run out, while others live."""
        self._execute(f"UPDATE schedule SET lease_until = 1 WHERE lease_owner LIKE '{pid}:%'")  # noqa: S608 (a number)

    def polled(self) -> int:
        """Return how many mailboxes were polled, and are not being polled now."""
        query = "SELECT count(*), '' FROM schedule WHERE last_result IS NOT NULL AND lease_until IS NULL"
        return int(self._query(query)[0][0])

    def age_unpublished(self, seconds: int) -> None:
        """Let the sweeper look at mails that were recorded so long ago, and that no router dealt with."""
        before = f"{self._now} - {seconds * 1000}"
        self._execute(f"UPDATE mails SET progress_at = 1 WHERE state = 'fetched' AND progress_at < {before}")  # noqa: S608 (a number)

    def _execute(self, change: str) -> None:
        self._postgres.query(change, database=self._database)

    def _query(self, query: str) -> list[tuple[str, str]]:
        found = self._postgres.query(query, database=self._database)
        return [(state, count) for state, _, count in (line.partition("|") for line in found.splitlines())]
