"""How a ledger stands in all, every settled row counted: for tests. The service never counts what is done with."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger import Ledger
from common.ledger.records import DeliveryState, MailState
from common.ledger.rows import clock
from common.ledger.schema import deliveries, hosts, mails, profiles, schedule, targets
from common.ledger.targets import since_nothing, takes_nothing, why_nothing
from common.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileStatus:
    """How one profile stands."""

    read_at: int
    profile_id: str
    name: str
    server: str
    user: str
    enabled: bool
    due_at: int | None  # None: stopped until a person acts
    polling: bool
    last_started_at: int | None
    last_finished_at: int | None
    last_success_at: int | None
    last_result: str | None
    last_error: str | None
    held: str | None = None  # why a poll that was due was not made, until one is
    held_at: int | None = None
    mails: dict[str, int]  # by state, and "removed" by someone else before they were fetched
    deliveries: dict[str, int]  # by state

    @property
    def left(self) -> int:
        """Mails that are neither done with nor set aside: something is still to be done for them."""
        return sum(self.mails.get(state, 0) for state in (MailState.LISTED, MailState.FETCHED, MailState.ROUTED))


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStatus:
    """A target that takes nothing now."""

    name: str
    reason: str
    paused_since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """A host that refuses so many sign-ins that the passwords can't be to blame."""

    name: str
    reason: str
    paused_since: int
    paused_until: int  # then one profile at a time is tried


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedItem:
    """What can't go on without a person: a mail, or one recipient's delivery of it."""

    mail_id: str
    recipient: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How all stands."""

    at: int
    profiles: tuple[ProfileStatus, ...]
    deliveries: dict[str, dict[str, int]]  # by target and state
    targets: tuple[TargetStatus, ...]  # that are paused
    hosts: tuple[HostStatus, ...] = ()  # that are paused
    quarantined: tuple[QuarantinedItem, ...]  # the first of them


async def status_of(ledger: Ledger) -> Status:
    """Return how all stands."""
    return await ledger.read(_status)


async def _status(connection: AsyncConnection) -> Status:
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
