"""When each profile is polled and by whom: leases with epochs, and how the last poll ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.failures import PollResult
from common.ledger.hosts import let_in, weigh_refusals
from common.ledger.records import Lease
from common.ledger.rows import AnyRow, chunks, clock, locked
from common.ledger.schema import profiles, schedule
from common.ledger.writer import Operation
from common.messages import one_line

GOOD: Final = frozenset({PollResult.OK, PollResult.EMPTY})
"""How a poll ends that got in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollEnd:
    """How a poll ended, and when the next is due."""

    lease: Lease
    result: PollResult
    error: str | None
    due_in: float | None  # seconds; None: the profile stops until a person acts
    login_delay: int = 0  # seconds that the server wants between sign-ins


async def _end_polls(connection: AsyncConnection, ends: Sequence[PollEnd]) -> list[bool]:
    columns = (schedule.c.profile_id, schedule.c.lease_epoch, schedule.c.failures, schedule.c.auth_failures)
    query = select(*columns, schedule.c.last_success_at, schedule.c.host, schedule.c.due_at, schedule.c.last_started_at)
    ids = (end.lease.profile_id for end in ends)
    rows = {row.profile_id: row for row in await locked(connection, query, schedule.c.profile_id, ids)}
    revisions = await _revisions(connection, rows)
    time = await clock(connection)
    answers = []
    changes: list[dict[str, Any]] = []
    refused: dict[str, set[str]] = {}
    welcome: set[str] = set()
    for end in ends:
        row = rows.get(end.lease.profile_id)
        live = row is not None and row.lease_epoch == end.lease.epoch
        if live and row is not None:
            values = _end_values(end, row, time)
            if _was_asked_for(row, time):
                values["due_at"] = row.due_at
            revision = revisions.get(end.lease.profile_id)
            if revision is None:
                values |= {"due_at": None}
            elif revision != end.lease.revision:
                values |= {"due_at": time, "auth_failures": 0}  # it was edited meanwhile: this poll tells nothing of it
            elif end.result is PollResult.AUTH:
                refused.setdefault(row.host, set()).add(row.profile_id)
            elif end.result in GOOD:
                welcome.add(row.host)
            changes.append({"key": end.lease.profile_id, **values})
        answers.append(live)
    if changes:  # in one go: one round trip each would be most of what a poll of an empty mailbox costs
        await connection.execute(update(schedule).where(schedule.c.profile_id == bindparam("key")), changes)
    await let_in(connection, welcome)
    await weigh_refusals(connection, refused, time)
    return answers


async def _revisions(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, int]:
    """Return the revisions of those profiles that are enabled."""
    found: dict[str, int] = {}
    for part in chunks(ids):
        query = select(profiles.c.id, profiles.c.revision).where(profiles.c.id.in_(part), profiles.c.enabled)
        found |= {row.id: row.revision for row in (await connection.execute(query)).all()}
    return found


def _was_asked_for(row: AnyRow, time: int) -> bool:
    """Whether somebody made the profile due while it was polled: what he waits for, this poll may not have seen."""
    return row.due_at is not None and row.last_started_at is not None and row.last_started_at < row.due_at <= time


def _end_values(end: PollEnd, row: AnyRow, time: int) -> dict[str, Any]:
    good = end.result in GOOD
    not_before = time + end.login_delay * 1000 if end.login_delay else None
    return {
        "due_at": None if end.due_in is None else max(time + int(end.due_in * 1000), not_before or 0),
        "not_before": not_before,
        "lease_until": None,
        "lease_owner": None,
        "last_finished_at": time,
        "last_result": end.result.value,
        "last_error": None if end.error is None else one_line(end.error),
        "failures": 0 if good else row.failures + 1,
        "auth_failures": row.auth_failures + 1 if end.result is PollResult.AUTH else 0 if good else row.auth_failures,
        "last_success_at": time if good else row.last_success_at,
    }


async def _set_due(connection: AsyncConnection, names: Sequence[str]) -> list[bool]:
    """Poll now: also wakes a profile that stopped, and forgets its failures."""
    time = await clock(connection)
    answers = []
    for name in names:
        row = (
            await connection.execute(select(profiles.c.id, profiles.c.enabled).where(profiles.c.name == name))
        ).first()
        if row is not None:
            change = update(schedule).where(schedule.c.profile_id == row.id)
            fresh = {"auth_failures": 0, "failures": 0, "held": None, "held_at": None}
            await connection.execute(change.values(due_at=time if row.enabled else None, **fresh))
        answers.append(row is not None)
    return answers


SET_DUE: Final[Operation[str, bool]] = Operation(name="set_due", rank=3, key=lambda name: name, apply=_set_due)
END_POLLS: Final[Operation[PollEnd, bool]] = Operation(
    name="end_polls", rank=90, key=lambda end: end.lease.profile_id, apply=_end_polls
)
