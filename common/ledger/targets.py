"""Which targets are paused: known to all, so that fetchers fetch nothing for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select, update
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


async def _set_pauses(connection: AsyncConnection, pauses: Sequence[Pause]) -> list[None]:
    time = await clock(connection)
    for pause in pauses:
        await insert_missing(connection, targets, ("name",), [{"name": pause.target}])
        change = update(targets).where(targets.c.name == pause.target)
        if pause.reason is None:
            await connection.execute(change.values(paused_until=None, paused_since=None, reason=None))
            continue
        query = select(targets.c.paused_since).where(targets.c.name == pause.target)
        since = (await connection.execute(query)).scalar() or time
        until = time + int(pause.seconds * 1000)
        await connection.execute(change.values(paused_until=until, paused_since=since, reason=one_line(pause.reason)))
    return [None for _ in pauses]


SET_PAUSE: Final[Operation[Pause, None]] = Operation(
    name="set_pause", rank=4, key=lambda pause: pause.target, apply=_set_pauses
)
