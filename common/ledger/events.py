"""What befell a mail or a delivery and is not in its row any more: written in the commit that made it so.

The plain case writes nothing: of a mail that was fetched, routed and delivered once, the rows themselves hold every
time and the target's reply. Only what a later step overwrites is kept here: attempts that were not the last, repeated
fetches, and what set a mail aside or brought it back. Rows are added, never changed, and go with their mail.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.rows import chunks
from common.ledger.schema import events, new_id
from common.messages import one_line

FIRST: Final = 50
LAST: Final = 100
"""Events kept of one mail, and of one delivery: the first and the last. Five days of attempts are some 110."""


class What(StrEnum):
    """What happened. An attempt's event bears its `Result`, a person's decision its `Verb` instead."""

    FETCHED = "fetched"  # then, for not the last time
    ROUTED = "routed"  # then, for not the last time
    SENT_BACK = "sent_back"  # to be fetched again
    BROKE = "broke"  # the session, while it was retrieved
    SKIPPED = "skipped"
    QUARANTINED = "quarantined"
    LOST = "lost"
    KEPT = "kept"
    DELETED = "deleted"  # in vain: it was listed again
    GONE = "gone"  # from the server, for a while
    RETURNED = "returned"  # listed again
    RENAMED = "renamed"  # its UIDL names another mail, or it has another UIDL


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to `subject`, a mail's or a delivery's id."""

    subject: str
    what: str
    at: int
    attempt: int | None = None
    target: str | None = None
    text: str | None = None  # a reply, a reason, a recipient


async def note(connection: AsyncConnection, happened: Iterable[Event]) -> None:
    """Write events down."""
    new = sorted(happened, key=lambda event: event.subject)
    if not new:
        return
    rows = [{**asdict(one), "id": new_id(), "text": None if one.text is None else one_line(one.text)} for one in new]
    await connection.execute(insert(events), rows)
    await _thin(connection, sorted({one.subject for one in new if one.attempt is None or one.attempt > FIRST + LAST}))


async def note_all(connection: AsyncConnection, mail_ids: Iterable[str], what: What, at: int, text: str | None) -> None:
    """Write down that the same happened to several mails."""
    await note(connection, [Event(subject=mail_id, what=what, at=at, text=text) for mail_id in mail_ids])


async def forget_events(connection: AsyncConnection, subjects: Iterable[str]) -> None:
    """Remove what is on record of mails and deliveries that are removed themselves."""
    for part in chunks(subjects):
        await connection.execute(delete(events).where(events.c.subject.in_(part)))


async def _thin(connection: AsyncConnection, subjects: Sequence[str]) -> None:
    """Of what has more than FIRST + LAST events remove those in between: a mail may be skipped daily for years."""
    crowded: list[str] = []
    for part in chunks(subjects):
        counted = select(events.c.subject).where(events.c.subject.in_(part)).group_by(events.c.subject)
        crowded += (await connection.execute(counted.having(func.count() > FIRST + LAST))).scalars()
    for subject in crowded:
        mine = events.c.subject == subject
        first = select(events.c.id).where(mine).order_by(events.c.at, events.c.id).limit(FIRST)
        last = select(events.c.id).where(mine).order_by(events.c.at.desc(), events.c.id.desc()).limit(LAST)
        stays = or_(events.c.id.in_(first), events.c.id.in_(last))
        await connection.execute(delete(events).where(mine, ~stays))
