"""What an outcome does to a delivery. Delivered always wins; anything else applies only to the current attempt."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.failures import names_no_user
from common.ledger.deciding import give_to, new_delivery
from common.ledger.events import Event, note
from common.ledger.records import DeliveryState, Settled
from common.ledger.returning import Fates, send_back
from common.ledger.rows import AnyRow, clock, deletable_of, locked
from common.ledger.schema import deliveries, mails
from common.ledger.user_tables import doubts, end_doubts, note_refusals
from common.ledger.writer import Operation
from common.messages import DeliveryOutcome, Result, one_line

MIN_RETRY_MS: Final = 5 * 60_000
MAX_RETRY_MS: Final = 67 * 60_000
RETRY_SPREAD: Final = 0.2
GIVE_UP_MS: Final = 5 * 86_400_000
"""How long a delivery is tried before a person must look (RFC 5321, section 4.5.4.1: 4-5 days)."""

MAX_AMBIGUOUS: Final = 3
"""Attempts without an answer after the final dot: each may have delivered, so a fourth is not made by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of a delivery."""

    state: DeliveryState
    reply: str
    wait: int | None = None  # milliseconds to the next attempt
    ambiguous: int = 0  # to add
    redirect: bool = False
    move_to: str | None = None  # the target that takes what this one refused


def retry_wait(age: int, spread: float) -> int:
    """Return milliseconds to the next attempt: as long as it has been tried, between bounds; spread is -1 to 1."""
    return int(min(max(age, MIN_RETRY_MS), MAX_RETRY_MS) * (1 + RETRY_SPREAD * spread))


def change_of(row: AnyRow, outcome: DeliveryOutcome, *, time: int, doubt: str | None, spread: float) -> Change | None:
    """Decide what an outcome changes, None for nothing; `doubt`: why "no such user" isn't believed, if so."""
    if outcome.result is Result.DELIVERED:
        done = row.state == DeliveryState.DELIVERED
        return None if done else Change(state=DeliveryState.DELIVERED, reply=outcome.reply)
    if not _is_current(row, outcome):
        return None
    if outcome.result is Result.NO_CONTENT:
        return Change(state=DeliveryState(row.state), reply="its bytes must be fetched again")
    if outcome.result is Result.REFUSED and doubt is None:
        return _refused(row, outcome)
    change = _tried_again(row, outcome, time=time, spread=spread)
    return change if doubt is None else replace(change, reply=f"{change.reply} ({doubt})")


def _is_current(row: AnyRow, outcome: DeliveryOutcome) -> bool:
    return row.state in {DeliveryState.PENDING, DeliveryState.DEFERRED} and row.attempts + 1 == outcome.attempt


def _refused(row: AnyRow, outcome: DeliveryOutcome) -> Change:
    """Who is no user has a fallback; what is refused otherwise goes where its target says, or waits for a person."""
    if _is_unknown_user(outcome) and row.recipient != row.fallback:
        return Change(state=DeliveryState.REDIRECTED, reply=outcome.reply, redirect=True)
    if outcome.refused_to and outcome.refused_to != row.target:
        return Change(state=DeliveryState.PENDING, reply=outcome.reply, wait=0, move_to=outcome.refused_to)
    return Change(state=DeliveryState.QUARANTINED, reply=outcome.reply)


def _tried_again(row: AnyRow, outcome: DeliveryOutcome, *, time: int, spread: float) -> Change:
    ambiguous = int(outcome.result is Result.AMBIGUOUS)
    if row.ambiguous + ambiguous >= MAX_AMBIGUOUS and ambiguous:
        reply = one_line(f"may have been delivered: {MAX_AMBIGUOUS} times no answer: {outcome.reply}")
        return Change(state=DeliveryState.QUARANTINED, reply=reply, ambiguous=1)
    age = time - row.created_at
    if age >= GIVE_UP_MS:
        return Change(state=DeliveryState.QUARANTINED, reply=one_line(f"tried for 5 days: {outcome.reply}"))
    wait = retry_wait(age, spread)
    return Change(state=DeliveryState.DEFERRED, reply=outcome.reply, wait=wait, ambiguous=ambiguous)


def _is_unknown_user(outcome: DeliveryOutcome) -> bool:
    return names_no_user(outcome.code, outcome.enhanced, outcome.stage)


async def _record_outcomes(connection: AsyncConnection, outcomes: Sequence[DeliveryOutcome]) -> list[Settled]:
    time = await clock(connection)
    ids = {outcome.delivery_id for outcome in outcomes}
    rows = {row.id: row for row in await locked(connection, select(deliveries), deliveries.c.id, ids)}
    unknown = [rows[outcome.delivery_id] for outcome in outcomes if _calls_no_user(rows, outcome)]
    await note_refusals(connection, unknown, time)
    changes = _changes(outcomes, rows, await doubts(connection, unknown, time), time)
    values = [_values(rows[key], outcome, change, time) for key, (outcome, change) in sorted(changes.items())]
    await _update(connection, [one for one in values if one is not None])
    await note(
        connection,
        [
            _attempt(rows[key], outcome, time)
            for key, (outcome, _) in changes.items()
            if not _is_plain(rows[key], outcome)
        ],
    )
    await end_doubts(
        connection, [rows[key] for key, (_, change) in changes.items() if change.state is DeliveryState.DELIVERED]
    )
    fates: Fates = {}
    for key, (outcome, change) in sorted(changes.items()):
        if outcome.result is Result.NO_CONTENT:
            fates |= await send_back(connection, [rows[key]], counted=True)
        elif change.redirect:
            await _redirect(connection, rows[key], outcome, time)
    deletable: dict[str, list[str]] = {}
    for mail in await deletable_of(connection, mails.c.copy_id, {rows[key].copy_id for key in changes}):
        deletable.setdefault(mail.copy_id, []).append(mail.id)
    settled = [_settled(outcome, rows, changes, deletable) for outcome in outcomes]
    return [replace(one, fates=tuple(fates.items()) if one is settled[0] else ()) for one in settled]


