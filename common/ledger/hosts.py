"""What is remembered of a host: what it did not bear, and whether its sign-ins are paused.

Five refusals in a row, of five profiles of one host, mean the host and not the passwords: its sign-ins pause for the
ladder's time and none of them counts. Then one profile at a time is tried, until one gets in.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.records import HostMemory
from common.ledger.rows import clock, insert_missing
from common.ledger.schema import hosts, profiles, schedule
from common.ledger.writer import Operation

REFUSALS: Final = 5
"""Profiles refused in a row on one host, with nobody let in meanwhile, that mean the host."""

REFUSALS_MS: Final = 15 * 60_000
"""How close together these are."""

PAUSES_MS: Final = (15 * 60_000, 3_600_000, 6 * 3_600_000)
"""How long a host's sign-ins pause; the last again and again, for the host comes back by itself."""

REMEMBER_MS: Final = 86_400_000
"""How long it is remembered what a host did not bear: servers are mended, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRow:
    """What is remembered of one host."""

    window: int | None
    window_until: int | None
    no_capa_until: int | None
    paused_until: int | None
    paused_since: int | None
    pauses: int
    reason: str | None

    def memory(self, time: int) -> HostMemory:
        """Return what a session should mind now."""
        return HostMemory(
            window=self.window if (self.window_until or 0) > time else None,
            hangs_up_on_capa=(self.no_capa_until or 0) > time,
        )


async def host_rows(connection: AsyncConnection) -> dict[str, HostRow]:
    """Return what is remembered of hosts, by name: few have a row."""
    rows = (await connection.execute(select(hosts))).mappings().all()
    return {row["name"]: HostRow(**{key: value for key, value in row.items() if key != "name"}) for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNote:
    """Something that a host did not bear."""

    host: str
    window: int | None = None  # commands that it is sent ahead from now on
    hangs_up_on_capa: bool = False


async def _remember(connection: AsyncConnection, notes: Sequence[HostNote]) -> list[None]:
    until = await clock(connection) + REMEMBER_MS
    for note in notes:
        values = ({} if note.window is None else {"window": note.window, "window_until": until}) | (
            {"no_capa_until": until} if note.hangs_up_on_capa else {}
        )
        await _change(connection, note.host, values)
    return [None for _ in notes]


async def _change(connection: AsyncConnection, host: str, values: Mapping[str, Any]) -> None:
    await insert_missing(connection, hosts, ("name",), [{"name": host, "pauses": 0}])
    await connection.execute(update(hosts).where(hosts.c.name == host).values(**values))


async def let_in(connection: AsyncConnection, names: set[str]) -> None:
    """Note that these hosts let somebody in: their pause is over."""
    paused = [name for name, row in (await host_rows(connection)).items() if row.paused_since is not None]
    for name in sorted(names.intersection(paused)):
        values = {"paused_until": None, "paused_since": None, "pauses": 0, "reason": None}
        await connection.execute(update(hosts).where(hosts.c.name == name).values(**values))


async def weigh_refusals(connection: AsyncConnection, refused: Mapping[str, Collection[str]], time: int) -> None:
    """Pause hosts that refused five profiles in a row; what a host refuses then doesn't count against its profiles.

    `refused` are the profiles that were refused now, by host.
    """
    remembered = await host_rows(connection)
    for name, profile_ids in sorted(refused.items()):
        row = remembered.get(name)
        is_open = row is not None and row.paused_until is not None and row.paused_until > time
        if not is_open and await _refused_in_a_row(connection, name, time):
            until = await _pause(connection, name, row, time)
            await _forgive(connection, _refused_of_late(name, time), until)
        elif row is not None and row.paused_since is not None:
            until = max(row.paused_until or time, time + PAUSES_MS[0])
            await _forgive(connection, schedule.c.profile_id.in_(profile_ids), until)


def _refused_of_late(name: str, time: int) -> ColumnElement[bool]:
    return and_(
        schedule.c.host == name,
        schedule.c.last_result == literal_column("'auth'"),  # as in the index
        schedule.c.last_finished_at > time - REFUSALS_MS,
    )


async def _refused_in_a_row(connection: AsyncConnection, name: str, time: int) -> bool:
    """Whether the last five answers of the host to sign-ins were refusals of five profiles."""
    last = select(schedule.c.last_finished_at).where(_refused_of_late(name, time))
    query = last.order_by(schedule.c.last_finished_at.desc()).limit(REFUSALS)
    times: list[int] = list((await connection.execute(query)).scalars())
    if len(times) < REFUSALS:
        return False
    let_in = select(schedule.c.profile_id).where(schedule.c.host == name, schedule.c.last_success_at >= times[-1])
    return (await connection.execute(let_in.limit(1))).first() is None


async def _pause(connection: AsyncConnection, name: str, row: HostRow | None, time: int) -> int:
    pauses = 0 if row is None else row.pauses
    until = time + PAUSES_MS[min(pauses, len(PAUSES_MS) - 1)]
    values = {
        "paused_until": until,
        "paused_since": time if row is None or row.paused_since is None else row.paused_since,
        "pauses": pauses + 1,
        "reason": f"{name} refused {REFUSALS} accounts in a row: the host, it seems, not the passwords",
    }
    await _change(connection, name, values)
    return until


async def _forgive(connection: AsyncConnection, which: ColumnElement[bool], due_at: int) -> None:
    """Take back what refusals did to these profiles: none counts, and who stopped goes on."""
    enabled = exists().where(profiles.c.id == schedule.c.profile_id, profiles.c.enabled)
    await connection.execute(update(schedule).where(which, enabled).values(auth_failures=0, due_at=due_at))


REMEMBER_HOST: Final[Operation[HostNote, None]] = Operation(
    name="remember_host", rank=92, key=lambda note: note.host, apply=_remember
)
