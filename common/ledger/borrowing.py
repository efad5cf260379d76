"""A lease to look at a mailbox, not to poll it: nobody else signs in meanwhile, and the schedule stays as it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.hours import seconds_until_open
from common.ledger.hosts import host_rows
from common.ledger.leasing import LEASE_MS
from common.ledger.records import HostMemory, Lease
from common.ledger.rows import AnyRow, clock
from common.ledger.schema import profiles, schedule
from common.ledger.writer import Operation
from common.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Somebody wants to look at a profile's mailbox."""

    profile_id: str
    owner: str
    per_host: int  # sessions that one host may have at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowed:
    """The lease, or why there is none. `passing`: it may be had in a moment."""

    lease: Lease | None = None
    why_not: str | None = None
    passing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A lease that is given back."""

    lease: Lease
    login_delay: int  # seconds that the server wants between sign-ins


async def _borrow(connection: AsyncConnection, wishes: Sequence[Wish]) -> list[Borrowed]:
    return [await _borrow_one(connection, wish) for wish in wishes]


async def _borrow_one(connection: AsyncConnection, wish: Wish) -> Borrowed:
    time = await clock(connection)
    query = (
        select(schedule, profiles.c.revision, profiles.c.settings, profiles.c.mailbox, profiles.c.enabled)
        .join(profiles, profiles.c.id == schedule.c.profile_id)
        .where(schedule.c.profile_id == wish.profile_id)
        .with_for_update(of=schedule)
    )
    row = (await connection.execute(query)).first()
    if row is None or not row.enabled:
        return Borrowed(why_not="it is disabled")
    profile = Profile.from_json(row.settings)
    refused = await _why_not(connection, row, profile, wish, time)
    if refused is not None:
        return refused
    values = {"lease_owner": wish.owner, "lease_until": time + LEASE_MS, "lease_epoch": row.lease_epoch + 1}
    await connection.execute(update(schedule).where(schedule.c.profile_id == wish.profile_id).values(**values))
    host = (await host_rows(connection)).get(row.host)
    memory = HostMemory() if host is None else host.memory(time)
    lease = Lease(
        profile_id=row.profile_id, epoch=row.lease_epoch + 1, revision=row.revision, profile=profile, memory=memory
    )
    return Borrowed(lease=lease)


async def _why_not(
    connection: AsyncConnection, row: AnyRow, profile: Profile, wish: Wish, time: int
) -> Borrowed | None:
    live = schedule.c.lease_until > time
    of_mailbox = select(profiles.c.id).where(profiles.c.mailbox == row.mailbox)
    busy = select(func.count()).where(schedule.c.profile_id.in_(of_mailbox), live)
    if (await connection.execute(busy)).scalar_one():
        return Borrowed(why_not="it is being polled", passing=True)
    sessions = select(func.count()).where(schedule.c.host == row.host, live)
    if (await connection.execute(sessions)).scalar_one() >= wish.per_host:
        return Borrowed(why_not=f"{row.host} has as many sessions as it may", passing=True)
    host = (await host_rows(connection)).get(row.host)
    if host is not None and (host.paused_until or 0) > time:
        return Borrowed(why_not=f"sign-ins at {row.host} are paused: {host.reason or ''}")
    if (row.not_before or 0) > time:
        wait = (row.not_before - time) // 1000 + 1
        return Borrowed(why_not=f"the server asks for longer pauses between sign-ins (LOGIN-DELAY): {wait} s more")
    if seconds_until_open(profile.windows, now=time / 1000, zone=profile.time_zone):
        return Borrowed(why_not=f"outside its hours: {', '.join(profile.hours)}")
    return None


async def _give_back(connection: AsyncConnection, returned: Sequence[Returned]) -> list[None]:
    time = await clock(connection)
    for one in returned:
        mine = (schedule.c.profile_id == one.lease.profile_id) & (schedule.c.lease_epoch == one.lease.epoch)
        delay = {"not_before": time + one.login_delay * 1000} if one.login_delay else {}
        change = update(schedule).where(mine)
        await connection.execute(change.values(lease_owner=None, lease_until=None, **delay))
    return [None for _ in returned]


BORROW: Final[Operation[Wish, Borrowed]] = Operation(
    name="borrow", rank=4, key=lambda wish: wish.profile_id, apply=_borrow
)
GIVE_BACK: Final[Operation[Returned, None]] = Operation(
    name="give_back", rank=5, key=lambda returned: returned.lease.profile_id, apply=_give_back
)
