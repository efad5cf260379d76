"""Mail of servers that hide what they have given: the only copy may be ours, so it is noted before it is asked for.

A mail that was asked for and is listed no more was hidden. It is at rest among the blobs, if the session that asked
came so far; else its bytes are lost, which is never silent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.fetching import MailsOfSession, renamed
from common.ledger.listing import COLUMNS, known_mail
from common.ledger.records import FetchedMail, KnownMail, Lease, MailState
from common.ledger.returning import Fates, bytes_gone
from common.ledger.rows import chunks, clock, current_epochs
from common.ledger.schema import GONE_UNDELETED, mails
from common.ledger.writer import Operation


async def _record_asked(connection: AsyncConnection, groups: Sequence[MailsOfSession]) -> list[bool]:
    time = await clock(connection)
    live = await _are_live(connection, groups)
    for group, current in zip(groups, live, strict=True):
        for part in chunks(group.mail_ids if current else ()):
            await connection.execute(update(mails).where(mails.c.id.in_(part)).values(asked_at=time))
    return live


async def missing_of(connection: AsyncConnection, mailbox: str) -> list[KnownMail]:
    """Return the mails that were asked for and are gone, and that nobody recorded as fetched or lost yet."""
    gone = (mails.c.mailbox == mailbox) & GONE_UNDELETED & (mails.c.state == MailState.LISTED)
    query = select(*COLUMNS).where(gone, mails.c.asked_at.is_not(None))
    time = await clock(connection)
    return [known_mail(row, time, deletable=False) for row in (await connection.execute(query)).all()]


async def _give_up(connection: AsyncConnection, groups: Sequence[MailsOfSession]) -> list[Fates | None]:
    live = await _are_live(connection, groups)
    return [
        await bytes_gone(connection, group.mail_ids) if current else None
        for group, current in zip(groups, live, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """A UIDL names another mail than it did, and that one's bytes are at rest under an id of its own."""

    lease: Lease
    mail_id: str  # of the mail that had the UIDL
    fetched: FetchedMail  # the one that has it now
    size: int  # as listed


async def _succeed(connection: AsyncConnection, successions: Sequence[Succession]) -> list[Fates | None]:
    epochs = await current_epochs(connection, (one.lease.profile_id for one in successions))
    return [
        await _succeeded(connection, one) if epochs.get(one.lease.profile_id) == one.lease.epoch else None
        for one in successions
    ]


async def _succeeded(connection: AsyncConnection, one: Succession) -> Fates:
    time = await clock(connection)
    columns = (mails.c.mailbox, mails.c.profile_id, mails.c.uidl_key, mails.c.uidl)
    old = (await connection.execute(select(*columns).where(mails.c.id == one.mail_id))).one()
    group = MailsOfSession(lease=one.lease, mail_ids=(one.mail_id,))
    fates = await renamed(connection, group, time)  # which leaves the UIDL free
    new, times = one.fetched, ("listed_at", "progress_at", "fetched_at", "asked_at")
    values = {
        "id": new.mail_id,
        "size": one.size,
        "state": MailState.FETCHED,
        "fetches": new.fetches,
        "breaks": 0,
        "header_hash": new.header_hash,
        "digest": new.digest,
        "body_digest": new.body_digest,
        "octets": new.size,
        **old._mapping,  # noqa: SLF001 (SQLAlchemy's public name)
        **dict.fromkeys(times, time),
    }
    await connection.execute(insert(mails).values(values))
    return fates


async def _are_live(connection: AsyncConnection, groups: Sequence[MailsOfSession]) -> list[bool]:
    epochs = await current_epochs(connection, (group.lease.profile_id for group in groups))
    return [epochs.get(group.lease.profile_id) == group.lease.epoch for group in groups]


RECORD_ASKED: Final[Operation[MailsOfSession, bool]] = Operation(
    name="record_asked", rank=58, key=lambda group: group.lease.profile_id, apply=_record_asked
)
"""Answers False when the lease was lost."""

GIVE_UP: Final[Operation[MailsOfSession, Fates | None]] = Operation(
    name="give_up", rank=66, key=lambda group: group.lease.profile_id, apply=_give_up
)
SUCCEED: Final[Operation[Succession, Fates | None]] = Operation(
    name="succeed", rank=67, key=lambda one: one.mail_id, apply=_succeed
)
"""Both answer None when the lease was lost."""
