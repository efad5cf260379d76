"""What a person decides about mail that waits: try it again, give it to somebody else, or throw it away.

Invariant I2 stays the one rule for deletion: a mail is deletable when somebody took a delivery of it, or a person threw
one away, and none is undone. A decision only ever moves what waits; what was delivered or decided before stays so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.events import Event, note
from common.ledger.records import UNDONE, DeliveryState, MailState
from common.ledger.rows import AnyRow, clock, insert_missing
from common.ledger.schema import copies, deliveries, mails, new_id, profiles
from common.ledger.stuck import SET_ASIDE
from common.ledger.writer import Operation
from common.messages import one_line
from common.profile import Profile
from common.target_url import REFUSED_SUFFIX

_TAKEN: Final = (DeliveryState.DELIVERED, DeliveryState.DISCARDED)


class Verb(StrEnum):
    """What is to happen."""

    RETRY = "retry"
    REDIRECT = "redirect"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A person's decision on one delivery, or with no delivery on a mail that was set aside as a whole."""

    verb: Verb
    mail_id: str
    delivery_id: str | None
    recipient: str | None = None  # who gets it instead
    target: str | None = None  # through which target; else the one it had
    wait: int = 0  # milliseconds until it is due: so that many don't come at once


async def _decide(connection: AsyncConnection, decisions: Sequence[Decision]) -> list[bool]:
    time = await clock(connection)
    answers = []
    for decision in decisions:
        mail = await _locked(connection, mails, decision.mail_id)
        if mail is None:
            answers.append(False)
            continue
        meant = await _as_meant(connection, decision, mail)
        if meant.delivery_id is None:
            answers.append(await _decide_mail(connection, meant, mail, time))
        else:
            row = await _locked(connection, deliveries, meant.delivery_id)
            answers.append(row is not None and await _decide_delivery(connection, meant, row, mail, time))
    decided = [decision for decision, done in zip(decisions, answers, strict=True) if done]
    await note(connection, [_event(decision, time) for decision in decided])
    return answers


def _event(decision: Decision, time: int) -> Event:
    return Event(
        subject=decision.delivery_id or decision.mail_id,
        what=decision.verb.value,
        at=time,
        target=decision.target,
        text=decision.recipient,
    )


async def _as_meant(connection: AsyncConnection, decision: Decision, mail: AnyRow) -> Decision:
    """Return the decision with its recipient as the mail's profile writes him: `ann` may have it as ann@example.com."""
    if decision.recipient is None:
        return decision
    settings = await _settings(connection, mail)
    return replace(decision, recipient=settings.recipient(decision.recipient))


async def _settings(connection: AsyncConnection, mail: AnyRow) -> Profile:
    query = select(profiles.c.settings).where(profiles.c.id == mail.profile_id)
    return Profile.from_json((await connection.execute(query)).scalar_one())


async def _locked(connection: AsyncConnection, table: Any, key: str) -> AnyRow | None:  # noqa: ANN401 (one of the tables)
    return (await connection.execute(select(table).where(table.c.id == key).with_for_update())).first()


async def _decide_delivery(
    connection: AsyncConnection, decision: Decision, row: AnyRow, mail: AnyRow, time: int
) -> bool:
    """Decide on one delivery; False: it waits no more, or somebody is at it."""
    waits = row.state == DeliveryState.QUARANTINED or (
        row.state == DeliveryState.DEFERRED and decision.verb is Verb.RETRY and (row.claimed_until or 0) <= time
    )
    if not waits:
        return False
    if decision.verb is Verb.DISCARD:
        await _end(connection, [row], DeliveryState.DISCARDED, time)
        return True
    if decision.verb is Verb.RETRY or decision.recipient == row.recipient:
        await _set_in_motion(connection, row, decision, time)
    else:
        await _end(connection, [row], DeliveryState.REDIRECTED, time)
        await give_to(connection, _passed_on(row, decision, time), even=DeliveryState.QUARANTINED)
    await _revive(connection, mail, time)
    return True


