"""What a session records of single mails: fetched, broken off, skipped, deleted, kept. All under the lease's epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.records import FetchedMail, Lease, MailState
from common.ledger.rows import chunks, clock, current_epochs, locked
from common.ledger.schema import mails, schedule
from common.ledger.writer import Operation

MAX_BREAKS: Final = 3
"""Sessions that may break while a mail is retrieved; then it is skipped, and tried daily."""


async def _record_fetched(connection: AsyncConnection, fetched: Sequence[FetchedMail]) -> list[bool]:
    time = await clock(connection)
    epochs = await current_epochs(connection, (mail.profile_id for mail in fetched))
    query = select(mails.c.id, mails.c.state, mails.c.fetches)
    rows = {row.id: row for row in await locked(connection, query, mails.c.id, (mail.mail_id for mail in fetched))}

    def current(mail: FetchedMail) -> bool:
        row = rows.get(mail.mail_id)
        wanted = row is not None and row.state in {MailState.LISTED, MailState.SKIPPED} and row.fetches == mail.fetches
        return wanted and epochs.get(mail.profile_id) == mail.epoch

    values = [
        {
            "key": mail.mail_id,
            "header_hash": mail.header_hash,
            "digest": mail.digest,
            "body_digest": mail.body_digest,
            "octets": mail.size,
        }
        for mail in fetched
        if current(mail)
    ]
    if values:
        change = update(mails).where(mails.c.id == bindparam("key"))
        settled = {"state": MailState.FETCHED, "reason": None, "fetched_at": time, "progress_at": time}
        fields = ("header_hash", "digest", "body_digest", "octets")
        await connection.execute(change.values(**settled, **{name: bindparam(name) for name in fields}), values)
    return [current(mail) for mail in fetched]


RECORD_FETCHED: Final[Operation[FetchedMail, bool]] = Operation(
    name="record_fetched", rank=20, key=lambda mail: mail.mail_id, apply=_record_fetched
)
"""Answers False where the lease was lost or the mail is no longer wanted: it must not be published."""


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
        gone = {"state": MailState.DELETED, "deleted_at": time, "progress_at": time, "unseen_since": time}
        await _update(connection, group.mail_ids, gone)
        less = schedule.c.listed - len(group.mail_ids)
        where = schedule.c.profile_id == group.lease.profile_id
        await connection.execute(update(schedule).where(where).values(listed=less))
    return current


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
    return current


async def _record_broken(connection: AsyncConnection, groups: Sequence[MailsOfSession]) -> list[bool]:
    time = await clock(connection)
    current = await _current(connection, groups)
    for group, live in zip(groups, current, strict=True):
        if not live:
            continue
        await _update(connection, group.mail_ids, {"breaks": mails.c.breaks + 1})
        for part in chunks(group.mail_ids):
            hopeless = update(mails).where(mails.c.id.in_(part), mails.c.breaks >= MAX_BREAKS)
            skipped = {"state": MailState.SKIPPED, "reason": group.reason, "progress_at": time}
            await connection.execute(hopeless.where(mails.c.state == MailState.LISTED).values(**skipped))
    return current


async def _renew_identity(connection: AsyncConnection, groups: Sequence[MailsOfSession]) -> list[bool]:
    """Take the UIDL away from rows whose mail is another by now: the next listing makes a new row for it."""
    time = await clock(connection)
    current = await _current(connection, groups)
    for group, live in zip(groups, current, strict=True):
        if not live:
            continue
        query = select(mails.c.id, mails.c.uidl_key)
        for row in await locked(connection, query, mails.c.id, group.mail_ids):
            values = {"uidl_key": row.uidl_key + b"\0" + row.id.encode(), "unseen_since": time}
            await connection.execute(update(mails).where(mails.c.id == row.id).values(**values))
    return current


def _of_session(name: str, rank: int, apply: Any) -> Operation[MailsOfSession, bool]:  # noqa: ANN401 (one of the above)
    return Operation(name=name, rank=rank, key=lambda group: group.lease.profile_id, apply=apply)


RECORD_DELETED: Final = _of_session("record_deleted", 60, _record_deleted)
RECORD_KEPT: Final = _of_session("record_kept", 61, _record_kept)
RECORD_SKIPPED: Final = _of_session("record_skipped", 62, _record_skipped)
RECORD_BROKEN: Final = _of_session("record_broken", 63, _record_broken)
RENEW_IDENTITY: Final = _of_session("renew_identity", 64, _renew_identity)
