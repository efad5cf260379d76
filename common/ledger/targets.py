"""Which targets are paused or held: known to all, so that fetchers fetch nothing for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, case, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.rows import clock, insert_missing
from common.ledger.schema import targets
from common.ledger.writer import Operation
from common.messages import one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A target that takes nothing for some time; without a reason, one that is back."""

    target: str
    reason: str | None
    seconds: float
    relapse: bool = False  # nothing went well since the last pause: it is the same trouble, since then


async def _set_pauses(connection: AsyncConnection, pauses: Sequence[Pause]) -> list[None]:
    time = await clock(connection)
    for pause in pauses:
        await insert_missing(connection, targets, ("name",), [{"name": pause.target}])
        change = update(targets).where(targets.c.name == pause.target)
        if pause.reason is None:
            await connection.execute(change.values(paused_until=None, reason=None))
            continue
        query = select(targets.c.paused_since, targets.c.paused_until).where(targets.c.name == pause.target)
        row = (await connection.execute(query)).one()
        goes_on = pause.relapse or (row.paused_until is not None and row.paused_until > time)
        since = row.paused_since if goes_on and row.paused_since is not None else time
        until = time + int(pause.seconds * 1000)
        await connection.execute(change.values(paused_until=until, paused_since=since, reason=one_line(pause.reason)))
    return [None for _ in pauses]


def takes_nothing(time: int) -> ColumnElement[bool]:
    """Whether a target is paused by its deliverers, or held because its user table is doubted."""
    return or_(targets.c.paused_until > time, targets.c.held_until > time)


def why_nothing(time: int) -> ColumnElement[str]:
    """Return the reason of `takes_nothing`."""
    return case((targets.c.held_until > time, targets.c.doubt), else_=targets.c.reason)


def since_nothing(time: int) -> ColumnElement[int]:
    """Return since when `takes_nothing` holds."""
    return case((targets.c.paused_until > time, targets.c.paused_since), else_=targets.c.doubted_since)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A target that is held, whatever probes say."""

    reason: str
    seconds: float  # from now


async def hold_of(connection: AsyncConnection, target: str) -> Hold | None:
    """Return why and for how long a target is held, or None."""
    time = await clock(connection)
    query = select(targets.c.doubt, targets.c.held_until).where(targets.c.name == target, targets.c.held_until > time)
    row = (await connection.execute(query)).first()
    return None if row is None else Hold(reason=row.doubt or "", seconds=(row.held_until - time) / 1000)


async def held_among(connection: AsyncConnection, names: set[str], time: int) -> set[str]:
    """Return which of these targets are held."""
    query = select(targets.c.name).where(targets.c.name.in_(sorted(names)), targets.c.held_until > time)
    return set((await connection.execute(query)).scalars()) if names else set()


NO_DOUBT: Final = {"held_until": None, "doubted_since": None, "doubted_until": None, "doubt": None}
"""Of a target whose "no such user" is believed."""


async def _end_holds(connection: AsyncConnection, names: Sequence[str]) -> list[None]:
    for name in names:
        await connection.execute(update(targets).where(targets.c.name == name).values(**NO_DOUBT))
    return [None for _ in names]


END_HOLD: Final[Operation[str, None]] = Operation(name="end_hold", rank=6, key=str, apply=_end_holds)
SET_PAUSE: Final[Operation[Pause, None]] = Operation(
    name="set_pause", rank=4, key=lambda pause: pause.target, apply=_set_pauses
)
