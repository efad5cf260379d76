"""Group commit: one task a process carries out the ledger's writes of all sessions and messages.

Each caller awaits its own answer, while up to MAX_BATCH operations share one transaction, and so one fsync. A batch
that fails is split until the one row that fails alone is found: only its caller is told. What can heal (a lock, a full
disk, a lost connection) is tried again until it does, so a caller never sees it.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.typing import FilteringBoundLogger

from common.ledger.transactions import Transactions
from common.messages import one_line

MAX_BATCH: Final = 200
LINGER_SECONDS: Final = 0.005
"""How long a lone operation waits for company."""

MAX_BACKOFF_SECONDS: Final = 5.0

Row = TypeVar("Row")
Answer = TypeVar("Answer")

_PASSING_STATES: Final = ("08", "40", "53", "55", "57")
"""SQLSTATE classes that heal: connection, rollback (deadlock, serialisation), resources, locks, shutdown."""

_NO_RIGHT: Final = "42501"
"""SQLSTATE of a GRANT that is missing: no fault of the row, so a person gives it and nothing is quarantined."""

_STOOD_STILL: Final = "25P03"
"""SQLSTATE of a transaction that the server ended, since its worker was stopped in the midst of it."""

_PASSING_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""SQLite's primary result codes that heal: another has the lock, or the disk is full or away."""


class RowRejectedError(Exception):
    """Just this row can't be recorded, whatever else is in its batch: it is a matter for quarantine."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operation(Generic[Row, Answer]):
    """A bulk write: takes rows sorted by key, returns one answer a row, in the same order."""

    name: str
    rank: int  # operations of one transaction run by rank, so that all processes lock tables in one order
    key: Callable[[Row], str]
    apply: Callable[[AsyncConnection, Sequence[Row]], Awaitable[Sequence[Answer]]]


@dataclass(slots=True, kw_only=True, eq=False)
class _Entry:
    operation: Operation[Any, Any]
    row: Any
    answer: asyncio.Future[Any]


class Writer:
    """Takes single operations, commits them in groups. `commits` counts transactions, for cost ceilings."""

    def __init__(self, transactions: Transactions, log: FilteringBoundLogger) -> None:
        self.commits = 0
        self.trouble: Exception | None = None  # what keeps it from committing now
        self._transactions = transactions
        self._log = log
        self._waiting: list[_Entry] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="ledger-writer")

    async def submit(self, operation: Operation[Row, Answer], row: Row) -> Answer:
        """Return the operation's answer once it is committed; raises RowRejectedError."""
        if self._closing:
            raise RuntimeError("the ledger is closed")
        entry = _Entry(operation=operation, row=row, answer=asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._wake.set()
        answer: Answer = await entry.answer
        return answer

    async def close(self) -> None:
        """Commit what waits, then stop."""
        self._closing = True
        self._wake.set()
        await self._task

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            if len(self._waiting) < MAX_BATCH and not self._closing:
                await asyncio.sleep(LINGER_SECONDS)
            # Whoever stopped waiting must not take the answer from one who asks for the same row.
            waiting = [entry for entry in self._waiting if not entry.answer.done()]
            batch, self._waiting = waiting[:MAX_BATCH], waiting[MAX_BATCH:]
            if not self._waiting and not self._closing:
                self._wake.clear()
            if batch:
                await self._commit(batch)

    async def _commit(self, batch: list[_Entry]) -> None:
        failures = 0
        while True:
            try:
                answers = await self._transact(batch)
            except Exception as error:  # noqa: BLE001 (every failure ends in a retry, a split or the one caller's hands)
                if heals(error):
                    self.trouble = error
                    if all(entry.answer.done() for entry in batch):
                        return  # nobody waits any more
                    failures += 1
                    await self._back_off(failures, error)
                    continue
                await self._isolate(batch, error)
                return
            for entry, answer in answers:
                if not entry.answer.done():
                    entry.answer.set_result(answer)
            return

    async def _isolate(self, batch: list[_Entry], error: Exception) -> None:
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
        elif not batch[0].answer.done():
            said = one_line(str(getattr(error, "orig", None) or error), 200)
            self._log.error("ledger_row_rejected", operation=batch[0].operation.name, error=said)
            rejected = RowRejectedError(f"{batch[0].operation.name}: {said}")
            rejected.__cause__ = error
            batch[0].answer.set_exception(rejected)

    async def _transact(self, batch: list[_Entry]) -> list[tuple[_Entry, Any]]:
        groups: dict[Operation[Any, Any], list[_Entry]] = {}
        for entry in batch:
            groups.setdefault(entry.operation, []).append(entry)

        async def apply(connection: AsyncConnection) -> list[tuple[_Entry, Any]]:
            answers: list[tuple[_Entry, Any]] = []
            for operation in sorted(groups, key=lambda operation: operation.rank):
                key = operation.key
                entries = sorted(groups[operation], key=lambda entry: key(entry.row))
                given = await operation.apply(connection, [entry.row for entry in entries])
                answers += zip(entries, given, strict=True)
            return answers

        answers = await self._transactions.write(apply)
        self.commits += 1
        self.trouble = None
        return answers

    async def _back_off(self, failures: int, error: Exception) -> None:
        if failures == 1:
            self._log.warning("ledger_unavailable", error=one_line(str(getattr(error, "orig", None) or error), 200))
        await asyncio.sleep(min(MAX_BACKOFF_SECONDS, 0.05 * 2**failures))


def heals(error: BaseException) -> bool:
    """Whether the same transaction may succeed later: the database's trouble, not the row's."""
    if isinstance(error, OSError | TimeoutError | PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state)[:2] in _PASSING_STATES or state in {_NO_RIGHT, _STOOD_STILL}
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _PASSING_CODES
    return error.connection_invalidated or isinstance(error, InterfaceError)
