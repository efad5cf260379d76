"""The guard against a broken user table: "no such user" is not believed where it comes too often, or too suddenly.

A directory that is away makes a mail server refuse everybody. What a redirect to the fallback user spills can't be
gathered again; what waits is delivered once the table is mended.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.records import DeliveryState
from common.ledger.rows import AnyRow, insert_missing
from common.ledger.schema import deliveries, targets
from common.ledger.targets import NO_DOUBT

TRUSTED_MS: Final = 30 * 86_400_000
"""A recipient who accepted mail this recently and is unknown now means a broken user table, not a wrong address."""

WINDOW_MS: Final = 10 * 60_000
MOST_NEWLY_REFUSED: Final = 5
"""Different recipients whom a target may newly refuse within WINDOW_MS before its user table is doubted."""

HOLD_MS: Final = 10 * 60_000
"""How long a target is paused once its user table is doubted: time for whoever restarts its directory."""

DOUBT_MS: Final = 86_400_000
"""How long the doubt lasts. Whom the target has refused for longer is no user, whatever else is wrong with it."""


async def note_refusals(connection: AsyncConnection, rows: Sequence[AnyRow], time: int) -> None:
    """Record whom targets call no user for the first time, and doubt those that do so too often."""
    new = [row for row in rows if row.refused_at is None]
    if not new:
        return
    refused = update(deliveries).where(deliveries.c.id == bindparam("key")).values(refused_at=time)
    await connection.execute(refused, [{"key": row.id} for row in sorted(new, key=lambda row: str(row.id))])
    for target in sorted({row.target for row in new}):
        newly = select(func.count(deliveries.c.recipient.distinct())).where(
            deliveries.c.target == target, deliveries.c.refused_at > time - WINDOW_MS
        )
        count = (await connection.execute(newly)).scalar_one()
        if count > MOST_NEWLY_REFUSED:
            await _doubt(connection, target, count, time)


async def _doubt(connection: AsyncConnection, target: str, count: int, time: int) -> None:
    """Begin a doubt, and hold the target once; while the doubt lasts nothing is spilled, so nobody else has to wait."""
    await insert_missing(connection, targets, ("name",), [{"name": target}])
    fresh = or_(targets.c.doubted_until.is_(None), targets.c.doubted_until <= time)
    why = f"it newly called {count} recipients no users within 10 minutes: its user table may be broken"
    begun = {"doubted_since": time, "doubted_until": time + DOUBT_MS, "held_until": time + HOLD_MS, "doubt": why}
    await connection.execute(update(targets).where(targets.c.name == target, fresh).values(**begun))


async def doubts(connection: AsyncConnection, rows: Sequence[AnyRow], time: int) -> dict[str, str]:
    """Return, for those of these deliveries whose "no such user" isn't to be believed yet, why."""
    doubted = await _doubted_targets(connection, {row.target for row in rows}, time)
    found: dict[str, str] = {}
    for row in rows:
        if await _had_mail_lately(connection, row, time):
            found[row.id] = "doubted, for this user had mail within 30 days"
        elif row.target in doubted and (row.refused_at or time) > time - DOUBT_MS:
            found[row.id] = "doubted, as many others at this target are"
    return found


async def _doubted_targets(connection: AsyncConnection, names: set[str], time: int) -> set[str]:
    if not names:
        return set()
    query = select(targets.c.name).where(targets.c.name.in_(sorted(names)), targets.c.doubted_until > time)
    return set((await connection.execute(query)).scalars())


async def _had_mail_lately(connection: AsyncConnection, row: AnyRow, time: int) -> bool:
    query = select(deliveries.c.id).where(
        deliveries.c.recipient == row.recipient,
        deliveries.c.target == row.target,
        deliveries.c.state == DeliveryState.DELIVERED,
        deliveries.c.done_at > time - TRUSTED_MS,
    )
    return (await connection.execute(query.limit(1))).first() is not None


async def end_doubts(connection: AsyncConnection, delivered: Sequence[AnyRow]) -> None:
    """Who was no user and takes mail now shows that the table is mended: the others are believed again."""
    mended = sorted({row.target for row in delivered if row.refused_at is not None})
    if mended:
        await connection.execute(update(targets).where(targets.c.name.in_(mended)).values(**NO_DOUBT))
