"""How a database answered each query: collected from an engine while the ledger works, PostgreSQL's as they ran."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import structlog
from sqlalchemy import event

from common.ledger import Ledger
from tests.servers.postgres_roles import WorkDatabases, name_of

if TYPE_CHECKING:
    from tests.servers.postgres import Postgres

BIG: Final = frozenset({"mails", "copies", "deliveries", "events"})
"""Tables that grow with every mail."""

STEPS_A_ROW: Final = 50
"""SQLite counts no rows; to pass one over takes some ten instructions, to answer with one some forty."""

_EXPLAINED: Final = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    "client_min_messages": "notice",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """What a query did with one big table."""

    table: str
    rows: int | None  # that it looked at; None: SQLite doesn't count them
    how: str
    query: str

    def __str__(self) -> str:
        looked = "" if self.rows is None else f" looked at {self.rows} rows"
        asked = re.sub(r"(\$\d+(::\w+)?|\?)(, (\$\d+(::\w+)?|\?))+", "…", " ".join(self.query.split()))
        return f"{self.table}{looked}: {self.how[:200]}: {asked[:600]}"


@dataclass(slots=True, kw_only=True)
class Plans:
    """A ledger whose queries are explained while it answers them."""

    ledger: Ledger
    count_rows: Callable[[], object]  # have PostgreSQL look at how its rows are spread, as autovacuum does by itself
    tables: frozenset[str] = BIG  # that are watched
    touches: list[Touch] = field(default_factory=list)

    @contextmanager
    def collected(self) -> Iterator[list[Touch]]:
        """Collect the touches of what is asked meanwhile."""
        self.touches.clear()
        found: list[Touch] = []
        yield found
        found += self.touches


def too_much(touches: list[Touch], *, most: int) -> list[str]:
    """Return the touches of more rows than `most`, and of whole tables or whole mailboxes."""
    whole = re.compile(r"^SCAN (?!.*INDEX)|sqlite_autoindex_(mails|copies)_2 \(mailbox=\?\)$")
    return [str(one) for one in touches if (one.rows or 0) > most or whole.search(one.how)]


@pytest.fixture(params=["sqlite", "postgresql"])
async def plans(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Plans]:
    """Open an empty ledger of each kind that tells its plans."""
    if request.param == "sqlite":
        ledger = await Ledger.open("sqlite:///pps.db", base=tmp_path, log=structlog.get_logger())
        found = Plans(ledger=ledger, count_rows=lambda: None)
        explainer = sqlite3.connect(tmp_path / "pps.db", check_same_thread=False)  # statements run in threads
        _listen_to_sqlite(found, explainer)
        yield found
        explainer.close()
        await ledger.close()
        return
    server: Postgres = request.getfixturevalue("postgres")
    databases: WorkDatabases = request.getfixturevalue("work_databases")
    url = await databases.fresh()
    for name, value in _EXPLAINED.items():
        server.query(f"ALTER DATABASE {name_of(url)} SET {name} = {value}")
    ledger = await Ledger.open(url, base=tmp_path, log=structlog.get_logger())
    await ledger._engine.dispose()  # what was opened before doesn't tell
    found = Plans(ledger=ledger, count_rows=lambda: server.query("ANALYZE", database=name_of(url)))
    _listen_to_postgresql(found)
    yield found
    await ledger.close()
    databases.drop(url)


def _listen_to_sqlite(plans: Plans, explainer: sqlite3.Connection) -> None:
    def before(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:  # noqa: ANN401, FBT001 (SQLAlchemy's signature)
        if not re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)", statement):
            return
        values = parameters[0] if many else parameters
        named = re.findall(rf"\b({'|'.join(plans.tables)}) (?:AS )?(\w+)", statement)
        tables = {alias: table for table, alias in named} | {table: table for table in plans.tables}
        for *_, how in explainer.execute(f"EXPLAIN QUERY PLAN {statement}", values):
            first = re.match(r"(SCAN|SEARCH) (\w+)", how)
            if first and first[2] in tables:
                plans.touches.append(Touch(table=tables[first[2]], rows=None, how=how, query=statement))
        if statement.lstrip().startswith("SELECT"):
            rows = _steps(explainer, statement, values) // STEPS_A_ROW
            plans.touches.append(Touch(table="in all", rows=rows, how="", query=statement))

    event.listen(plans.ledger._transactions.engine, "before_cursor_execute", before)


def _steps(connection: sqlite3.Connection, query: str, values: Any) -> int:  # noqa: ANN401 (a driver's parameters)
    """Return how many instructions of SQLite's a query takes."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 100
        return 0

    connection.set_progress_handler(step, 100)
    connection.execute(query, values).fetchall()
    connection.set_progress_handler(None, 0)
    return count


def _listen_to_postgresql(plans: Plans) -> None:
    def told(_connection: object, notice: Any) -> None:  # noqa: ANN401 (the driver's messages have no type)
        _, _, document = notice.message.partition("plan:\n")
        if document:
            explained = json.loads(document)
            plans.touches += [
                Touch(table=node["Relation Name"], rows=_looked_at(node), how=_how(node), query=explained["Query Text"])
                for node in _nodes(explained["Plan"])
                if node.get("Relation Name") in plans.tables
            ]

    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401 (the driver's adapter has no public type)
        connection.driver_connection.add_log_listener(told)

    event.listen(plans.ledger._engine.sync_engine, "connect", connected)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _looked_at(node: dict[str, Any]) -> int:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])


def _how(node: dict[str, Any]) -> str:
    return f"{node['Node Type']} {node.get('Index Name', '')} {node.get('Index Cond', node.get('Filter', ''))}"
