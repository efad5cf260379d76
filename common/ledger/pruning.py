"""Forgetting mails that left their server long ago, a batch at a time: what keeps the ledger's size in bounds.

A mail may be forgotten when it is settled, and its mailbox was listed without it for as long as UIDLs are recognised:
one that nobody polls is not known to be gone. Mails of one copy go together, and none while a delivery is undone. What
needs a person, what is on its way, and what the server may still list stays, however old it is.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.events import forget_events
from common.ledger.recorded import REMOVED
from common.ledger.records import UNDONE, MailState
from common.ledger.rows import chunks, clock
from common.ledger.schema import copies, deliveries, mails, profiles, schedule
from common.ledger.writer import Operation
from common.retention import SHORTEST

BATCH: Final = 500
"""Mails of one transaction: milliseconds, so that who waits for a row doesn't notice."""

_SETTLED: Final = (MailState.DELETED, MailState.KEPT, MailState.LISTED, MailState.SKIPPED)
"""The last two: removed by somebody else before they were fetched."""

_WANTED: Final = and_(
    mails.c.state == MailState.LISTED, or_(mails.c.digest.is_not(None), mails.c.asked_at.is_not(None))
)
"""Of those, what was retrieved before or asked for: its bytes are missed, and the next poll finds or loses them."""

_sibling: Final = mails.alias()


async def prunable(connection: AsyncConnection, seconds: int) -> int:
    """Return how many mails left their server longer ago than this, and may be forgotten."""
    query = select(func.count()).select_from(mails).where(_may_go(await clock(connection) - seconds * 1000))
    return int((await connection.execute(query)).scalar_one())


def _may_go(before: int) -> ColumnElement[bool]:
    undone = exists().where(deliveries.c.copy_id == mails.c.copy_id, deliveries.c.state.in_(UNDONE))
    stays = or_(_sibling.c.unseen_since.is_(None), _sibling.c.unseen_since > before, _sibling.c.state.not_in(_SETTLED))
    needed = exists().where(_sibling.c.copy_id == mails.c.copy_id, stays)
    # Wrapped, so that SQLite goes by when they left, and not by the state that nearly all have.
    settled = func.coalesce(mails.c.state, "").in_(_SETTLED)
    return and_(mails.c.unseen_since <= before, settled, ~_WANTED, _was_looked_for(), ~undone, ~needed)


def _was_looked_for() -> ColumnElement[bool]:
    """Whether polls since would have shown the mail, or will never be made."""
    polled = schedule.c.last_success_at >= mails.c.unseen_since + SHORTEST * 1000
    removed = profiles.c.managed_by == REMOVED
    return exists().where(
        profiles.c.id == mails.c.profile_id, schedule.c.profile_id == mails.c.profile_id, or_(polled, removed)
    )


async def _prune(connection: AsyncConnection, asked: Sequence[int]) -> list[int]:
    """Forget a batch; what another is at is passed over."""
    before = await clock(connection) - max(asked) * 1000
    query = select(mails.c.id, mails.c.copy_id).where(_may_go(before)).order_by(mails.c.unseen_since).limit(BATCH)
    rows = (await connection.execute(query.with_for_update(skip_locked=True, of=mails))).all()
    for part in chunks(row.id for row in rows):
        await connection.execute(delete(mails).where(mails.c.id.in_(part)))
        await forget_events(connection, part)
    for part in chunks(row.copy_id for row in rows if row.copy_id is not None):
        await _forget_copies(connection, part)
    return [len(rows) for _ in asked]


async def _forget_copies(connection: AsyncConnection, ids: Sequence[str]) -> None:
    """Forget those of these copies that no mail is of any more, with their deliveries."""
    without = select(copies.c.id).where(copies.c.id.in_(ids), ~exists().where(mails.c.copy_id == copies.c.id))
    gone = list((await connection.execute(without)).scalars())
    ended = delete(deliveries).where(deliveries.c.copy_id.in_(gone)).returning(deliveries.c.id)
    await forget_events(connection, (await connection.execute(ended)).scalars())
    await connection.execute(delete(copies).where(copies.c.id.in_(gone)))


PRUNE: Final[Operation[int, int]] = Operation(name="prune", rank=80, key=str, apply=_prune)
"""Takes how long a mail must be gone, in seconds; answers how many were forgotten: BATCH, if there may be more."""
