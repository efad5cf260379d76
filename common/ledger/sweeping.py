"""What the sweeper takes in hand: due deliveries, mails without progress. Taken in batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.claiming import PATIENCE_MS
from common.ledger.records import DeliveryState, MailState, PlannedDelivery
from common.ledger.returning import Fates, send_back, send_back_mails
from common.ledger.routing import planned_delivery
from common.ledger.rows import chunks, clock
from common.ledger.schema import deliveries, hosts, mails, profiles, schedule, targets
from common.ledger.writer import Operation

BATCH: Final = 500
LONGEST_MS: Final = 86_400_000
"""Longer than we put anything off. What a person spreads over more than this comes due at once, which loses nothing."""

_OPEN: Final = (DeliveryState.PENDING, DeliveryState.DEFERRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """A delivery that wants an attempt, or whose job made no progress."""

    planned: PlannedDelivery
    retry: bool  # its time has come; otherwise a job should be in the queue
    age: int  # milliseconds since its mail was routed


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleMail:
    """A fetched mail that no router dealt with for long."""

    mail_id: str
    profile_id: str
    mailbox: str
    fetches: int
    digest: bytes
    body_digest: bytes
    revision: int
    settings: str
    fetched_at: int
    age: int  # milliseconds since it was fetched


async def _take_due(connection: AsyncConnection, _rows: Sequence[None]) -> list[tuple[DueDelivery, ...]]:
    time = await clock(connection)
    free = or_(deliveries.c.claimed_until.is_(None), deliveries.c.claimed_until <= time)
    query = (
        select(deliveries, mails.c.digest, mails.c.octets, mails.c.routed_at)
        .join(mails, mails.c.id == deliveries.c.mail_id)
        .where(deliveries.c.state.in_(_OPEN), deliveries.c.next_attempt_at <= time, free)
        .where(mails.c.state == MailState.ROUTED)
        .order_by(deliveries.c.next_attempt_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True, of=deliveries)
    )
    rows = (await connection.execute(query)).all()
    for part in chunks(row.id for row in rows):
        later = update(deliveries).where(deliveries.c.id.in_(part))
        await connection.execute(later.values(next_attempt_at=time + PATIENCE_MS, swept_claims=deliveries.c.claims))
    taken = tuple(
        DueDelivery(
            planned=planned_delivery(row),
            # A retry, a redirect, a claim that ran out: the job that was claimed is no more, a new one is wanted.
            retry=row.swept_claims != row.claims,
            age=time - row.routed_at,
        )
        for row in rows
    )
    return [taken for _ in _rows]


async def _take_stale(connection: AsyncConnection, _rows: Sequence[None]) -> list[tuple[StaleMail, ...]]:
    time = await clock(connection)
    query = (
        select(mails, profiles.c.revision, profiles.c.settings)
        .join(profiles, profiles.c.id == mails.c.profile_id)
        .where(mails.c.state == MailState.FETCHED, mails.c.progress_at <= time - PATIENCE_MS)
        .order_by(mails.c.progress_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True, of=mails)
    )
    rows = (await connection.execute(query)).all()
    for part in chunks(row.id for row in rows):
        await connection.execute(update(mails).where(mails.c.id.in_(part)).values(progress_at=time))
    names = ("profile_id", "mailbox", "fetches", "digest", "body_digest", "revision", "settings", "fetched_at")
    stale = tuple(
        StaleMail(mail_id=row.id, age=time - row.fetched_at, **{name: getattr(row, name) for name in names})
        for row in rows
    )
    return [stale for _ in _rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """What must be fetched again: mails not yet routed, and the mails of deliveries whose bytes are gone."""

    mail_ids: tuple[str, ...] = ()
    delivery_ids: tuple[str, ...] = ()
    counted: bool  # False where no message of the earlier fetch can still be about: the broker began empty


async def _return(connection: AsyncConnection, returns: Sequence[Return]) -> list[Fates]:
    answers: list[Fates] = []
    for wanted in returns:
        fates = await send_back_mails(connection, sorted(wanted.mail_ids), counted=wanted.counted)
        for part in chunks(wanted.delivery_ids):
            rows = (await connection.execute(select(deliveries).where(deliveries.c.id.in_(part)))).all()
            fates |= await send_back(connection, rows, counted=wanted.counted)
        answers.append(fates)
    return answers


async def _begin_again(connection: AsyncConnection, _rows: Sequence[None]) -> list[None]:
    """The broker began empty and no other process works: nothing is in any queue, nobody holds a claim or a lease."""
    time = await clock(connection)
    await connection.execute(update(mails).where(mails.c.state == MailState.FETCHED).values(progress_at=0))
    pending = update(deliveries).where(deliveries.c.state == DeliveryState.PENDING)
    await connection.execute(pending.values(next_attempt_at=time))
    held = update(deliveries).where(deliveries.c.state.in_(_OPEN), deliveries.c.claimed_until > time)
    await connection.execute(held.values(claimed_until=time, next_attempt_at=time))
    await connection.execute(update(targets).values(paused_until=None, paused_since=None, reason=None))
    leased = update(schedule).where(schedule.c.lease_until.is_not(None))
    await connection.execute(leased.values(lease_until=None, lease_owner=None))
    await _set_right(connection, time)
    return [None for _ in _rows]


async def _set_right(connection: AsyncConnection, time: int) -> None:
    """Take back what a clock that was ahead has put off: else nothing happens until that day."""
    ahead = or_(schedule.c.last_started_at > time, schedule.c.last_finished_at > time)
    await connection.execute(
        update(schedule).where(ahead).values(due_at=time, not_before=None, last_started_at=time, last_finished_at=time)
    )
    late = update(deliveries).where(deliveries.c.state == DeliveryState.DEFERRED)
    await connection.execute(late.where(deliveries.c.next_attempt_at > time + LONGEST_MS).values(next_attempt_at=time))
    paused = update(hosts).where(hosts.c.paused_until > time + LONGEST_MS)
    await connection.execute(paused.values(paused_until=time))  # one profile is tried then, as after any pause


def _alone(name: str, rank: int, apply: Any) -> Operation[None, Any]:  # noqa: ANN401 (one of the above)
    return Operation(name=name, rank=rank, key=lambda _: "", apply=apply)


TAKE_DUE: Final[Operation[None, tuple[DueDelivery, ...]]] = _alone("take_due", 70, _take_due)
TAKE_STALE: Final[Operation[None, tuple[StaleMail, ...]]] = _alone("take_stale", 71, _take_stale)
RETURN: Final[Operation[Return, Fates]] = Operation(name="return", rank=72, key=repr, apply=_return)
BEGIN_AGAIN: Final[Operation[None, None]] = _alone("begin_again", 5, _begin_again)
