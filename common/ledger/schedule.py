"""When each profile is polled and by whom: leases with epochs, and how the last poll ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.failures import PollResult
from common.ledger.records import Lease
from common.ledger.rows import AnyRow, chunks, clock, current_epochs, locked
from common.ledger.schema import profiles, schedule
from common.ledger.writer import Operation
from common.messages import one_line
from common.profile import Profile

LEASE_MS: Final = 3 * 60_000
"""How long a fetcher owns a poll unless it renews: a dead fetcher's mailboxes wait no longer than this."""

UNREADABLE_MS: Final = 10 * 60_000
"""How soon a profile is looked at again whose settings can't be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRequest:
    """A fetcher asks for polls to make."""

    owner: str
    limit: int
    names: frozenset[str] | None = None  # only these profiles


async def _claim_due(connection: AsyncConnection, requests: Sequence[DueRequest]) -> list[tuple[Lease, ...]]:
    answers = []
    for request in requests:
        time = await clock(connection)
        free = or_(schedule.c.lease_until.is_(None), schedule.c.lease_until <= time)
        query = (
            select(schedule, profiles.c.revision, profiles.c.settings)
            .join(profiles, profiles.c.id == schedule.c.profile_id)
            .where(schedule.c.due_at <= time, free, profiles.c.enabled)
            .where(true() if request.names is None else profiles.c.name.in_(request.names))
            .order_by(schedule.c.due_at)
            .limit(request.limit)
            .with_for_update(skip_locked=True, of=schedule)
        )
        rows = (await connection.execute(query)).all()
        for part in chunks(row.profile_id for row in rows):
            taken = update(schedule).where(schedule.c.profile_id.in_(part))
            lease = {"lease_owner": request.owner, "lease_until": time + LEASE_MS, "last_started_at": time}
            await connection.execute(taken.values(lease_epoch=schedule.c.lease_epoch + 1, **lease))
        answers.append(await _readable(connection, rows, time))
    return answers


async def _readable(connection: AsyncConnection, rows: Sequence[AnyRow], time: int) -> tuple[Lease, ...]:
    """Return the leases of profiles that can be read; one of a newer PPS, say, must not stop the others."""
    leases = []
    for row in rows:
        try:
            profile = Profile.from_json(row.settings)
        except ValueError:
            error = "its settings in the ledger can't be read: written by another version? `pps run` writes them anew"
            change = update(schedule).where(schedule.c.profile_id == row.profile_id)
            values = {"last_result": PollResult.LOCAL.value, "last_error": error, "lease_until": None}
            await connection.execute(change.values(due_at=time + UNREADABLE_MS, **values))
            continue
        leases.append(
            Lease(
                profile_id=row.profile_id,
                epoch=row.lease_epoch + 1,
                revision=row.revision,
                profile=profile,
                failures=row.failures,
                auth_failures=row.auth_failures,
            )
        )
    return tuple(leases)


async def _renew_leases(connection: AsyncConnection, leases: Sequence[Lease]) -> list[bool]:
    epochs = await current_epochs(connection, (lease.profile_id for lease in leases))
    live = [epochs.get(lease.profile_id) == lease.epoch for lease in leases]
    time = await clock(connection)
    for part in chunks(lease.profile_id for lease, ok in zip(leases, live, strict=True) if ok):
        renewed = update(schedule).where(schedule.c.profile_id.in_(part))
        await connection.execute(renewed.values(lease_until=time + LEASE_MS))
    return live


@dataclass(frozen=True, slots=True, kw_only=True)
class PollEnd:
    """How a poll ended, and when the next is due."""

    lease: Lease
    result: PollResult
    error: str | None
    due_in: float | None  # seconds; None: the profile stops until a person acts


async def _end_polls(connection: AsyncConnection, ends: Sequence[PollEnd]) -> list[bool]:
    query = select(schedule.c.profile_id, schedule.c.lease_epoch, schedule.c.failures, schedule.c.auth_failures)
    ids = (end.lease.profile_id for end in ends)
    rows = {row.profile_id: row for row in await locked(connection, query, schedule.c.profile_id, ids)}
    revisions = await _revisions(connection, rows)
    time = await clock(connection)
    answers = []
    for end in ends:
        row = rows.get(end.lease.profile_id)
        live = row is not None and row.lease_epoch == end.lease.epoch
        if live and row is not None:
            change = update(schedule).where(schedule.c.profile_id == end.lease.profile_id)
            values = _end_values(end, row, time)
            if revisions.get(end.lease.profile_id) != end.lease.revision:
                values |= {"due_at": time, "auth_failures": 0}  # it was edited meanwhile: this poll tells nothing of it
            await connection.execute(change.values(**values))
        answers.append(live)
    return answers


async def _revisions(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in chunks(ids):
        query = select(profiles.c.id, profiles.c.revision).where(profiles.c.id.in_(part))
        found |= {row.id: row.revision for row in (await connection.execute(query)).all()}
    return found


def _end_values(end: PollEnd, row: AnyRow, time: int) -> dict[str, Any]:
    good = end.result in {PollResult.OK, PollResult.EMPTY}
    values: dict[str, Any] = {
        "due_at": None if end.due_in is None else time + int(end.due_in * 1000),
        "lease_until": None,
        "lease_owner": None,
        "last_finished_at": time,
        "last_result": end.result.value,
        "last_error": None if end.error is None else one_line(end.error),
        "failures": 0 if good else row.failures + 1,
        "auth_failures": row.auth_failures + 1 if end.result is PollResult.AUTH else 0 if good else row.auth_failures,
    }
    return values | ({"last_success_at": time} if good else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponed:
    """A lease that is given back without a poll."""

    lease: Lease
    seconds: float


async def _postpone(connection: AsyncConnection, postponed: Sequence[Postponed]) -> list[None]:
    time = await clock(connection)
    for one in postponed:
        own = (schedule.c.profile_id == one.lease.profile_id) & (schedule.c.lease_epoch == one.lease.epoch)
        free = {"lease_until": None, "lease_owner": None, "due_at": time + int(one.seconds * 1000)}
        await connection.execute(update(schedule).where(own).values(**free))
    return [None for _ in postponed]


async def _set_due(connection: AsyncConnection, names: Sequence[str]) -> list[bool]:
    """Poll now: also wakes a profile that stopped, and forgets its failures."""
    time = await clock(connection)
    answers = []
    for name in names:
        row = (await connection.execute(select(profiles.c.id).where(profiles.c.name == name))).first()
        if row is not None:
            change = update(schedule).where(schedule.c.profile_id == row.id)
            await connection.execute(change.values(due_at=time, auth_failures=0, failures=0))
        answers.append(row is not None)
    return answers


CLAIM_DUE: Final[Operation[DueRequest, tuple[Lease, ...]]] = Operation(
    name="claim_due", rank=1, key=lambda request: request.owner, apply=_claim_due
)
RENEW_LEASES: Final[Operation[Lease, bool]] = Operation(
    name="renew_leases", rank=2, key=lambda lease: lease.profile_id, apply=_renew_leases
)
POSTPONE: Final[Operation[Postponed, None]] = Operation(
    name="postpone", rank=91, key=lambda postponed: postponed.lease.profile_id, apply=_postpone
)
SET_DUE: Final[Operation[str, bool]] = Operation(name="set_due", rank=3, key=lambda name: name, apply=_set_due)
END_POLLS: Final[Operation[PollEnd, bool]] = Operation(
    name="end_polls", rank=90, key=lambda end: end.lease.profile_id, apply=_end_polls
)
