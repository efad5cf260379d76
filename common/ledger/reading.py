"""What is read of the ledger without changing it: what became deletable, how full it is, and how all stands."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.records import (
    DeliveryState,
    HostStatus,
    MailState,
    ProfileStatus,
    QuarantinedItem,
    Status,
    TargetStatus,
)
from common.ledger.rows import chunks, clock, deletable_of
from common.ledger.schema import deliveries, hosts, mails, profiles, schedule, targets
from common.ledger.targets import since_nothing, takes_nothing, why_nothing
from common.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A mail that was fetched once, as far as it can be recognised by its header."""

    uidl_key: bytes
    header_hash: bytes
    state: MailState
    gone: bool  # from the server, as the last listing told
    mail_id: str = ""


async def recorded_with_headers(
    connection: AsyncConnection, mailbox: str, hashes: Collection[bytes]
) -> tuple[Recorded, ...]:
    """Return the mails of a mailbox that have one of these header hashes."""
    columns = (mails.c.id, mails.c.uidl_key, mails.c.header_hash, mails.c.state, mails.c.unseen_since)
    found: list[Recorded] = []
    for part in chunks(hashes):
        query = select(*columns).where(mails.c.mailbox == mailbox, mails.c.header_hash.in_(part))
        found += [
            Recorded(
                uidl_key=row.uidl_key,
                header_hash=row.header_hash,
                state=MailState(row.state),
                gone=row.unseen_since is not None,
                mail_id=row.id,
            )
            for row in (await connection.execute(query)).all()
        ]
    return tuple(found)


async def vanished_undeleted(connection: AsyncConnection, mailbox: str) -> int:
    """Return how many retrieved mails of a mailbox are gone from the server although we didn't delete them."""
    ours = (MailState.FETCHED, MailState.ROUTED, MailState.KEPT)
    query = select(func.count()).where(
        mails.c.mailbox == mailbox, mails.c.unseen_since.is_not(None), mails.c.state.in_(ours)
    )
    return int((await connection.execute(query)).scalar_one())


async def uidls_of_keys(connection: AsyncConnection, mailbox: str, first: bytes, before: bytes) -> set[bytes]:
    """Return the UIDLs of the mails of a mailbox that are known by a key in this range instead, b"" for none."""
    in_range = (mails.c.uidl_key >= first, mails.c.uidl_key < before)
    named = or_(mails.c.uidl != b"", mails.c.state != MailState.DELETED)  # what had none is gone for good once deleted
    query = select(mails.c.uidl).where(mails.c.mailbox == mailbox, *in_range, named)
    return set((await connection.execute(query)).scalars())


async def unrecorded(connection: AsyncConnection, mailbox: str, uidls: Collection[bytes]) -> set[bytes]:
    """Return which of these UIDLs no mail of the mailbox is known by."""
    known: set[bytes] = set()
    for part in chunks(uidls):
        query = select(mails.c.uidl_key).where(mails.c.mailbox == mailbox, mails.c.uidl_key.in_(part))
        known.update((await connection.execute(query)).scalars())
    return set(uidls) - known


async def deletable_among(connection: AsyncConnection, mail_ids: Sequence[str]) -> set[str]:
    """Return which of these mails may be deleted."""
    return {row.id for row in await deletable_of(connection, mails.c.id, mail_ids)}


async def undone_at(connection: AsyncConnection, target: str) -> tuple[int, int]:
    """Return how many deliveries of a target are undone, and their octets."""
    open_states = (DeliveryState.PENDING, DeliveryState.DEFERRED)
    query = (
        select(func.count(), func.coalesce(func.sum(mails.c.octets), 0))
        .select_from(deliveries.join(mails, mails.c.id == deliveries.c.mail_id))
        .where(deliveries.c.target == target, deliveries.c.state.in_(open_states))
    )
    count, octets = (await connection.execute(query)).one()
    return int(count), int(octets)


async def milliseconds_to_next_poll(connection: AsyncConnection) -> int | None:
    """Return the time until a profile is due that nobody polls, at least 0; None when there is none."""
    time = await clock(connection)
    free = or_(schedule.c.lease_until.is_(None), schedule.c.lease_until <= time)
    query = (
        select(schedule.c.due_at)
        .join(profiles, profiles.c.id == schedule.c.profile_id)
        .where(profiles.c.enabled, schedule.c.due_at.is_not(None), free)
        .order_by(schedule.c.due_at)
        .limit(1)
    )
    due: int | None = (await connection.execute(query)).scalar()
    return None if due is None else max(0, due - time)


async def paused_targets(connection: AsyncConnection) -> dict[str, str]:
    """Return the targets that take nothing now, with the reason."""
    time = await clock(connection)
    query = select(targets.c.name, why_nothing(time).label("reason")).where(takes_nothing(time))
    return {row.name: row.reason for row in (await connection.execute(query)).all()}


async def enabled_profiles(connection: AsyncConnection) -> list[tuple[str, Profile]]:
    """Return id and settings of every profile that is enabled."""
    rows = (await connection.execute(select(profiles).where(profiles.c.enabled).order_by(profiles.c.name))).all()
    return [(row.id, Profile.from_json(row.settings)) for row in rows]


