"""A router's decision becomes a copy and its deliveries, in one commit. Idempotent: a repeat finds the same rows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import bindparam, exists, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.claiming import PATIENCE_MS
from common.ledger.events import Event, What, note
from common.ledger.records import DeliveryState, MailState, PlannedDelivery, Route, RoutedMail
from common.ledger.rows import AnyRow, chunks, clock, insert_missing, inserted_ids, locked
from common.ledger.schema import IS_DELETED, copies, deliveries, mails, new_id
from common.ledger.writer import Operation
from common.target_url import refused_target

COPY_WINDOW_MS: Final = 3 * 86_400_000
"""How long mails with one fingerprint are one copy: providers store a recipient's copies together, not days apart."""


async def _record_routed(connection: AsyncConnection, routed: Sequence[RoutedMail]) -> list[Route]:
    time = await clock(connection)
    query = select(mails.c.id, mails.c.state, mails.c.fetches, mails.c.copy_id, mails.c.listed_at, mails.c.octets)
    query = query.add_columns(mails.c.mailbox, mails.c.digest, mails.c.routed_at)
    rows = {row.id: row for row in await locked(connection, query, mails.c.id, (mail.mail_id for mail in routed))}
    live = [_decided(mail, rows[mail.mail_id]) for mail in routed if _is_live(mail, rows.get(mail.mail_id))]
    deliverable = [_where_it_is(mail, rows[mail.mail_id]) for mail in live if mail.quarantine is None]
    await _set_aside(connection, [(mail.mail_id, mail.quarantine) for mail in live if mail.quarantine is not None])
    copy_ids, joined, fresh = await _copies_of(connection, deliverable, rows, time)
    added = await _add_deliveries(connection, deliverable, copy_ids, time)
    await _mark_routed(connection, deliverable, copy_ids, time)
    before = {mail.mail_id: rows[mail.mail_id].routed_at for mail in deliverable}
    await note(
        connection, [Event(subject=key, what=What.ROUTED, at=at) for key, at in before.items() if at is not None]
    )
    created = {row["id"] for row in added}
    of_others = [mail for mail in deliverable if copy_ids[mail.mail_id] not in fresh]
    wanted = await _wanting_attempt(connection, of_others, copy_ids, created, time)
    await _make_patient(connection, wanted, created, time)
    for row in added:
        if row["copy_id"] in fresh:  # all that the copy has, and just as it was inserted
            wanted.setdefault(row["mail_id"], []).append(_first_attempt(row, rows[row["mail_id"]]))
    stale = {mail.mail_id for mail in routed} - {mail.mail_id for mail in live}
    return [
        Route(
            stale=mail.mail_id in stale,
            joined=mail.mail_id in joined,
            deliveries=tuple(wanted.pop(mail.mail_id, ())),  # a mail routed twice in one batch publishes once
        )
        for mail in routed
    ]


def _is_live(mail: RoutedMail, row: AnyRow | None) -> bool:
    """Whether the decision is about the mail as it stands: not sent back to be fetched since, not settled."""
    return row is not None and row.fetches == mail.fetches and row.state in {MailState.FETCHED, MailState.ROUTED}


def _where_it_is(mail: RoutedMail, row: AnyRow) -> RoutedMail:
    """Return the decision for the mailbox that the mail belongs to: it may have got another name on the way."""
    return mail if row.mailbox == mail.mailbox else replace(mail, mailbox=row.mailbox)


def _decided(mail: RoutedMail, row: AnyRow) -> RoutedMail:
    """Return the mail without a router's objection where its deliveries stand already: a person gave it to somebody."""
    if mail.quarantine is None or row.copy_id is None:
        return mail
    return replace(mail, quarantine=None, recipients=())


async def _copies_of(
    connection: AsyncConnection, routed: Sequence[RoutedMail], rows: dict[str, AnyRow], time: int
) -> tuple[dict[str, str], set[str], set[str]]:
    """Return each mail's copy, the mails that joined one that was there, and the copies that are new.

    A mail keeps the copy it has.
    """
    found = {mail.mail_id: rows[mail.mail_id].copy_id for mail in routed if rows[mail.mail_id].copy_id is not None}
    new = [mail for mail in routed if mail.mail_id not in found]
    put_back = await _put_back(connection, [mail for mail in new if mail.fingerprint is not None], rows)
    keys = {mail.mail_id: (mail.mailbox, _fingerprint(mail, put_back)) for mail in new}
    made = {key: new_id() for key in sorted(set(keys.values()))}
    standing = await _made(connection, made, time)
    fresh = set(standing.values())
    if others := made.keys() - standing.keys():
        await _retire(connection, others, time)
        fresh |= set((await _made(connection, {key: made[key] for key in sorted(others)}, time)).values())
        standing |= {(row.mailbox, row.fingerprint): row.id for row in await _standing(connection, others)}
    joined: set[str] = set()
    for mail in new:
        key = keys[mail.mail_id]
        found[mail.mail_id] = standing[key]
        if made.pop(key, None) != standing[key]:  # only the first mail of a copy finds what it made
            joined.add(mail.mail_id)
    return found, joined, fresh


