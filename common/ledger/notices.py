"""What people should be told of: found by looking, recorded once, sent once by whichever worker claims it.

Nothing else in the ledger knows of notices, so a notice that can't be delivered begets none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.records import DeliveryState, MailState
from common.ledger.rows import AnyRow, chunks, clock, insert_missing
from common.ledger.schema import deliveries, mails, new_id, notices, profiles, schedule, targets
from common.ledger.stuck import SET_ASIDE
from common.ledger.targets import since_nothing, takes_nothing, why_nothing
from common.ledger.writer import Operation
from common.messages import one_line
from common.notice import NOTICE_CAME_BACK

BATCH: Final = 500
"""Findings of one look, and notices of one mail; more come with the next."""

CLAIM_MS: Final = 10 * 60_000
"""How long a worker may take to send what it claimed; then it is another's."""

MAX_TRIES: Final = 20
"""After which a notice that nobody takes is dropped: the log and `pps status` tell of it in any case."""

REMIND_MS: Final = 30 * 86_400_000
"""After which people are told again of what still stands."""

MANY_MAILS: Final = 100
MANY_OCTETS: Final = 100_000_000
"""What may wait on a remote server for more than a day before it is told of, and again each time it has doubled."""

_OLD_MS: Final = 86_400_000
_FILLING: Final = (
    MailState.LISTED,
    MailState.FETCHED,
    MailState.ROUTED,
    MailState.QUARANTINED,
    MailState.SKIPPED,
)