def _calls_no_user(rows: dict[str, AnyRow], outcome: DeliveryOutcome) -> bool:
    row = rows.get(outcome.delivery_id)
    refused = row is not None and outcome.result is Result.REFUSED and _is_current(row, outcome)
    return refused and _is_unknown_user(outcome)


def _changes(
    outcomes: Sequence[DeliveryOutcome], rows: dict[str, AnyRow], doubtful: dict[str, str], time: int
) -> dict[str, tuple[DeliveryOutcome, Change]]:
    """Return one change a delivery, with the outcome that makes it; of contradicting ones, delivered wins."""
    changes: dict[str, tuple[DeliveryOutcome, Change]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.result is not Result.DELIVERED):
        row = rows.get(outcome.delivery_id)
        if row is None or row.id in changes:
            continue
        spread = random.uniform(-1, 1)  # noqa: S311 (spreads load, guards nothing)
        change = change_of(row, outcome, time=time, doubt=doubtful.get(row.id), spread=spread)
        if change is not None:
            changes[row.id] = (outcome, change)
    return changes


def _values(row: AnyRow, outcome: DeliveryOutcome, change: Change, time: int) -> dict[str, Any] | None:
    """Return the columns that a change sets, None where the mail is sent back instead."""
    if outcome.result is Result.NO_CONTENT:
        return None
    ended = change.state not in {DeliveryState.PENDING, DeliveryState.DEFERRED}
    return {
        "key": row.id,
        "state": change.state.value,
        "attempts": max(row.attempts, outcome.attempt),
        "ambiguous": row.ambiguous + change.ambiguous,
        "next_attempt_at": None if change.wait is None else time + change.wait,
        "last_reply": one_line(change.reply),
        "done_at": time if ended else None,
        "target": change.move_to or row.target,
        "reason": row.reason
        if change.move_to is None
        else one_line(f"{row.reason}; refused by {row.target}: {outcome.reply}"),
    }


def _is_plain(row: AnyRow, outcome: DeliveryOutcome) -> bool:
    """Whether the delivery's row alone will tell all that there is to tell: the first attempt delivered it."""
    return outcome.result is Result.DELIVERED and outcome.attempt == 1 and row.attempts == 0


def _attempt(row: AnyRow, outcome: DeliveryOutcome, time: int) -> Event:
    return Event(
        subject=row.id,
        what=outcome.result.value,
        at=time,
        attempt=outcome.attempt,
        target=row.target,
        text=outcome.reply,
    )


async def _update(connection: AsyncConnection, values: list[dict[str, Any]]) -> None:
    if not values:
        return
    columns: dict[str, Any] = {name: bindparam(name) for name in values[0] if name != "key"}
    # The claim is over, and the next attempt has no job yet.
    change = update(deliveries).where(deliveries.c.id == bindparam("key"))
    await connection.execute(change.values(claimed_until=None, swept_claims=-1, **columns), values)


async def _redirect(connection: AsyncConnection, row: AnyRow, outcome: DeliveryOutcome, time: int) -> None:
    """Give the mail to the fallback user, due at once."""
    names = ("copy_id", "mail_id", "profile_id", "sender", "source_host", "target", "fallback")
    kept = {name: getattr(row, name) for name in names}
    kept["reason"] = f"{row.recipient} is no user: {outcome.reply}"
    await give_to(connection, new_delivery(kept, row.fallback, due_at=time, time=time))


def _settled(
    outcome: DeliveryOutcome,
    rows: dict[str, AnyRow],
    changes: dict[str, tuple[DeliveryOutcome, Change]],
    deletable: Mapping[str, Sequence[str]],
) -> Settled:
    row = rows.get(outcome.delivery_id)
    if row is None:
        return Settled(outcome=outcome, applied=False, state=None, deletable=())
    applied, change = changes.get(row.id, (None, None))
    ready = tuple(deletable.get(row.copy_id, ()))
    wait = change.wait // 1000 if applied is outcome and change is not None and change.wait is not None else None
    state = change.state if change is not None else DeliveryState(row.state)
    return Settled(outcome=outcome, applied=applied is outcome, state=state, deletable=ready, next_attempt_in=wait)


RECORD_OUTCOME: Final[Operation[DeliveryOutcome, Settled]] = Operation(
    name="record_outcome", rank=50, key=lambda outcome: outcome.delivery_id, apply=_record_outcomes
)
