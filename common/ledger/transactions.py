"""How a whole transaction is carried out: on PostgreSQL statement by statement, on SQLite in one go in a thread.

The ledger's operations are coroutines that wait for nothing but their statements. With SQLite each statement took four
steps to a thread and back, which were nine tenths of its cost; now a transaction is one step, and its statements are
answered at once. (An idle poll of a mailbox cost 8 ms of CPU before.)
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection, CursorResult, Engine, Executable
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from common.ledger.engine import WRITE, open_sqlite, writing

READERS: Final = 2
"""Threads that read beside the one that writes: SQLite's statements take microseconds, and cores are few."""

T = TypeVar("T")

Work = Callable[[AsyncConnection], Awaitable[T]]
"""What is done in one transaction; it may wait for its statements, and for nothing else."""


class Transactions(ABC):
    """Carries out transactions. `engine` has the events of every statement."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @abstractmethod
    async def read(self, query: Work[T]) -> T:
        """Return what a query found, in a transaction of its own."""

    @abstractmethod
    async def write(self, work: Work[T]) -> T:
        """Return what was answered, once it is committed. Writes come one after the other."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""


def transactions_of(engine: AsyncEngine) -> Transactions:
    """Return what carries out the transactions of an engine's database."""
    if engine.dialect.name == "sqlite":
        return _InThreads(open_sqlite(engine.url))
    return _ByStatements(engine)


class _ByStatements(Transactions):
    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine.sync_engine)
        self._engine = engine

    async def read(self, query: Work[T]) -> T:
        async with self._engine.connect() as connection:
            # Each statement sees what is committed when it begins, in a transaction or not; one costs two round trips.
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            return await query(connection)

    async def write(self, work: Work[T]) -> T:
        async with writing(self._engine) as connection:
            return await work(connection)

    async def close(self) -> None:
        """See Transactions; the engine is its opener's to close."""


class _InThreads(Transactions):
    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-read")

    async def read(self, query: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, query)

    async def write(self, work: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._write, work)

    async def close(self) -> None:
        await asyncio.to_thread(self._disconnect)

    def _disconnect(self) -> None:
        for threads in (self._writer, self._readers):
            threads.shutdown(cancel_futures=True)
        self.engine.dispose()

    def _read(self, query: Work[T]) -> T:
        with self.engine.connect() as connection:
            return _finished(query(_at_once(connection)))

    def _write(self, work: Work[T]) -> T:
        with self.engine.connect().execution_options(**{WRITE: True}) as connection, connection.begin():
            return _finished(work(_at_once(connection)))


class _AtOnce:
    """What the ledger's operations use of a connection; each statement is carried out before `execute` returns."""

    def __init__(self, connection: Connection) -> None:
        self.dialect = connection.dialect
        self._connection = connection

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:  # noqa: ANN401 (the library's)
        return self._connection.execute(statement, parameters)

    async def scalar(self, statement: Executable, parameters: Any = None) -> Any:  # noqa: ANN401 (the library's)
        return self._connection.scalar(statement, parameters)


def _at_once(connection: Connection) -> AsyncConnection:
    return cast("AsyncConnection", _AtOnce(connection))


def _finished(work: Awaitable[T]) -> T:
    """Run a coroutine that never waits to its end."""
    coroutine = cast("Coroutine[Any, Any, T]", work)
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    coroutine.close()
    raise RuntimeError("an operation of the ledger waits for something else than its statements")