async def _made(
    connection: AsyncConnection, wanted: dict[tuple[str, str], str], time: int
) -> dict[tuple[str, str], str]:
    """Insert copies; return those that were not there yet."""
    values = [
        {"id": copy_id, "mailbox": mailbox, "fingerprint": fingerprint, "first_seen": time}
        for (mailbox, fingerprint), copy_id in wanted.items()
    ]
    inserted = await inserted_ids(connection, copies, ("mailbox", "fingerprint"), values)
    return {key: copy_id for key, copy_id in wanted.items() if copy_id in inserted}


def _fingerprint(mail: RoutedMail, put_back: set[str]) -> str:
    if mail.fingerprint is None or mail.mail_id in put_back:
        return mail.mail_id
    return mail.fingerprint


async def _standing(connection: AsyncConnection, keys: Any) -> list[AnyRow]:  # noqa: ANN401 (any collection of keys)
    found: list[AnyRow] = []
    for part in chunks(keys):
        query = select(copies).where(tuple_(copies.c.mailbox, copies.c.fingerprint).in_(part))
        found.extend((await connection.execute(query)).all())
    return found


async def _put_back(connection: AsyncConnection, mails_in: Sequence[RoutedMail], rows: dict[str, AnyRow]) -> set[str]:
    """Return mails whose bytes were deleted under another UIDL before they were listed: somebody put them back."""
    deleted: dict[tuple[str, bytes], int] = {}
    for part in chunks(mail.digest for mail in mails_in):
        query = select(mails.c.mailbox, mails.c.digest, mails.c.deleted_at).where(
            mails.c.mailbox.in_({mail.mailbox for mail in mails_in}),
            mails.c.digest.in_(part),
            IS_DELETED,
        )
        for row in (await connection.execute(query)).all():
            key = (row.mailbox, row.digest)
            deleted[key] = min(row.deleted_at, deleted.get(key, row.deleted_at))
    return {
        mail.mail_id
        for mail in mails_in
        if deleted.get((mail.mailbox, mail.digest), rows[mail.mail_id].listed_at) < rows[mail.mail_id].listed_at
    }


async def _retire(connection: AsyncConnection, keys: set[tuple[str, str]], time: int) -> None:
    """Take the fingerprint from copies that nobody may join any more: too old, or a person discarded a delivery."""
    discarded = exists().where(deliveries.c.copy_id == copies.c.id, deliveries.c.state == DeliveryState.DISCARDED)
    for part in chunks(keys):
        closed = or_(copies.c.first_seen < time - COPY_WINDOW_MS, discarded)
        same = tuple_(copies.c.mailbox, copies.c.fingerprint).in_(part)
        await connection.execute(update(copies).where(same, closed).values(fingerprint=copies.c.id))


async def _add_deliveries(
    connection: AsyncConnection, routed: Sequence[RoutedMail], copy_ids: dict[str, str], time: int
) -> list[dict[str, Any]]:
    """Insert the recipients that the copy doesn't have yet: the union over its mails. Return the rows tried."""
    values: dict[tuple[str, str], dict[str, Any]] = {}
    for mail in routed:
        for recipient in mail.recipients:
            key = (copy_ids[mail.mail_id], recipient.address)
            values.setdefault(key, _delivery(mail, key, recipient.reason, time))
    ordered = [values[key] for key in sorted(values)]
    await insert_missing(connection, deliveries, ("copy_id", "recipient"), ordered)
    return ordered


def _delivery(mail: RoutedMail, key: tuple[str, str], reason: str, time: int) -> dict[str, Any]:
    return {
        "id": new_id(),
        "copy_id": key[0],
        "mail_id": mail.mail_id,
        "profile_id": mail.profile_id,
        "recipient": key[1],
        "fallback": mail.fallback,
        "reason": reason,
        "target": mail.target,
        "sender": mail.sender,
        "source_host": mail.source_host,
        "state": DeliveryState.PENDING.value,
        "attempts": 0,
        "ambiguous": 0,
        "claims": 0,
        "swept_claims": 0,  # the router publishes its first job
        "next_attempt_at": time + PATIENCE_MS,
        "created_at": time,
    }


async def _mark_routed(
    connection: AsyncConnection, routed: Sequence[RoutedMail], copy_ids: dict[str, str], time: int
) -> None:
    if not routed:
        return
    change = update(mails).where(mails.c.id == bindparam("key")).values(copy_id=bindparam("copy"))
    values = [{"key": mail.mail_id, "copy": copy_ids[mail.mail_id]} for mail in routed]
    await connection.execute(change.values(state=MailState.ROUTED, routed_at=time, progress_at=time), values)


