"""Who may poll a mailbox now: leases with epochs, claimed in batches, and why what is due is held instead.

One session a mailbox, at most so many a host, none while the host's sign-ins are paused, none outside a profile's hours
or before the server wishes. What is held says so in its row, for `pps status` and `pps pull`.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.failures import PollResult
from common.hours import seconds_until_open
from common.ledger.hosts import HostRow, host_rows
from common.ledger.records import HostMemory, Lease
from common.ledger.rows import AnyRow, chunks, clock, current_epochs
from common.ledger.schema import profiles, schedule
from common.ledger.writer import Operation
from common.messages import one_line
from common.profile import Profile

LEASE_MS: Final = 3 * 60_000
"""How long a fetcher owns a poll unless it renews: a dead fetcher's mailboxes wait no longer than this."""

UNREADABLE_MS: Final = 10 * 60_000
"""How soon a profile is looked at again whose settings can't be read."""

BUSY_MS: Final = 5_000
"""How soon a profile is looked at again whose mailbox is being polled under another profile."""

MAX_LOOKS: Final = 10
"""Queries that one claim may make: each leaves out the hosts that the one before found full."""

MAX_HELD: Final = 500
"""Profiles of paused hosts that one claim puts off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRequest:
    """A fetcher asks for polls to make."""

    owner: str
    limit: int
    per_host: int  # sessions that one host may have, of all fetchers together
    names: frozenset[str] | None = None  # only these profiles


async def _claim_due(connection: AsyncConnection, requests: Sequence[DueRequest]) -> list[tuple[Lease, ...]]:
    return [await _claim(connection, request) for request in requests]


@dataclass(slots=True, kw_only=True)
class _Claim:
    """One claim under way."""

    request: DueRequest
    time: int
    hosts: dict[str, HostRow]  # of whom something is remembered
    live: Counter[str]  # sessions under way, by host
    shut: set[str] = field(default_factory=set)  # hosts that take no more
    leases: list[Lease] = field(default_factory=list)

    def has_room(self, host: str) -> bool:
        """Whether the host may have one more session; one at a time while it is on probation."""
        row = self.hosts.get(host)
        most = 1 if row is not None and row.paused_since is not None else self.request.per_host
        return self.live[host] < most


async def _claim(connection: AsyncConnection, request: DueRequest) -> tuple[Lease, ...]:
    time = await clock(connection)
    remembered = await host_rows(connection)
    claim = _Claim(request=request, time=time, hosts=remembered, live=await _live(connection, time))
    claim.shut = {name for name, row in remembered.items() if row.paused_until is not None and row.paused_until > time}
    await _hold_paused(connection, claim)
    claim.shut |= {host for host in claim.live if not claim.has_room(host)}
    for _ in range(MAX_LOOKS):
        if len(claim.leases) >= request.limit or not await _look(connection, claim):
            break
    return tuple(claim.leases)


async def _live(connection: AsyncConnection, time: int) -> Counter[str]:
    query = select(schedule.c.host, func.count().label("n")).where(schedule.c.lease_until > time)
    rows = (await connection.execute(query.group_by(schedule.c.host))).all()
    return Counter({row.host: row.n for row in rows})


async def _hold_paused(connection: AsyncConnection, claim: _Claim) -> None:
    """Put off what is due on hosts whose sign-ins are paused: it must not stand before what may be polled."""
    for host in sorted(claim.shut):
        row = claim.hosts[host]
        due = select(schedule.c.profile_id).where(schedule.c.host == host, schedule.c.due_at <= claim.time)
        ids = (await connection.execute(due.where(_is_free(claim.time)).limit(MAX_HELD))).scalars()
        for part in chunks(ids):
            change = update(schedule).where(schedule.c.profile_id.in_(part))
            held = {"held": row.reason, "held_at": claim.time, "due_at": row.paused_until}
            await connection.execute(change.values(**held))


async def _look(connection: AsyncConnection, claim: _Claim) -> bool:
    """Lease what may be polled of the next due profiles; return whether another look may find more."""
    limit = claim.request.limit - len(claim.leases)
    query = due_query(time=claim.time, limit=limit, names=claim.request.names, shut=claim.shut)
    rows = (await connection.execute(query)).all()
    busy = await _busy_elsewhere(connection, rows, claim.time)
    taken: list[AnyRow] = []
    for row in rows:
        if not claim.has_room(row.host):
            claim.shut.add(row.host)
        elif row.profile_id in busy:
            await _hold(connection, row, f"its mailbox is being polled as {busy[row.profile_id]}", claim, BUSY_MS)
        elif row.not_before is not None and row.not_before > claim.time:
            await _hold(connection, row, _asked_for_patience(row, claim.time), claim, row.not_before - claim.time)
        elif await _may_begin(connection, row, claim):
            taken.append(row)
            claim.live[row.host] += 1
    for part in chunks(row.profile_id for row in taken):
        lease = {
            "lease_owner": claim.request.owner,
            "lease_until": claim.time + LEASE_MS,
            "held": None,
            "held_at": None,
        }
        change = update(schedule).where(schedule.c.profile_id.in_(part))
        epoch = schedule.c.lease_epoch + 1
        await connection.execute(change.values(lease_epoch=epoch, last_started_at=claim.time, **lease))
    return len(rows) == limit and len(taken) < limit


def _is_free(time: int) -> ColumnElement[bool]:
    return or_(schedule.c.lease_until.is_(None), schedule.c.lease_until <= time)


def due_query(*, time: int, limit: int, names: Collection[str] | None, shut: Collection[str]) -> Select[Any]:
    """Return the query for what is due and free, the longest due first, on all hosts but those that are shut."""
    return (
        select(schedule, profiles.c.revision, profiles.c.settings, profiles.c.mailbox)
        .join(profiles, profiles.c.id == schedule.c.profile_id)
        .where(schedule.c.due_at <= time, _is_free(time), profiles.c.enabled)
        .where(true() if names is None else profiles.c.name.in_(names))
        .where(schedule.c.host.not_in(shut) if shut else true())
        .order_by(schedule.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=schedule)
    )


async def _busy_elsewhere(connection: AsyncConnection, rows: Sequence[AnyRow], time: int) -> dict[str, str]:
    """Return by profile the other profile under which its mailbox is being polled, or about to be.

    Mailboxes with several profiles are rare. Their rows are locked, so that two fetchers can't begin two of them at
    once: who doesn't get them all leaves the mailbox alone.
    """
    shared: dict[str, int] = {}
    for part in chunks(row.mailbox for row in rows):
        query = select(profiles.c.mailbox, func.count().label("n")).where(profiles.c.mailbox.in_(part))
        several = query.group_by(profiles.c.mailbox).having(func.count() > 1)
        shared |= {row.mailbox: row.n for row in (await connection.execute(several)).all()}
    busy: dict[str, str] = {}
    for mailbox, count in sorted(shared.items()):
        of_mailbox = (
            select(schedule.c.profile_id, schedule.c.lease_until, profiles.c.name)
            .join(profiles, profiles.c.id == schedule.c.profile_id)
            .where(profiles.c.mailbox == mailbox)
            .order_by(schedule.c.profile_id)
            .with_for_update(skip_locked=True, of=schedule)
        )
        found = (await connection.execute(of_mailbox)).all()
        busy |= _others(found, [row for row in rows if row.mailbox == mailbox], complete=len(found) == count, time=time)
    return busy


def _others(found: Sequence[AnyRow], due: Sequence[AnyRow], *, complete: bool, time: int) -> dict[str, str]:
    polled = [row.name for row in found if row.lease_until is not None and row.lease_until > time]
    if polled or not complete:
        return {row.profile_id: polled[0] if polled else "another profile" for row in due}
    names = {row.profile_id: row.name for row in found}
    return {row.profile_id: names[due[0].profile_id] for row in due[1:]}


async def _may_begin(connection: AsyncConnection, row: AnyRow, claim: _Claim) -> bool:
    """Add the lease, unless the profile can't be read, which must not stop the others, or has other hours."""
    try:
        profile = Profile.from_json(row.settings)
    except ValueError:
        error = "its settings in the ledger can't be read: written by another version? `pps run` writes them anew"
        change = update(schedule).where(schedule.c.profile_id == row.profile_id)
        values = {"last_result": PollResult.LOCAL.value, "last_error": error, "lease_until": None}
        await connection.execute(change.values(due_at=claim.time + UNREADABLE_MS, **values))
        return False
    closed = seconds_until_open(profile.windows, now=claim.time / 1000, zone=profile.time_zone)
    if closed:
        zone = profile.time_zone or "the fetcher's local time"
        await _hold(
            connection, row, f"outside its hours: {', '.join(profile.hours)} ({zone})", claim, int(closed * 1000)
        )
        return False
    claim.leases.append(_lease(row, profile, claim))
    return True


