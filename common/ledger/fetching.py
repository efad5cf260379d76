"""What a session records of single mails: fetched, broken off, skipped, deleted, kept. All under the lease's epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.events import Event, What, note, note_all
from common.ledger.records import Fetched, FetchedMail, Lease, MailState
from common.ledger.returning import Fates, bytes_gone
from common.ledger.rows import AnyRow, chunks, clock, current_epochs, locked
from common.ledger.schema import mails, schedule
from common.ledger.writer import Operation

MAX_BREAKS: Final = 3
"""Sessions that may break while a mail is retrieved; then it is skipped, and tried daily."""


async def _record_fetched(connection: AsyncConnection, fetched: Sequence[FetchedMail]) -> list[Fetched]:
    time = await clock(connection)
    epochs = await current_epochs(connection, (mail.profile_id for mail in fetched))
    columns = (mails.c.id, mails.c.state, mails.c.fetches, mails.c.header_hash, mails.c.body_digest, mails.c.fetched_at)
    query = select(*columns)
    rows = {row.id: row for row in await locked(connection, query, mails.c.id, (mail.mail_id for mail in fetched))}
    answers = [fetched_of(mail, rows.get(mail.mail_id), epochs.get(mail.profile_id)) for mail in fetched]
    values = [
        {
            "key": mail.mail_id,
            "header_hash": mail.header_hash,
            "digest": mail.digest,
            "body_digest": mail.body_digest,
            "octets": mail.size,
        }
        for mail, answer in zip(fetched, answers, strict=True)
        if answer is Fetched.RECORDED
    ]
    if values:
        change = update(mails).where(mails.c.id == bindparam("key"))
        settled = {"state": MailState.FETCHED, "reason": None, "fetched_at": time, "progress_at": time}
        fields = ("header_hash", "digest", "body_digest", "octets")
        await connection.execute(change.values(**settled, **{name: bindparam(name) for name in fields}), values)
    before = [rows[mail.mail_id] for mail, answer in zip(fetched, answers, strict=True) if answer is Fetched.RECORDED]
    again = [
        Event(subject=row.id, what=What.FETCHED, at=row.fetched_at) for row in before if row.fetched_at is not None
    ]
    await note(connection, again)
    return answers


def fetched_of(mail: FetchedMail, row: AnyRow | None, epoch: int | None) -> Fetched:
    """Decide whether a fetched mail may be published: pure."""
    if row is None or epoch != mail.epoch or row.fetches != mail.fetches:
        return Fetched.STALE
    if row.state not in {MailState.LISTED, MailState.SKIPPED}:
        return Fetched.STALE
    # What was delivered of the earlier mail must never count for this one: it would be deleted undelivered.
    before = (row.header_hash, row.body_digest)
    changed = row.header_hash is not None and before != (mail.header_hash, mail.body_digest)
    return Fetched.ANOTHER if changed else Fetched.RECORDED


RECORD_FETCHED: Final[Operation[FetchedMail, Fetched]] = Operation(
    name="record_fetched", rank=20, key=lambda mail: mail.mail_id, apply=_record_fetched
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailsOfSession:
    """Mails of one session that met the same fate."""

    lease: Lease
    mail_ids: tuple[str, ...]
    reason: str | None = None


async def _current(connection: AsyncConnection, groups: Sequence[MailsOfSession]) -> list[bool]:
    epochs = await current_epochs(connection, (group.lease.profile_id for group in groups))
    return [epochs.get(group.lease.profile_id) == group.lease.epoch for group in groups]


async def _update(connection: AsyncConnection, mail_ids: Sequence[str], values: dict[str, Any]) -> None:
    for part in chunks(mail_ids):
        await connection.execute(update(mails).where(mails.c.id.in_(part)).values(**values))


async def _record_deleted(connection: AsyncConnection, groups: Sequence[MailsOfSession]) -> list[bool]:
    time = await clock(connection)
    current = await _current(connection, groups)
    for group, live in zip(groups, current, strict=True):
        if not live:
            continue
        await _note_earlier_ends(connection, group.mail_ids)
        gone = {"state": MailState.DELETED, "deleted_at": time, "progress_at": time, "unseen_since": time}
        await _update(connection, group.mail_ids, gone)
        less = schedule.c.listed - len(group.mail_ids)
        where = schedule.c.profile_id == group.lease.profile_id
        await connection.execute(update(schedule).where(where).values(listed=less))
    return current


async def _note_earlier_ends(connection: AsyncConnection, mail_ids: Sequence[str]) -> None:
    """Write down what deletion will overwrite: since when a mail was kept, and that it was deleted in vain before."""
    columns = (mails.c.id, mails.c.state, mails.c.progress_at, mails.c.deleted_at)
    for part in chunks(mail_ids):
        query = select(*columns).where(mails.c.id.in_(part), mails.c.state.in_((MailState.KEPT, MailState.DELETED)))
        for row in (await connection.execute(query)).all():
            at = row.progress_at if row.state == MailState.KEPT else row.deleted_at
            await note(connection, [Event(subject=row.id, what=row.state, at=at)])


async def _record_kept(connection: AsyncConnection, groups: Sequence[MailsOfSession]) -> list[bool]:
    time = await clock(connection)
    current = await _current(connection, groups)
    for group, live in zip(groups, current, strict=True):
        if live:
            await _update(connection, group.mail_ids, {"state": MailState.KEPT, "progress_at": time})
    return current


async def _record_skipped(connection: AsyncConnection, groups: Sequence[MailsOfSession]) -> list[bool]:
    time = await clock(connection)
    current = await _current(connection, groups)
    for group, live in zip(groups, current, strict=True):
        if live:
            fate = {"state": MailState.SKIPPED, "reason": group.reason, "progress_at": time}
            await _update(connection, group.mail_ids, fate)
            await note_all(connection, group.mail_ids, What.SKIPPED, time, group.reason)
    return current


async def _record_broken(connection: AsyncConnection, groups: Sequence[MailsOfSession]) -> list[bool]:
    time = await clock(connection)
    current = await _current(connection, groups)
    for group, live in zip(groups, current, strict=True):
        if not live:
            continue
        await _update(connection, group.mail_ids, {"breaks": mails.c.breaks + 1})
        await note_all(connection, group.mail_ids, What.BROKE, time, group.reason)
        for part in chunks(group.mail_ids):
            hopeless = update(mails).where(mails.c.id.in_(part), mails.c.breaks >= MAX_BREAKS)
            skipped = {"state": MailState.SKIPPED, "reason": group.reason, "progress_at": time}
            fetchable = mails.c.state.in_((MailState.LISTED, MailState.SKIPPED))
            change = hopeless.where(fetchable).values(**skipped).returning(mails.c.id)
            found = (await connection.execute(change)).scalars().all()
            await note_all(connection, found, What.SKIPPED, time, group.reason)
    return current


async def _renew_identity(connection: AsyncConnection, groups: Sequence[MailsOfSession]) -> list[Fates | None]:
    """Take the UIDL away from rows whose mail is another by now: the next listing makes a new row for it."""
    time = await clock(connection)
    current = await _current(connection, groups)
    answers: list[Fates | None] = []
    for group, live in zip(groups, current, strict=True):
        answers.append(await renamed(connection, group, time) if live else None)
    return answers


async def renamed(connection: AsyncConnection, group: MailsOfSession, time: int) -> Fates:
    """Take the UIDL away from these mails; return what became of those that were still to be fetched."""
    query = select(mails.c.id, mails.c.uidl_key, mails.c.state)
    rows = await locked(connection, query, mails.c.id, group.mail_ids)
    for row in rows:
        values = {"uidl_key": row.uidl_key + b"\0" + row.id.encode(), "unseen_since": time}
        await connection.execute(update(mails).where(mails.c.id == row.id).values(**values))
    await note_all(connection, [row.id for row in rows], What.RENAMED, time, "its UIDL names another mail by now")
    return await bytes_gone(connection, [row.id for row in rows if row.state == MailState.LISTED])


def _of_session(name: str, rank: int, apply: Any) -> Operation[MailsOfSession, bool]:  # noqa: ANN401 (one of the above)
    return Operation(name=name, rank=rank, key=lambda group: group.lease.profile_id, apply=apply)


RECORD_DELETED: Final = _of_session("record_deleted", 60, _record_deleted)
RECORD_KEPT: Final = _of_session("record_kept", 61, _record_kept)
RECORD_SKIPPED: Final = _of_session("record_skipped", 62, _record_skipped)
RECORD_BROKEN: Final = _of_session("record_broken", 63, _record_broken)
RENEW_IDENTITY: Final[Operation[MailsOfSession, Fates | None]] = Operation(
    name="renew_identity", rank=64, key=lambda group: group.lease.profile_id, apply=_renew_identity
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """Mails that are known, under new UIDLs: each new row gives its UIDL to the old one."""

    lease: Lease
    pairs: tuple[tuple[str, str], ...]  # ids of new and old row


async def _adopt(connection: AsyncConnection, adoptions: Sequence[Adoption]) -> list[bool]:
    time = await clock(connection)
    epochs = await current_epochs(connection, (one.lease.profile_id for one in adoptions))
    answers = []
    for one in adoptions:
        live = epochs.get(one.lease.profile_id) == one.lease.epoch
        query = select(mails.c.id, mails.c.uidl_key, mails.c.uidl, mails.c.size)
        found = await locked(connection, query, mails.c.id, (new for new, _ in one.pairs if live))
        olds = dict(one.pairs)
        for part in chunks(row.id for row in found):
            await connection.execute(delete(mails).where(mails.c.id.in_(part), mails.c.digest.is_(None)))
        for row in found:
            values = {"uidl_key": row.uidl_key, "uidl": row.uidl, "size": row.size, "unseen_since": None}
            old = mails.c.id == olds[row.id]
            await connection.execute(update(mails).where(old).values(**values))
            lost = update(mails).where(old, mails.c.state == MailState.LOST)  # under its old name it was gone
            await connection.execute(lost.values(state=MailState.LISTED, reason=None))
            await note_all(connection, [olds[row.id]], What.RENAMED, time, f"the server lists it as {row.uidl!r}")
        answers.append(live)
    return answers


ADOPT: Final[Operation[Adoption, bool]] = Operation(
    name="adopt", rank=65, key=lambda adoption: adoption.lease.profile_id, apply=_adopt
)