async def _decide_mail(connection: AsyncConnection, decision: Decision, mail: AnyRow, time: int) -> bool:
    """Decide on a mail that was set aside as a whole, and so on all its deliveries that are undone."""
    if mail.state not in SET_ASIDE:
        return False
    undone = await _undone(connection, mail)
    if decision.verb is Verb.RETRY:
        for row in undone:
            await _set_in_motion(connection, row, decision, time)
        await _revive(connection, mail, time)
        return True
    state = DeliveryState.DISCARDED if decision.verb is Verb.DISCARD else DeliveryState.REDIRECTED
    await _end(connection, undone, state, time)
    delivery = await _delivery_of(connection, mail, decision, time)
    if decision.verb is Verb.REDIRECT:
        await give_to(connection, delivery, even=DeliveryState.QUARANTINED)
    elif not await _is_taken(connection, delivery["copy_id"]):
        await _throw_away(connection, delivery, time)
    routed = update(mails).where(mails.c.id == mail.id)
    values = {"copy_id": delivery["copy_id"], "reason": None, "fetches": 0, "progress_at": time}
    if decision.verb is Verb.REDIRECT and mail.fetched_at is None:  # its bytes must come first
        await connection.execute(routed.values(state=MailState.LISTED, **values))
    else:
        await connection.execute(routed.values(state=MailState.ROUTED, routed_at=mail.routed_at or time, **values))
    return True


async def _undone(connection: AsyncConnection, mail: AnyRow) -> list[AnyRow]:
    query = select(deliveries).where(deliveries.c.mail_id == mail.id, deliveries.c.state.in_(UNDONE))
    return list((await connection.execute(query.order_by(deliveries.c.id).with_for_update())).all())


async def _end(connection: AsyncConnection, rows: Sequence[AnyRow], state: DeliveryState, time: int) -> None:
    """End deliveries. A claim stays until it runs out: who is at one may yet deliver it."""
    for row in rows:
        ended = update(deliveries).where(deliveries.c.id == row.id)
        await connection.execute(ended.values(state=state, done_at=time, next_attempt_at=None))


async def _set_in_motion(connection: AsyncConnection, row: AnyRow, decision: Decision, time: int) -> None:
    """Make a delivery due. What was in quarantine has its five days, and its three doubts, anew."""
    values: dict[str, Any] = {"state": DeliveryState.DEFERRED, "next_attempt_at": time + decision.wait}
    if row.state == DeliveryState.QUARANTINED:
        values |= {"created_at": time, "ambiguous": 0, "claimed_until": None, "done_at": None}
    change = update(deliveries).where(deliveries.c.id == row.id)
    await connection.execute(change.values(target=decision.target or row.target, swept_claims=-1, **values))


async def give_to(connection: AsyncConnection, delivery: dict[str, Any], *, even: DeliveryState | None = None) -> None:
    """Make a delivery of a copy to a recipient, or put in motion the one that was passed on or thrown away before.

    Who has it already, or will, has it. One that was ended must not stand for this one: else nobody would have the
    mail, and nothing would say so. `even`: a further state that doesn't either, on a person's word. A claim that is
    live outlasts this, so that nobody begins what another is still at.
    """
    await insert_missing(connection, deliveries, ("copy_id", "recipient"), [delivery])
    ended = {DeliveryState.REDIRECTED, DeliveryState.DISCARDED} | ({even} if even else set())
    same = (deliveries.c.copy_id == delivery["copy_id"]) & (deliveries.c.recipient == delivery["recipient"])
    again = {name: delivery[name] for name in ("mail_id", "reason", "target", "next_attempt_at", "created_at")}
    anew = {"state": DeliveryState.DEFERRED, "ambiguous": 0, "done_at": None, "swept_claims": -1}
    change = update(deliveries).where(same, deliveries.c.state.in_(sorted(ended)), deliveries.c.id != delivery["id"])
    await connection.execute(change.values(**again, **anew))


def _passed_on(row: AnyRow, decision: Decision, time: int) -> dict[str, Any]:
    names = ("copy_id", "mail_id", "profile_id", "sender", "source_host", "fallback")
    kept = {name: getattr(row, name) for name in names} | {
        "reason": f"a person gave it to him instead of {row.recipient}: {row.last_reply or ''}",
        "target": decision.target or row.target.removesuffix(REFUSED_SUFFIX),
    }
    return new_delivery(kept, decision.recipient or row.fallback, due_at=time + decision.wait, time=time)