async def _wanting_attempt(
    connection: AsyncConnection, routed: Sequence[RoutedMail], copy_ids: dict[str, str], created: set[str], time: int
) -> dict[str, list[PlannedDelivery]]:
    """Return by mail the deliveries of copies that were there which are to be published.

    They are new ones, those this mail's bytes are for, and overdue ones.
    """
    by_copy: dict[str, RoutedMail] = {}
    for mail in routed:
        by_copy.setdefault(copy_ids[mail.mail_id], mail)
    by_id = {mail.mail_id: mail for mail in routed}
    wanted: dict[str, list[PlannedDelivery]] = {}
    for part in chunks(by_copy):
        for row in (await connection.execute(_open_deliveries(part, time))).all():
            if row.id in created or row.mail_id in by_id or row.next_attempt_at <= time:
                mail = by_id.get(row.mail_id, by_copy[row.copy_id])
                may_move = row.ambiguous == 0 and row.claimed_until is None  # who held the claim may have delivered
                planned = await _adapted(connection, planned_delivery(row), mail, may_move=may_move)
                wanted.setdefault(mail.mail_id, []).append(planned)
    return wanted


async def _adapted(
    connection: AsyncConnection, planned: PlannedDelivery, mail: RoutedMail, *, may_move: bool
) -> PlannedDelivery:
    """Have a delivery take the bytes of the mail at hand, and follow a profile whose target was changed.

    Where the old target may have the mail already, it stays there; so does what the target refused before.
    """
    stays = not may_move or planned.target == refused_target(mail.target)
    target = planned.target if stays else mail.target
    if (mail.mail_id, target) != (planned.mail_id, planned.target):
        change = update(deliveries).where(deliveries.c.id == planned.delivery_id)
        await connection.execute(change.values(mail_id=mail.mail_id, target=target))
    return replace(planned, mail_id=mail.mail_id, digest=mail.digest, target=target)


async def _make_patient(
    connection: AsyncConnection, wanted: dict[str, list[PlannedDelivery]], created: set[str], time: int
) -> None:
    """Keep the sweeper from what is being published: new rows are made so, those of an earlier routing are not."""
    again = {planned.delivery_id for group in wanted.values() for planned in group} - created
    for part in chunks(again):
        later = update(deliveries).where(deliveries.c.id.in_(part))
        await connection.execute(later.values(next_attempt_at=time + PATIENCE_MS, swept_claims=deliveries.c.claims))


def _open_deliveries(copy_ids: list[str], time: int) -> Any:  # noqa: ANN401 (a select over all columns)
    waiting = deliveries.c.state == DeliveryState.PENDING
    retry = (deliveries.c.state == DeliveryState.DEFERRED) & (deliveries.c.next_attempt_at <= time)
    free = or_(deliveries.c.claimed_until.is_(None), deliveries.c.claimed_until <= time)
    query = select(deliveries, mails.c.digest, mails.c.octets).join(mails, mails.c.id == deliveries.c.mail_id)
    return query.where(deliveries.c.copy_id.in_(copy_ids), or_(waiting, retry), free)


def _first_attempt(row: dict[str, Any], mail: AnyRow) -> PlannedDelivery:
    """Return a delivery that was inserted just now, without asking for it."""
    return PlannedDelivery(
        delivery_id=row["id"],
        mail_id=row["mail_id"],
        profile_id=row["profile_id"],
        recipient=row["recipient"],
        fallback=row["fallback"],
        target=row["target"],
        sender=row["sender"],
        source_host=row["source_host"],
        attempt=1,
        created_at=row["created_at"],
        reason=row["reason"],
        digest=mail.digest,
        size=mail.octets,
    )


def planned_delivery(row: AnyRow) -> PlannedDelivery:
    """Return a delivery row, joined with its mail's digest and octets, as the job that it asks for."""
    return PlannedDelivery(
        delivery_id=row.id,
        mail_id=row.mail_id,
        profile_id=row.profile_id,
        recipient=row.recipient,
        fallback=row.fallback,
        target=row.target,
        sender=row.sender,
        source_host=row.source_host,
        attempt=row.attempts + 1,
        created_at=row.created_at,
        reason=row.reason,
        digest=row.digest,
        size=row.octets,
    )


RECORD_ROUTED: Final[Operation[RoutedMail, Route]] = Operation(
    name="record_routed", rank=30, key=lambda mail: mail.mail_id, apply=_record_routed
)


async def _set_aside(connection: AsyncConnection, reasons: Sequence[tuple[str, str]]) -> list[None]:
    if not reasons:
        return []  # as in nearly every batch of routed mail
    time = await clock(connection)
    for mail_id, reason in reasons:
        values = {"state": MailState.QUARANTINED, "reason": reason, "progress_at": time}
        change = update(mails).where(mails.c.id == mail_id, mails.c.state.not_in((MailState.DELETED, MailState.KEPT)))
        found = (await connection.execute(change.values(**values).returning(mails.c.id))).scalars().all()
        await note(connection, [Event(subject=one, what=What.QUARANTINED, at=time, text=reason) for one in found])
    return [None for _ in reasons]


QUARANTINE: Final[Operation[tuple[str, str], None]] = Operation(
    name="quarantine", rank=31, key=lambda reason: reason[0], apply=_set_aside
)
"""Sets mails aside, each with its reason."""
