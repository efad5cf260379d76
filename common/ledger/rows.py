"""What several of the ledger's operations need: locked reads, chunked IN lists, and which mails are deletable."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, Table, and_, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.records import UNDONE, DeliveryState, MailState
from common.ledger.schema import deliveries, mails, now, schedule

AnyRow = Row[*tuple[Any, ...]]

CHUNK: Final = 500
"""Values in one IN list: below every database's limit, and few enough shapes for the statement cache."""


async def clock(connection: AsyncConnection) -> int:
    """Return the database's time in milliseconds."""
    return (await connection.execute(select(now()))).scalar_one()


def chunks(values: Iterable[Any]) -> Iterator[list[Any]]:
    """Yield the distinct values in lists of at most CHUNK, sorted, so that all processes lock rows in one order."""
    ordered = sorted(set(values))
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


async def locked(
    connection: AsyncConnection, query: Select[Any], column: ColumnElement[Any], keys: Iterable[Any]
) -> list[AnyRow]:
    """Return the rows of `query` whose `column` is among `keys`, locked until the transaction ends."""
    found: list[AnyRow] = []
    for part in chunks(keys):
        found += (await connection.execute(query.where(column.in_(part)).order_by(column).with_for_update())).all()
    return found


async def insert_missing(
    connection: AsyncConnection, table: Table, unique: Sequence[str], values: list[dict[str, Any]]
) -> None:
    """Insert the rows that aren't there yet by the columns `unique`."""
    if values:
        await connection.execute(_unless_there(connection, table, unique), values)


async def inserted_ids(
    connection: AsyncConnection, table: Table, unique: Sequence[str], values: list[dict[str, Any]]
) -> set[str]:
    """Insert the rows that aren't there yet by the columns `unique`, and return the ids of those."""
    if not values:
        return set()
    statement = _unless_there(connection, table, unique).returning(table.c.id)
    return set((await connection.execute(statement, values)).scalars())


def _unless_there(connection: AsyncConnection, table: Table, unique: Sequence[str]) -> Any:  # noqa: ANN401 (a dialect's)
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415 (who has SQLite needn't wait for the other's drivers)

        return sqlite.insert(table).on_conflict_do_nothing(index_elements=unique)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415 (the same)

    return postgresql.insert(table).on_conflict_do_nothing(index_elements=unique)


async def current_epochs(connection: AsyncConnection, profile_ids: Iterable[str]) -> dict[str, int]:
    """Return the lease epoch of each profile: a write under another epoch is stale."""
    query = select(schedule.c.profile_id, schedule.c.lease_epoch)
    return {
        row.profile_id: row.lease_epoch for row in await locked(connection, query, schedule.c.profile_id, profile_ids)
    }


def is_deletable() -> ColumnElement[bool]:
    """Invariant I2: the mail is routed, its copy has a delivery that somebody took, and none is undone."""
    of_copy = deliveries.c.copy_id == mails.c.copy_id
    return and_(
        mails.c.state == MailState.ROUTED,
        exists().where(of_copy, deliveries.c.state.in_((DeliveryState.DELIVERED, DeliveryState.DISCARDED))),
        ~exists().where(of_copy, deliveries.c.state.in_(UNDONE)),
    )


async def deletable_of(connection: AsyncConnection, column: ColumnElement[Any], keys: Iterable[Any]) -> list[AnyRow]:
    """Return (id, copy_id) of the deletable mails whose `column` is among `keys`."""
    found: list[AnyRow] = []
    for part in chunks(keys):
        query = select(mails.c.id, mails.c.copy_id).where(column.in_(part), is_deletable())
        found.extend((await connection.execute(query)).all())
    return found
