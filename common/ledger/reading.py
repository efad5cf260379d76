"""What is read of the ledger without changing it: what became deletable, what is known, and how full it is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.records import DeliveryState, MailState
from common.ledger.rows import chunks, clock, deletable_of
from common.ledger.schema import GONE_UNDELETED, deliveries, mails, profiles, schedule, targets
from common.ledger.targets import takes_nothing, why_nothing
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
    query = select(func.count()).where(mails.c.mailbox == mailbox, GONE_UNDELETED, mails.c.state.in_(ours))
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


async def needed_blobs(connection: AsyncConnection, keys: Sequence[str]) -> set[str]:
    """Return which of these blobs belong to mails that are not settled yet."""
    settled = (MailState.DELETED, MailState.KEPT, MailState.SKIPPED)
    found: set[str] = set()
    for part in chunks(keys):
        query = select(mails.c.id).where(mails.c.id.in_(part), mails.c.state.not_in(settled))
        found.update((await connection.execute(query)).scalars())
    return found
