"""The rows of profiles while they are changed: a book of all of them, and what hangs on one."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import chain, count
from typing import Any

from sqlalchemy import delete, exists, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.recorded import REMOVED, UNDER_WAY
from common.ledger.rows import clock
from common.ledger.schema import copies, grants, mails, profiles, schedule
from common.profile import Profile


@dataclass(slots=True, kw_only=True)
class ProfileRow:
    """One row of `profiles`, kept like it."""

    id: str
    name: str
    enabled: bool
    revision: int
    mailbox: str
    settings: str
    secret: bytes | None
    managed_by: str

    def __repr__(self) -> str:
        return f"<profile {self.name}>"

    def values(self) -> dict[str, Any]:
        """Return the columns with their values."""
        return asdict(self)


class Book:
    """All profiles within one transaction; each change is written at once."""

    def __init__(self, connection: AsyncConnection, time: int, rows: Iterable[ProfileRow]) -> None:
        self.connection = connection
        self.time = time
        self._rows = {row.id: row for row in rows}
        self._names = {row.name: row for row in self._rows.values()}
        self._mailboxes: dict[str, list[ProfileRow]] = {}
        for row in self._rows.values():
            self._mailboxes.setdefault(row.mailbox, []).append(row)

    def named(self, name: str) -> ProfileRow | None:
        """Return the profile of this name."""
        return self._names.get(name)

    def of(self, managed_by: str) -> list[ProfileRow]:
        """Return the profiles of one manager."""
        return [row for row in self._rows.values() if row.managed_by == managed_by]

    def on(self, mailbox: str) -> list[ProfileRow]:
        """Return the profiles on one mailbox."""
        return list(self._mailboxes.get(mailbox, ()))

    def add(self, row: ProfileRow) -> None:
        """Take in a row that was inserted."""
        self._rows[row.id] = self._names[row.name] = row
        self._mailboxes.setdefault(row.mailbox, []).append(row)

    def forget(self, row: ProfileRow) -> None:
        """Leave out a row that was deleted, or is about to be put in again."""
        del self._rows[row.id], self._names[row.name]
        self._mailboxes[row.mailbox].remove(row)

    async def change(self, row: ProfileRow, **values: Any) -> None:  # noqa: ANN401 (columns)
        """Write new values, under the next revision, if any is new."""
        if not changed(row, values):
            return
        # A removed row may have the name that this one takes.
        name = values.get("name", row.name)
        if (other := self._names.get(name)) is not None and other is not row:
            await self.leave_behind(other)
        self.forget(row)
        row.revision += 1
        for column, value in values.items():
            setattr(row, column, value)
        self.add(row)
        await self.connection.execute(update(profiles).where(profiles.c.id == row.id).values(**row.values()))
        if not row.enabled:  # it must not stand before what is polled
            idle = update(schedule).where(schedule.c.profile_id == row.id)
            await self.connection.execute(idle.values(due_at=None, held=None, held_at=None))

    async def is_free(self, row: ProfileRow) -> bool:
        """Whether no mails of a profile's mailbox are on record; until the commit no poll of it records any."""
        own = select(schedule.c.profile_id).where(schedule.c.profile_id == row.id).with_for_update()
        await self.connection.execute(own)
        return not await has_mails(self.connection, row.mailbox)

    async def delete(self, row: ProfileRow) -> None:
        """Delete a row that is free of mails."""
        self.forget(row)
        await self.connection.execute(delete(schedule).where(schedule.c.profile_id == row.id))
        await self.connection.execute(delete(profiles).where(profiles.c.id == row.id))

    async def leave_behind(self, row: ProfileRow) -> str:
        """Make a row the remainder of a mailbox that its profile left; return its new name."""
        names = (f"{row.name[:40]}-{row.mailbox[:8]}{more}" for more in chain([""], (f"-{n}" for n in count(2))))
        name = next(name for name in names if name not in self._names)
        profile = Profile.from_json(row.settings).model_copy(update={"name": name, "enabled": False})
        gone = {"enabled": False, "managed_by": REMOVED, "secret": None}
        await self.change(row, name=name, settings=profile.to_json(), **gone)
        return name

    async def wake(self, row: ProfileRow) -> None:
        """Make a profile due now, and forget that sign-ins were refused."""
        due = update(schedule).where(schedule.c.profile_id == row.id)
        host = Profile.from_json(row.settings).host
        await self.connection.execute(due.values(due_at=self.time, auth_failures=0, host=host))

    async def break_leases(self, row: ProfileRow) -> None:
        """End whatever lease ran out: who held it, and sleeps, writes nothing more under it."""
        own = update(schedule).where(schedule.c.profile_id == row.id)
        await self.connection.execute(own.values(lease_epoch=schedule.c.lease_epoch + 1))


def changed(row: ProfileRow, values: dict[str, Any]) -> bool:
    """Whether any of these values is another than the row's."""
    return any(getattr(row, column) != value for column, value in values.items())


async def has_mails(connection: AsyncConnection, mailbox: str) -> bool:
    """Whether mails of a mailbox are on record."""
    found: bool = (await connection.execute(select(exists().where(mails.c.mailbox == mailbox)))).scalar_one()
    return found


async def is_polling(connection: AsyncConnection, profile_id: str) -> bool:
    """Whether a fetcher holds the lease."""
    held = exists().where(schedule.c.profile_id == profile_id, schedule.c.lease_until > await clock(connection))
    found: bool = (await connection.execute(select(held))).scalar_one()
    return found


async def move_mails(connection: AsyncConnection, old: str, new: str) -> None:
    """Give a mailbox's mails and copies, and its OAuth 2 grant, its new name."""
    for table in (mails, copies):
        await connection.execute(update(table).where(table.c.mailbox == old).values(mailbox=new))
    there = (await connection.execute(select(exists().where(grants.c.mailbox == new)))).scalar_one()
    if not there:  # else somebody signed in under the new name already
        await connection.execute(update(grants).where(grants.c.mailbox == old).values(mailbox=new))


async def under_way(connection: AsyncConnection) -> dict[str, int]:
    """Return how many mails of each profile are fetched, and not yet with all their recipients."""
    return {row["profile_id"]: int(row["count"]) for row in (await connection.execute(text(UNDER_WAY))).mappings()}
