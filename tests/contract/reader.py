"""A ledger of each kind with the Reader that commands ask it through."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import structlog

from common.ledger import Ledger, migrate_database
from common.ledger.reader import LedgerReader, Reader, SqliteReader
from tests.ledger import change

__all__ = ["asked"]  # a fixture that test files import by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A ledger, and who asks it."""

    ledger: Ledger
    reader: Reader

    async def plan(self, query: str, **values: object) -> str:
        """Return how the database would answer a query, as it explains itself."""
        verb = "EXPLAIN" if self.ledger.shared else "EXPLAIN QUERY PLAN"
        rows = await self.reader.rows(f"{verb} {query}", **values)
        return "\n".join(str(list(row.values())[-1]) for row in rows)


@pytest.fixture(params=["sqlite", "sqlite-through-engine", "postgresql"])
async def asked(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Asked]:
    """Open an empty ledger of each kind, and each kind of reader on it."""
    postgresql = request.param == "postgresql"
    url = request.getfixturevalue("database") if postgresql else "sqlite:///pps.db"
    if postgresql:
        await migrate_database(url, base=tmp_path)
    ledger = await Ledger.open(url, base=tmp_path, log=structlog.get_logger())
    if request.param == "sqlite":
        reader = SqliteReader(tmp_path / "pps.db")
        yield Asked(ledger=ledger, reader=reader)
        reader.close()
    else:
        yield Asked(ledger=ledger, reader=LedgerReader(ledger))
    await ledger.close()


def scans(*plans: str) -> list[str]:
    """Return the lines of plans that scan a whole table of mails or deliveries."""
    whole = re.compile(r"SCAN (mails|deliveries|m|d)$|Seq Scan on (mails|deliveries)")
    return [line for plan in plans for line in plan.splitlines() if whole.search(line)]


async def plant_settled(ledger: Ledger, profile_id: str, *, count: int = 20_000) -> None:
    """Put in mails that were delivered and deleted long ago; PostgreSQL counts its rows then, as it does by itself."""
    octets = "BYTEA" if ledger.shared else "BLOB"
    numbers = "SELECT generate_series(1, :count) AS i" if ledger.shared else _RECURSIVE
    await change(ledger, _MAILS.replace("NUMBERS", numbers).replace("BYTES", octets), profile=profile_id, count=count)
    await change(ledger, _DELIVERIES.replace("NUMBERS", numbers), profile=profile_id, count=count)
    if ledger.shared:
        await change(ledger, "ANALYZE")


_RECURSIVE: Final = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) SELECT i FROM n"
_MAILS: Final = """
INSERT INTO mails (id, mailbox, profile_id, uidl_key, uidl, size, state, fetches, breaks, copy_id, listed_at,
                   progress_at)
SELECT 'mail' || i, 'box', :profile, CAST(CAST(i AS TEXT) AS BYTES), CAST('' AS BYTES), 1, 'deleted', 0, 0, 'copy' || i,
       i, i FROM (NUMBERS) AS numbers
"""
_DELIVERIES: Final = """
INSERT INTO deliveries (id, copy_id, mail_id, profile_id, recipient, fallback, reason, target, sender, source_host,
                        state, attempts, ambiguous, claims, swept_claims, created_at, done_at)
SELECT 'delivery' || i, 'copy' || i, 'mail' || i, :profile, 'user' || (i % 100) || '@example.com', 'boss', 'To',
       'local', '', '', 'delivered', 1, 0, 1, 0, i, i FROM (NUMBERS) AS numbers
"""