def new_delivery(kept: dict[str, Any], recipient: str, *, due_at: int, time: int) -> dict[str, Any]:
    """Return the row of a delivery without a job; `kept` holds what tells of the mail, its target and the reason."""
    return {
        "fallback": recipient,
        **kept,
        "id": new_id(),
        "recipient": recipient,
        "reason": one_line(kept["reason"]),
        "state": DeliveryState.PENDING.value,
        "attempts": 0,
        "ambiguous": 0,
        "claims": 0,
        "swept_claims": -1,
        "next_attempt_at": due_at,
        "created_at": time,
    }


async def _delivery_of(connection: AsyncConnection, mail: AnyRow, decision: Decision, time: int) -> dict[str, Any]:
    """Return a delivery of a whole mail to the one who gets it now, else to the fallback user; make its copy."""
    settings = await _settings(connection, mail)
    copy_id = mail.copy_id
    if copy_id is None:
        copy_id = new_id()
        made = {"id": copy_id, "mailbox": mail.mailbox, "fingerprint": mail.id, "first_seen": time}
        await insert_missing(connection, copies, ("mailbox", "fingerprint"), [made])
        query = select(copies.c.id).where(copies.c.mailbox == mail.mailbox, copies.c.fingerprint == mail.id)
        copy_id = (await connection.execute(query)).scalar_one()
    fallback = settings.policy.fallback
    kept = {
        "copy_id": copy_id,
        "mail_id": mail.id,
        "profile_id": mail.profile_id,
        "sender": "",
        "source_host": settings.server.host,
        "fallback": fallback,
        "reason": f"a person decided: {mail.reason or ''}",
        "target": decision.target or settings.target,
    }
    return new_delivery(kept, decision.recipient or fallback, due_at=time + decision.wait, time=time)


async def _is_taken(connection: AsyncConnection, copy_id: str) -> bool:
    query = select(deliveries.c.id).where(deliveries.c.copy_id == copy_id, deliveries.c.state.in_(_TAKEN))
    return (await connection.execute(query.limit(1))).first() is not None


async def _throw_away(connection: AsyncConnection, delivery: dict[str, Any], time: int) -> None:
    """Record that nobody gets a mail of which no delivery tells: deletion needs one that does."""
    ended = {"state": DeliveryState.DISCARDED.value, "done_at": time, "next_attempt_at": None}
    await insert_missing(connection, deliveries, ("copy_id", "recipient"), [delivery | ended])
    same = (deliveries.c.copy_id == delivery["copy_id"]) & (deliveries.c.recipient == delivery["recipient"])
    passed_on = deliveries.c.state == DeliveryState.REDIRECTED
    await connection.execute(update(deliveries).where(same, passed_on).values(**ended))


async def _revive(connection: AsyncConnection, mail: AnyRow, time: int) -> None:
    """Bring back to motion a mail that was set aside as a whole; it may be sent back to be fetched five times more.

    With a copy its deliveries ask for its bytes, from the blob or by another fetch. Without one it is fetched again, or
    if the server no longer lists it, looked for among the blobs: found nowhere, it is lost again, and said so. What
    was never fetched and is no longer listed was removed by somebody else.
    """
    if mail.state not in SET_ASIDE:
        return
    gone = mail.unseen_since is not None and mail.fetched_at is not None
    state = MailState.ROUTED if mail.copy_id else MailState.FETCHED if gone else MailState.LISTED
    progress = 0 if state is MailState.FETCHED else time
    change = update(mails).where(mails.c.id == mail.id)
    await connection.execute(change.values(state=state, reason=None, fetches=0, breaks=0, progress_at=progress))


DECIDE: Final[Operation[Decision, bool]] = Operation(
    name="decide", rank=51, key=lambda decision: f"{decision.mail_id} {decision.delivery_id}", apply=_decide
)
"""Answers whether what was decided on still waited."""
