"""What a listing changes: new mails, vanished ones, returned ones. One operation a session, not one a mail."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.events import Event, What, note, note_all
from common.ledger.records import KnownMail, Lease, ListedMail, MailState
from common.ledger.returning import Fates, bytes_gone
from common.ledger.rows import AnyRow, chunks, clock, current_epochs, deletable_of, insert_missing, is_deletable
from common.ledger.schema import GONE_UNDELETED, mails, new_id, schedule
from common.ledger.writer import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All that a session saw in one listing."""

    lease: Lease
    listed: tuple[ListedMail, ...]


Known = dict[bytes, KnownMail]
"""What the ledger knows of the listed mails, by UIDL key."""


class Recorded(NamedTuple):
    """What a listing led to."""

    known: Known
    fates: Fates  # of mails that vanished although they were still wanted
    hidden: int  # mails that vanished after we retrieved them, and before we deleted them


COLUMNS: Final = (
    mails.c.id,
    mails.c.uidl_key,
    mails.c.size,
    mails.c.state,
    mails.c.fetches,
    mails.c.breaks,
    mails.c.header_hash,
    mails.c.digest,
    mails.c.body_digest,
    mails.c.progress_at,
    mails.c.unseen_since,
    mails.c.asked_at,
)


async def _record_listings(connection: AsyncConnection, listings: Sequence[Listing]) -> list[Recorded | None]:
    epochs = await current_epochs(connection, (listing.lease.profile_id for listing in listings))
    quiet = await _quiet(connection, [listing.lease for listing in listings if not listing.listed])
    return [await _answer(connection, listing, epochs.get(listing.lease.profile_id), quiet) for listing in listings]


async def _answer(
    connection: AsyncConnection, listing: Listing, epoch: int | None, quiet: Collection[str]
) -> Recorded | None:
    if epoch != listing.lease.epoch:
        return None
    if listing.lease.profile_id in quiet:
        return Recorded({}, {}, 0)
    return await _record(connection, listing)


async def _quiet(connection: AsyncConnection, empty: Sequence[Lease]) -> set[str]:
    """Return those profiles whose empty listing changes nothing: most polls, so all are found by three queries.

    It was empty before, no mail is taken to be there, and none is gone whose end is open.
    """
    settled: set[str] = set()
    for part in chunks(lease.profile_id for lease in empty):
        before = select(schedule.c.profile_id).where(schedule.c.profile_id.in_(part))
        was_empty = before.where(schedule.c.listed == 0, schedule.c.shrunk.is_(False))
        settled.update((await connection.execute(was_empty)).scalars())
    busy: set[str] = set()
    for part in chunks(lease.profile.mailbox for lease in empty):
        for open_ones in (mails.c.unseen_since.is_(None), GONE_UNDELETED):
            query = select(mails.c.mailbox).where(mails.c.mailbox.in_(part), open_ones).distinct()
            busy.update((await connection.execute(query)).scalars())
    return {lease.profile_id for lease in empty if lease.profile_id in settled and lease.profile.mailbox not in busy}


async def _record(connection: AsyncConnection, listing: Listing) -> Recorded:
    time = await clock(connection)
    mailbox = listing.lease.profile.mailbox
    listed = {mail.uidl_key: mail for mail in listing.listed}
    on_server = {row.uidl_key: row for row in await _on_server(connection, mailbox)}
    others = {row.uidl_key: row for row in await _known(connection, mailbox, listed.keys() - on_server.keys())}
    vanished = [row for key, row in on_server.items() if key not in listed]
    is_believed = await _believed(connection, listing)
    hidden = await _count_hidden(connection, listing, vanished) if is_believed else 0
    fates = await _mark_vanished(connection, listing, vanished, time) if is_believed else {}
    await _mark_returned(connection, list(others.values()), time)
    await _add_new(
        connection, listing, [mail for key, mail in listed.items() if key not in on_server and key not in others], time
    )
    rows = [row for row in await _known(connection, mailbox, listed.keys()) if row.uidl_key in listed]
    deletable = {row.id for row in await deletable_of(connection, mails.c.id, (row.id for row in rows))}
    return Recorded({row.uidl_key: known_mail(row, time, deletable=row.id in deletable) for row in rows}, fates, hidden)


async def _on_server(connection: AsyncConnection, mailbox: str) -> list[AnyRow]:
    query = select(*COLUMNS).where(mails.c.mailbox == mailbox, mails.c.unseen_since.is_(None))
    return list((await connection.execute(query)).all())


async def _known(connection: AsyncConnection, mailbox: str, keys: Any) -> list[AnyRow]:  # noqa: ANN401 (any set of keys)
    found: list[AnyRow] = []
    for part in chunks(keys):
        query = select(*COLUMNS).where(mails.c.mailbox == mailbox, mails.c.uidl_key.in_(part))
        found.extend((await connection.execute(query)).all())
    return found


