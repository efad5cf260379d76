"""Sending mail back to be fetched again when its bytes or messages are gone: the remote copy is the durable one.

A mail that the server no longer lists hands its undone deliveries to another mail of its copy; without one it is lost,
which is never silent.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.events import What, note_all
from common.ledger.records import DeliveryState, MailState
from common.ledger.rows import AnyRow, chunks, clock
from common.ledger.schema import deliveries, mails

MAX_FETCHES: Final = 5
"""Times that a mail is sent back; something about it then needs a person."""

Fates = dict[str, MailState]
"""What became of mails that were to be sent back, by mail id."""

_LOST: Final = "its bytes are gone: no blob, and the server no longer lists it"
_TOO_OFTEN: Final = "sent back to be fetched five times"
_ON_THE_WAY: Final = (MailState.LISTED, MailState.FETCHED, MailState.ROUTED)
_OPEN: Final = (DeliveryState.PENDING, DeliveryState.DEFERRED)


async def send_back(connection: AsyncConnection, undone: Iterable[AnyRow], *, counted: bool) -> Fates:
    """Fetch again what these deliveries need; they are published as soon as their mail is routed again."""
    time = await clock(connection)
    rows = list(undone)
    for part in chunks(row.id for row in rows):
        await connection.execute(update(deliveries).where(deliveries.c.id.in_(part)).values(next_attempt_at=time))
    return await send_back_mails(connection, sorted({row.mail_id for row in rows}), counted=counted)


async def send_back_mails(connection: AsyncConnection, mail_ids: Sequence[str], *, counted: bool) -> Fates:
    """Make mails listed again; five times is too often, and what the server no longer lists has no bytes."""
    time = await clock(connection)
    fetches = mails.c.fetches + int(counted)
    too_often = fetches >= MAX_FETCHES
    fate = case((too_often, MailState.QUARANTINED.value), else_=MailState.LISTED.value)
    reason = case((too_often, _TOO_OFTEN), else_=None)
    fates: Fates = {}
    for part in chunks(mail_ids):
        open_ones = mails.c.id.in_(part) & mails.c.state.in_((MailState.FETCHED, MailState.ROUTED))
        change = update(mails).where(open_ones, mails.c.unseen_since.is_(None))
        sent = change.values(state=fate, reason=reason, fetches=fetches, progress_at=time)
        for row in (await connection.execute(sent.returning(mails.c.id, mails.c.state, mails.c.reason))).all():
            fates[row.id] = MailState(row.state)
            happened = What.SENT_BACK if fates[row.id] is MailState.LISTED else What.QUARANTINED
            await note_all(connection, [row.id], happened, time, row.reason)
        gone = select(mails.c.id).where(open_ones, mails.c.unseen_since.is_not(None))
        fates |= await bytes_gone(connection, list((await connection.execute(gone)).scalars()))
    return fates


async def bytes_gone(connection: AsyncConnection, mail_ids: Sequence[str]) -> Fates:
    """Settle what becomes of mails that neither the server nor a blob has, although not all is delivered."""
    time = await clock(connection)
    fates: Fates = {}
    for part in chunks(mail_ids):
        for row in (await connection.execute(select(mails.c.id, mails.c.copy_id).where(mails.c.id.in_(part)))).all():
            fates |= await _bytes_gone(connection, row.id, row.copy_id, time)
    return fates


async def _bytes_gone(connection: AsyncConnection, mail_id: str, copy_id: str | None, time: int) -> Fates:
    waiting = (deliveries.c.mail_id == mail_id) & deliveries.c.state.in_(_OPEN)
    is_wanted = (
        copy_id is None or (await connection.execute(select(deliveries.c.id).where(waiting))).first() is not None
    )
    twin = await _twin(connection, mail_id, copy_id) if is_wanted and copy_id is not None else None
    if is_wanted and twin is None:
        values = {"state": MailState.LOST, "reason": _LOST, "progress_at": time}
        await connection.execute(update(mails).where(mails.c.id == mail_id).values(**values))
        await note_all(connection, [mail_id], What.LOST, time, _LOST)
        return {mail_id: MailState.LOST}
    await connection.execute(
        update(mails).where(mails.c.id == mail_id).values(state=MailState.ROUTED, progress_at=time)
    )
    if twin is None:
        return {}  # what it was wanted for is delivered, or another mail's
    await connection.execute(update(deliveries).where(waiting).values(mail_id=twin, next_attempt_at=time))
    return await send_back_mails(connection, [twin], counted=True)


async def _twin(connection: AsyncConnection, mail_id: str, copy_id: str) -> str | None:
    """Return another mail of the copy that the server still lists, and that can still be fetched."""
    query = select(mails.c.id).where(
        mails.c.copy_id == copy_id,
        mails.c.id != mail_id,
        mails.c.unseen_since.is_(None),
        mails.c.state.in_(_ON_THE_WAY),
    )
    return (await connection.execute(query.order_by(mails.c.id).limit(1))).scalar()
