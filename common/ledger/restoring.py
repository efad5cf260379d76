"""Whether this ledger is the one that was written last, or an older one that came back from a backup.

The ledger counts its own age, `installation.epoch`, and the fetchers leave each new count with the blobs, which are
kept elsewhere: a ledger that is younger than this witness was restored. Then nothing is deleted, on servers or among
blobs, until a person has read what `pps verify` found.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.rows import AnyRow, clock
from common.ledger.schema import installation, verifications
from common.ledger.writer import Operation

BLOBS_REST_MS: Final = 7 * 86_400_000
"""How long no blob is removed after a ledger was restored or made: one that no row names may be an only copy."""

MAX_WITNESS: Final = 64
"""More octets than a witness has: an id, a count of at most 18 digits, and two that part them."""

_UUID7_TIME_SHIFT: Final = 80
_WITNESS: Final = re.compile(rb"([0-9a-f-]{36}) (\d{1,18})\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What lies with the blobs, under the installation's id as its key."""

    installation: str
    epoch: int

    def to_bytes(self) -> bytes:
        """Return the blob's content."""
        return f"{self.installation} {self.epoch}\n".encode("ascii")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self | None:
        """Return what a blob says, None where it says nothing that can be read."""
        found = _WITNESS.fullmatch(data)
        return None if found is None else cls(installation=found[1].decode("ascii"), epoch=int(found[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the ledger comes from, as far as is known."""

    made_at: int  # by the clock of who made it
    epoch: int
    restored_at: int | None  # when that was noticed, or said
    restored_why: str | None
    accepted_at: int | None  # when a person had read what `pps verify` found
    at: int  # the database's time

    @property
    def withheld(self) -> bool:
        """Whether nothing may be deleted yet."""
        return self.restored_at is not None and (self.accepted_at is None or self.accepted_at < self.restored_at)

    @property
    def blobs_rest(self) -> bool:
        """Whether no blob may be removed yet."""
        return self.withheld or self.at < max(self.made_at, self.restored_at or 0) + BLOBS_REST_MS


async def origin_of(connection: AsyncConnection) -> Origin:
    """Return where the ledger comes from."""
    row = (await connection.execute(select(installation))).one()
    return _origin(row, await clock(connection))


def _origin(row: AnyRow, time: int) -> Origin:
    names = ("epoch", "restored_at", "restored_why", "accepted_at")
    made_at = uuid.UUID(row.id).int >> _UUID7_TIME_SHIFT
    return Origin(at=time, made_at=made_at, **{name: getattr(row, name) for name in names})


async def _advance(connection: AsyncConnection, seen: Sequence[Witness | None]) -> list[Witness]:
    row = (await connection.execute(select(installation).with_for_update())).one()
    reasons = [why for why in (_why_restored(row, witness) for witness in seen) if why is not None]
    if reasons:
        await _mark_restored(connection, reasons[0])
    epoch = max([row.epoch, *(witness.epoch for witness in seen if witness is not None)]) + 1
    await connection.execute(update(installation).values(epoch=epoch))
    return [Witness(installation=row.id, epoch=epoch) for _ in seen]


def _why_restored(row: AnyRow, witness: Witness | None) -> str | None:
    """Return how it is seen; None: it is as old as it should be, or the blobs are new and have nothing to tell."""
    older = witness is not None and witness.installation == row.id and witness.epoch > row.epoch
    return "the ledger comes from a backup: it is older than what was written last" if older else None


async def _mark_restored(connection: AsyncConnection, why: str) -> None:
    time = await clock(connection)
    await connection.execute(update(installation).values(restored_at=time, restored_why=why, accepted_at=None))


async def _say_restored(connection: AsyncConnection, reasons: Sequence[str]) -> list[None]:
    for why in reasons:
        await _mark_restored(connection, why)
    return [None for _ in reasons]


async def _accept(connection: AsyncConnection, asked: Sequence[None]) -> list[bool]:
    """Delete again, if all was verified since the ledger was restored."""
    time = await clock(connection)
    row = (await connection.execute(select(installation).with_for_update())).one()
    whole = verifications.c.whole & (verifications.c.began_at >= (row.restored_at or 0))
    found = (await connection.execute(select(verifications.c.id).where(whole).limit(1))).first()
    if found is not None:
        await connection.execute(update(installation).values(accepted_at=time))
    return [found is not None for _ in asked]


ADVANCE: Final[Operation[Witness | None, Witness]] = Operation(
    name="advance", rank=95, key=lambda witness: "" if witness is None else witness.installation, apply=_advance
)
"""Compares the ledger with what bears witness, and answers what is to lie with the blobs from now on."""

SAY_RESTORED: Final[Operation[str, None]] = Operation(
    name="say_restored", rank=96, key=lambda why: why, apply=_say_restored
)
ACCEPT: Final[Operation[None, bool]] = Operation(name="accept", rank=97, key=lambda _: "", apply=_accept)
"""Answers False where there is no whole verification since the ledger was restored."""
