"""What is sealed in the ledger, passwords and OAuth 2 grants: stored, and sealed anew under another key."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.rows import clock
from common.ledger.schema import grants, profiles, schedule
from common.ledger.writer import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """A stored password under another key, or another password; `was` None: whatever was there."""

    profile_id: str
    sealed: bytes = field(repr=False)
    was: bytes | None = field(default=None, repr=False)


async def _store(connection: AsyncConnection, stored: Sequence[Resealed]) -> list[bool]:
    time = await clock(connection)
    answers = []
    for one in stored:
        change = update(profiles).where(profiles.c.id == one.profile_id)
        if one.was is not None:
            done = await connection.execute(change.where(profiles.c.secret == one.was).values(secret=one.sealed))
        else:  # a new password is tried at once, even where sign-ins were refused before
            done = await connection.execute(change.values(secret=one.sealed, revision=profiles.c.revision + 1))
            due = update(schedule).where(schedule.c.profile_id == one.profile_id)
            await connection.execute(due.values(due_at=time, auth_failures=0))
        answers.append(done.rowcount > 0)
    return answers


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedGrant:
    """An OAuth 2 grant as it is sealed, and as it is to be under another key."""

    mailbox: str
    sealed: bytes = field(repr=False)
    was: bytes = field(repr=False)


async def sealed_grants(connection: AsyncConnection) -> list[tuple[str, bytes]]:
    """Return the mailboxes that have a grant, with what is sealed of it."""
    query = select(grants.c.mailbox, grants.c.sealed).where(grants.c.sealed.is_not(None))
    return [(row.mailbox, row.sealed) for row in (await connection.execute(query)).all()]


async def _reseal_grants(connection: AsyncConnection, fresh: Sequence[SealedGrant]) -> list[bool]:
    answers = []
    for one in fresh:  # one that was renewed meanwhile is under the newest key already
        same = (grants.c.mailbox == one.mailbox) & (grants.c.sealed == one.was)
        done = await connection.execute(update(grants).where(same).values(sealed=one.sealed))
        answers.append(done.rowcount > 0)
    return answers


RESEAL_GRANT: Final[Operation[SealedGrant, bool]] = Operation(
    name="reseal_grant", rank=1, key=lambda one: one.mailbox, apply=_reseal_grants
)
STORE: Final[Operation[Resealed, bool]] = Operation(
    name="store_secret", rank=1, key=lambda one: one.profile_id, apply=_store
)
