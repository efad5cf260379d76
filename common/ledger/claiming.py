"""Claims: who may make the current attempt at a delivery, and for how long. `claims` is the newest claim's token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.records import Claim, Claimed, ClaimRequest, DeliveryState
from common.ledger.rows import AnyRow, clock, locked
from common.ledger.schema import deliveries
from common.ledger.targets import held_among
from common.ledger.writer import Operation

CLAIM_MS: Final = 2 * 60_000
"""How long a claim lasts unless renewed: longer than any pause of a live worker, short enough to wait for."""

PATIENCE_MS: Final = 15 * 60_000
"""How long a queue may hold a message before the sweeper asks whether it is still there."""

_OPEN: Final = {DeliveryState.PENDING, DeliveryState.DEFERRED}
_COLUMNS: Final = (
    deliveries.c.id,
    deliveries.c.target,
    deliveries.c.state,
    deliveries.c.attempts,
    deliveries.c.claims,
    deliveries.c.claimed_until,
)


async def _rows(connection: AsyncConnection, ids: Any) -> dict[str, AnyRow]:  # noqa: ANN401 (any iterable of ids)
    return {row.id: row for row in await locked(connection, select(*_COLUMNS), deliveries.c.id, ids)}


async def _claim(connection: AsyncConnection, requests: Sequence[ClaimRequest]) -> list[Claimed]:
    time = await clock(connection)
    rows = await _rows(connection, (request.delivery_id for request in requests))
    held = await held_among(connection, {row.target for row in rows.values()}, time)
    answers: list[Claimed] = []
    taken: set[str] = set()
    for request in requests:
        row = None if request.delivery_id in taken else rows.get(request.delivery_id)
        claim = claim_of(request, row, time)
        if claim is not Claim.DENIED and row is not None and row.target in held:
            claim = Claim.HELD
        if claim in {Claim.FIRST, Claim.AGAIN}:
            taken.add(request.delivery_id)
        answers.append(Claimed(claim=claim, token=row.claims + 1 if row is not None else 0))
    if taken:
        change = update(deliveries).where(deliveries.c.id == bindparam("key"))
        values = [{"key": delivery_id} for delivery_id in sorted(taken)]
        until = {"claimed_until": time + CLAIM_MS, "next_attempt_at": time + CLAIM_MS}  # if it runs out, it is due
        await connection.execute(change.values(claims=deliveries.c.claims + 1, **until), values)
    return answers


def claim_of(request: ClaimRequest, row: AnyRow | None, time: int) -> Claim:
    """Decide on one request: pure, so that every case stands in one table of tests."""
    if row is None or row.state not in _OPEN or row.attempts + 1 != request.attempt:
        return Claim.DENIED
    if row.claimed_until is None:
        return Claim.AGAIN if row.claims else Claim.FIRST
    if row.claimed_until > time:
        return Claim.DENIED
    return Claim.AGAIN if request.repeatable else Claim.EXPIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldClaim:
    """A claim that its holder renews or gives back; stale once another took the delivery."""

    delivery_id: str
    attempt: int
    token: int


def _is_held(held: HeldClaim, row: AnyRow | None, time: int) -> bool:
    return (
        row is not None
        and row.state in _OPEN
        and row.attempts + 1 == held.attempt
        and row.claims == held.token
        and row.claimed_until is not None
        and row.claimed_until > time
    )


async def _set_claimed_until(
    connection: AsyncConnection, helds: Sequence[HeldClaim], milliseconds: int | None
) -> list[bool]:
    time = await clock(connection)
    rows = await _rows(connection, (held.delivery_id for held in helds))
    live = [_is_held(held, rows.get(held.delivery_id), time) for held in helds]
    values = [{"key": held.delivery_id} for held, ok in zip(helds, live, strict=True) if ok]
    if values:
        # What is given back is in a queue again, like a job that was just published.
        until = None if milliseconds is None else time + milliseconds
        times = {"claimed_until": until, "next_attempt_at": until or time + PATIENCE_MS}
        change = update(deliveries).where(deliveries.c.id == bindparam("key")).values(**times)
        await connection.execute(change, values)
    return live


async def _renew(connection: AsyncConnection, helds: Sequence[HeldClaim]) -> list[bool]:
    return await _set_claimed_until(connection, helds, CLAIM_MS)


async def _release(connection: AsyncConnection, helds: Sequence[HeldClaim]) -> list[bool]:
    return await _set_claimed_until(connection, helds, None)


CLAIM: Final[Operation[ClaimRequest, Claimed]] = Operation(
    name="claim", rank=40, key=lambda request: request.delivery_id, apply=_claim
)
RENEW: Final[Operation[HeldClaim, bool]] = Operation(
    name="renew", rank=41, key=lambda held: held.delivery_id, apply=_renew
)
RELEASE: Final[Operation[HeldClaim, bool]] = Operation(
    name="release", rank=42, key=lambda held: held.delivery_id, apply=_release
)