class Kind(StrEnum):
    """What a notice is about."""

    AUTH = "auth"  # a profile stopped, since its sign-ins are refused
    TARGET = "target"  # a target takes nothing
    QUARANTINE = "quarantine"  # a mail or delivery needs a person
    OVERSIZE = "oversize"  # a mail is larger than the profile takes
    MAILBOX = "mailbox"  # the remote mailbox fills up


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to look for."""

    down_after: int  # seconds that a target may take nothing
    growth: bool  # the remote mailboxes, too, which costs more


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that people should be told of."""

    kind: Kind
    subject: str
    profile_id: str | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A finding that is to be sent now."""

    id: str
    kind: Kind
    profile_id: str | None
    text: str
    found_at: int
    tries: int  # this one included


async def noticeable(connection: AsyncConnection, wanted: Wanted) -> list[Finding]:
    """Return what people should be told of, and were not yet."""
    time = await clock(connection)
    found = [*await _stopped(connection), *await _down(connection, time - wanted.down_after * 1000, time)]
    found += [*await _quarantined(connection), *await _set_aside(connection), *await _too_large(connection)]
    if wanted.growth:
        found += await _filling(connection, time)
    known = await _known(connection, found)
    return [finding for finding in found if (finding.kind, finding.subject) not in known]


async def _known(connection: AsyncConnection, found: Sequence[Finding]) -> set[tuple[str, str]]:
    known: set[tuple[str, str]] = set()
    for part in chunks(finding.subject for finding in found):
        query = select(notices.c.kind, notices.c.subject).where(notices.c.subject.in_(part))
        known |= {(row.kind, row.subject) for row in (await connection.execute(query)).all()}
    return known


async def _stopped(connection: AsyncConnection) -> list[Finding]:
    query = (
        select(profiles.c.id, profiles.c.name, schedule.c.last_error, schedule.c.last_finished_at)
        .join(schedule, schedule.c.profile_id == profiles.c.id)
        .where(profiles.c.enabled, schedule.c.due_at.is_(None), schedule.c.last_result == "auth")
    )
    return [
        _finding(Kind.AUTH, f"{row.id}:{row.last_finished_at}", row.id, f"profile {row.name} stopped: {row.last_error}")
        for row in (await connection.execute(query)).all()
    ]


async def _down(connection: AsyncConnection, before: int, time: int) -> list[Finding]:
    """Return targets that are paused for long, and those that are held, whose user table needs somebody at once."""
    since = since_nothing(time)
    query = select(targets.c.name, since.label("since"), why_nothing(time).label("why")).where(
        takes_nothing(time), or_(targets.c.held_until > time, since <= before)
    )
    return [
        _finding(Kind.TARGET, f"{row.name}:{row.since}", None, f"target {row.name} takes nothing: {row.why}")
        for row in (await connection.execute(query)).all()
    ]


def _untold(kind: Kind, subject: ColumnElement[str]) -> ColumnElement[bool]:
    return ~exists().where(notices.c.kind == kind, notices.c.subject == subject)


async def _quarantined(connection: AsyncConnection) -> list[Finding]:
    query = select(deliveries).where(
        deliveries.c.state == DeliveryState.QUARANTINED, _untold(Kind.QUARANTINE, deliveries.c.id)
    )
    return [
        _finding(Kind.QUARANTINE, row.id, row.profile_id, f"mail {row.mail_id} to {row.recipient}: {row.last_reply}")
        for row in (await connection.execute(query.limit(BATCH))).all()
    ]


async def _set_aside(connection: AsyncConnection) -> list[Finding]:
    query = select(mails.c.id, mails.c.profile_id, mails.c.state, mails.c.reason).where(
        mails.c.state.in_(SET_ASIDE),
        func.coalesce(mails.c.reason, "") != NOTICE_CAME_BACK,
        _untold(Kind.QUARANTINE, mails.c.id),
    )
    return [
        _finding(Kind.QUARANTINE, row.id, row.profile_id, f"mail {row.id} is {row.state}: {row.reason}")
        for row in (await connection.execute(query.limit(BATCH))).all()
    ]


async def _too_large(connection: AsyncConnection) -> list[Finding]:
    query = select(mails.c.id, mails.c.profile_id, mails.c.size, mails.c.reason).where(
        mails.c.state == MailState.SKIPPED,
        mails.c.reason.startswith("larger than"),
        mails.c.unseen_since.is_(None),
        _untold(Kind.OVERSIZE, mails.c.id),
    )
    return [
        _finding(Kind.OVERSIZE, row.id, row.profile_id, f"mail {row.id} of {row.size} octets stays: {row.reason}")
        for row in (await connection.execute(query.limit(BATCH))).all()
    ]


async def _filling(connection: AsyncConnection, time: int) -> list[Finding]:
    count, octets = func.count().label("waiting"), func.coalesce(func.sum(mails.c.size), 0).label("octets")
    query = (
        select(mails.c.profile_id, profiles.c.name, count, octets)
        .join(profiles, profiles.c.id == mails.c.profile_id)
        .where(mails.c.unseen_since.is_(None), mails.c.state.in_(_FILLING), mails.c.listed_at <= time - _OLD_MS)
        .group_by(mails.c.profile_id, profiles.c.name)
    )
    return [
        _finding(
            Kind.MAILBOX,
            f"{row.profile_id}:{doublings}",
            row.profile_id,
            f"{row.waiting} mails ({row.octets} octets) of profile {row.name} wait on its server for more than a day",
        )
        for row in (await connection.execute(query)).all()
        if (doublings := _doublings(row.waiting, int(row.octets))) > 0
    ]


def _doublings(count: int, octets: int) -> int:
    return max(count // MANY_MAILS, octets // MANY_OCTETS).bit_length()


def _finding(kind: Kind, subject: str, profile_id: str | None, text: str) -> Finding:
    return Finding(kind=kind, subject=subject, profile_id=profile_id, text=one_line(text))


async def wait(connection: AsyncConnection) -> bool:
    """Return whether notices wait to be sent."""
    query = select(notices.c.id).where(notices.c.sent_at.is_(None), notices.c.tries < MAX_TRIES)
    return (await connection.execute(query.limit(1))).first() is not None


async def _record(connection: AsyncConnection, groups: Sequence[tuple[Finding, ...]]) -> list[None]:
    time = await clock(connection)
    values: list[dict[str, Any]] = [
        {
            "id": new_id(),
            "kind": finding.kind.value,
            "subject": finding.subject,
            "profile_id": finding.profile_id,
            "text": finding.text,
            "found_at": time,
            "tries": 0,
        }
        for group in groups
        for finding in group
    ]
    await insert_missing(connection, notices, ("kind", "subject"), values)
    await connection.execute(delete(notices).where(notices.c.sent_at <= time - REMIND_MS))
    return [None for _ in groups]


async def _claim(connection: AsyncConnection, asked: Sequence[int]) -> list[tuple[Notice, ...]]:
    time = await clock(connection)
    since = time - min(asked) * 1000
    # Also what failed counts: while one way of telling is out of order, the others must not hear each thing by itself.
    recent = exists().where(or_(notices.c.sent_at > since, notices.c.claimed_until > since + CLAIM_MS))
    if (await connection.execute(select(recent))).scalar():
        return [() for _ in asked]
    free = or_(notices.c.claimed_until.is_(None), notices.c.claimed_until <= time)
    query = select(notices).where(notices.c.sent_at.is_(None), free, notices.c.tries < MAX_TRIES)
    locked = query.order_by(notices.c.found_at, notices.c.id).limit(BATCH).with_for_update(skip_locked=True)
    rows = (await connection.execute(locked)).all()
    for part in chunks(row.id for row in rows):
        taken = update(notices).where(notices.c.id.in_(part))
        await connection.execute(taken.values(claimed_until=time + CLAIM_MS, tries=notices.c.tries + 1))
    claimed = tuple(_notice(row) for row in rows)
    return [claimed if number == 0 else () for number, _ in enumerate(asked)]


def _notice(row: AnyRow) -> Notice:
    kind = Kind(row.kind)
    return Notice(
        id=row.id, kind=kind, profile_id=row.profile_id, text=row.text, found_at=row.found_at, tries=row.tries + 1
    )


async def _sent(connection: AsyncConnection, groups: Sequence[tuple[str, ...]]) -> list[None]:
    time = await clock(connection)
    for part in chunks(one for group in groups for one in group):
        await connection.execute(update(notices).where(notices.c.id.in_(part)).values(sent_at=time, claimed_until=None))
    return [None for _ in groups]


RECORD_FINDINGS: Final[Operation[tuple[Finding, ...], None]] = Operation(
    name="record_findings", rank=95, key=lambda group: group[0].subject if group else "", apply=_record
)
CLAIM_NOTICES: Final[Operation[int, tuple[Notice, ...]]] = Operation(
    name="claim_notices", rank=96, key=str, apply=_claim
)
NOTICES_SENT: Final[Operation[tuple[str, ...], None]] = Operation(
    name="notices_sent", rank=97, key=lambda ids: ids[0] if ids else "", apply=_sent
)