async def status(connection: AsyncConnection) -> Status:
    """Return how all stands, for `pps status` and `pps pull`."""
    time = await clock(connection)
    counts = await _mail_counts(connection)
    delivered = await _delivery_counts(connection, deliveries.c.profile_id)
    rows = (await connection.execute(_PROFILES)).all()
    return Status(
        at=time,
        profiles=tuple(_profile_status(row, counts.get(row.id, {}), delivered.get(row.id, {}), time) for row in rows),
        deliveries=await _delivery_counts(connection, deliveries.c.target),
        targets=await _targets(connection, time),
        hosts=await _hosts(connection),
        quarantined=await _quarantined(connection),
    )


_PROFILES = select(profiles, schedule).join(schedule, schedule.c.profile_id == profiles.c.id).order_by(profiles.c.name)
_MAX_QUARANTINED = 50


def _profile_status(row: Any, counts: dict[str, int], delivered: dict[str, int], time: int) -> ProfileStatus:  # noqa: ANN401 (a row of two tables)
    profile = Profile.from_json(row.settings)
    return ProfileStatus(
        read_at=time,
        profile_id=row.id,
        name=row.name,
        server=str(profile.server),
        user=profile.user,
        enabled=row.enabled,
        due_at=row.due_at,
        polling=row.lease_until is not None,
        last_started_at=row.last_started_at,
        last_finished_at=row.last_finished_at,
        last_success_at=row.last_success_at,
        last_result=row.last_result,
        last_error=row.last_error,
        held=row.held,
        held_at=row.held_at,
        mails=counts,
        deliveries=delivered,
    )


async def _mail_counts(connection: AsyncConnection) -> dict[str, dict[str, int]]:
    """Count mails by profile and state; "removed" are those that left the server before they were fetched."""
    removed = (mails.c.state == MailState.LISTED) & mails.c.unseen_since.is_not(None)
    query = select(mails.c.profile_id, mails.c.state, removed.label("removed"), func.count().label("n"))
    counts: dict[str, dict[str, int]] = {}
    for row in (await connection.execute(query.group_by(mails.c.profile_id, mails.c.state, removed))).all():
        state = "removed" if row.removed else row.state
        counts.setdefault(row.profile_id, {})[state] = row.n
    return counts


async def _delivery_counts(connection: AsyncConnection, by: ColumnElement[str]) -> dict[str, dict[str, int]]:
    query = select(by.label("key"), deliveries.c.state, func.count().label("n"))
    counts: dict[str, dict[str, int]] = {}
    for row in (await connection.execute(query.group_by(by, deliveries.c.state))).all():
        counts.setdefault(row.key, {})[row.state] = row.n
    return counts


async def _targets(connection: AsyncConnection, time: int) -> tuple[TargetStatus, ...]:
    since = since_nothing(time).label("paused_since")
    query = select(targets.c.name, why_nothing(time).label("reason"), since).where(takes_nothing(time))
    rows = (await connection.execute(query)).all()
    return tuple(TargetStatus(name=row.name, reason=row.reason, paused_since=row.paused_since) for row in rows)


async def _hosts(connection: AsyncConnection) -> tuple[HostStatus, ...]:
    query = select(hosts).where(hosts.c.paused_since.is_not(None)).order_by(hosts.c.name)
    return tuple(
        HostStatus(name=row.name, reason=row.reason or "", paused_since=row.paused_since, paused_until=row.paused_until)
        for row in (await connection.execute(query)).all()
    )


async def _quarantined(connection: AsyncConnection) -> tuple[QuarantinedItem, ...]:
    waiting = (MailState.QUARANTINED, MailState.LOST)
    of_mails = select(mails.c.id, mails.c.state, mails.c.reason).where(mails.c.state.in_(waiting))
    of_deliveries = select(deliveries.c.mail_id, deliveries.c.recipient, deliveries.c.last_reply).where(
        deliveries.c.state == DeliveryState.QUARANTINED
    )
    found = [
        QuarantinedItem(mail_id=row.id, recipient=None, reason=f"{row.state}: {row.reason or ''}")
        for row in (await connection.execute(of_mails.limit(_MAX_QUARANTINED))).all()
    ]
    found += [
        QuarantinedItem(mail_id=row.mail_id, recipient=row.recipient, reason=row.last_reply or "")
        for row in (await connection.execute(of_deliveries.limit(_MAX_QUARANTINED))).all()
    ]
    return tuple(found)


async def needed_blobs(connection: AsyncConnection, keys: Sequence[str]) -> set[str]:
    """Return which of these blobs belong to mails that are not settled yet."""
    settled = (MailState.DELETED, MailState.KEPT, MailState.SKIPPED)
    found: set[str] = set()
    for part in chunks(keys):
        query = select(mails.c.id).where(mails.c.id.in_(part), mails.c.state.not_in(settled))
        found.update((await connection.execute(query)).scalars())
    return found