async def _believed(connection: AsyncConnection, listing: Listing) -> bool:
    """Believe what a listing leaves out, unless it shrank by more than half for the first time."""
    where = schedule.c.profile_id == listing.lease.profile_id
    last = (await connection.execute(select(schedule.c.listed, schedule.c.shrunk).where(where))).one()
    if len(listing.listed) * 2 < last.listed and not last.shrunk:
        await connection.execute(update(schedule).where(where).values(shrunk=True))
        return False
    if last.listed != len(listing.listed) or last.shrunk:
        await connection.execute(update(schedule).where(where).values(listed=len(listing.listed), shrunk=False))
    return True


async def _count_hidden(connection: AsyncConnection, listing: Listing, vanished: list[AnyRow]) -> int:
    """Count mails that were retrieved and are gone although we can't have deleted them; remember it of the mailbox."""
    retrieved = {MailState.LISTED, MailState.FETCHED, MailState.ROUTED}
    ids = [row.id for row in vanished if row.digest is not None and row.state in retrieved]
    hidden = len(ids) - len(await deletable_of(connection, mails.c.id, ids)) if ids else 0
    if hidden and not listing.lease.hides:
        where = schedule.c.profile_id == listing.lease.profile_id
        await connection.execute(update(schedule).where(where).values(hides=True))
    return hidden


async def _mark_vanished(connection: AsyncConnection, listing: Listing, vanished: list[AnyRow], time: int) -> Fates:
    for part in chunks(row.id for row in vanished):
        await connection.execute(update(mails).where(mails.c.id.in_(part)).values(unseen_since=time))
    wanted = [row for row in vanished if row.state == MailState.LISTED and row.digest is not None]
    hides = listing.lease.hides_mail  # what was asked for there may be at rest: who looks there decides (hiding.py)
    nowhere = [row.id for row in wanted if not hides or row.asked_at is None]
    fates = await bytes_gone(connection, nowhere)  # fetched before, and to be fetched again
    # Our DELE took effect although its answer was lost, or RETR hid the mail and its deliveries were done since.
    mailbox = mails.c.mailbox == listing.lease.profile.mailbox
    gone = select(mails.c.id).where(mailbox, GONE_UNDELETED, is_deletable())
    for part in chunks((await connection.execute(gone)).scalars()):
        await connection.execute(
            update(mails).where(mails.c.id.in_(part)).values(state=MailState.DELETED, deleted_at=time, progress_at=time)
        )
    return fates


async def _mark_returned(connection: AsyncConnection, returned: list[AnyRow], time: int) -> None:
    since = {row.id: row.unseen_since for row in returned if row.state != MailState.DELETED}
    gone = [Event(subject=key, what=What.GONE, at=at) for key, at in since.items() if at is not None]
    await note(connection, gone)
    await note_all(connection, [row.id for row in returned], What.RETURNED, time, None)
    for part in chunks(row.id for row in returned):
        await connection.execute(update(mails).where(mails.c.id.in_(part)).values(unseen_since=None))
        lost = update(mails).where(mails.c.id.in_(part), mails.c.state == MailState.LOST)
        await connection.execute(lost.values(state=MailState.LISTED, reason=None))


async def _add_new(connection: AsyncConnection, listing: Listing, new: list[ListedMail], time: int) -> None:
    lease = listing.lease
    values = [
        {
            "id": new_id(),
            "mailbox": lease.profile.mailbox,
            "profile_id": lease.profile_id,
            "uidl_key": mail.uidl_key,
            "uidl": mail.uidl,
            "size": mail.size,
            "state": MailState.LISTED.value,
            "fetches": 0,
            "breaks": 0,
            "listed_at": time,
            "progress_at": time,
        }
        for mail in new
    ]
    await insert_missing(connection, mails, ("mailbox", "uidl_key"), values)


def known_mail(row: AnyRow, time: int, *, deletable: bool) -> KnownMail:
    """Return what a row, of COLUMNS, says of a mail."""
    return KnownMail(
        mail_id=row.id,
        uidl_key=row.uidl_key,
        size=row.size,
        state=MailState(row.state),
        fetches=row.fetches,
        breaks=row.breaks,
        deletable=deletable,
        header_hash=row.header_hash,
        digest=row.digest,
        body_digest=row.body_digest,
        age=time - row.progress_at,
    )


RECORD_LISTING: Final[Operation[Listing, Recorded | None]] = Operation(
    name="record_listing", rank=10, key=lambda listing: listing.lease.profile_id, apply=_record_listings
)
"""Answers what is known of the listed mails, or None when the lease was lost."""