def _lease(row: AnyRow, profile: Profile, claim: _Claim) -> Lease:
    host = claim.hosts.get(row.host)
    return Lease(
        profile_id=row.profile_id,
        epoch=row.lease_epoch + 1,
        revision=row.revision,
        profile=profile,
        failures=row.failures,
        auth_failures=row.auth_failures,
        memory=HostMemory() if host is None else host.memory(claim.time),
        hides=row.hides,
        lag=(claim.time - row.due_at) / 1000,
    )


async def _hold(connection: AsyncConnection, row: AnyRow, reason: str, claim: _Claim, wait: int) -> None:
    change = update(schedule).where(schedule.c.profile_id == row.profile_id)
    held = {"held": one_line(reason), "held_at": claim.time, "due_at": claim.time + wait}
    await connection.execute(change.values(**held))


def _asked_for_patience(row: AnyRow, time: int) -> str:
    return f"the server asks for longer pauses between sign-ins (LOGIN-DELAY): {(row.not_before - time) // 1000} s more"


async def _renew_leases(connection: AsyncConnection, leases: Sequence[Lease]) -> list[bool]:
    epochs = await current_epochs(connection, (lease.profile_id for lease in leases))
    live = [epochs.get(lease.profile_id) == lease.epoch for lease in leases]
    time = await clock(connection)
    for part in chunks(lease.profile_id for lease, ok in zip(leases, live, strict=True) if ok):
        renewed = update(schedule).where(schedule.c.profile_id.in_(part))
        await connection.execute(renewed.values(lease_until=time + LEASE_MS))
    return live


CLAIM_DUE: Final[Operation[DueRequest, tuple[Lease, ...]]] = Operation(
    name="claim_due", rank=1, key=lambda request: request.owner, apply=_claim_due
)
RENEW_LEASES: Final[Operation[Lease, bool]] = Operation(
    name="renew_leases", rank=2, key=lambda lease: lease.profile_id, apply=_renew_leases
)
