"""Sending mail back to be fetched again when its bytes or messages are gone: the remote copy is the durable one."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.records import MailState
from common.ledger.rows import AnyRow, chunks, clock
from common.ledger.schema import deliveries, mails

MAX_FETCHES: Final = 5
"""Times that a mail is sent back; something about it then needs a person."""

_LOST: Final = "its bytes are gone: no blob, and the server no longer lists it"
_TOO_OFTEN: Final = "sent back to be fetched five times"


async def send_back(connection: AsyncConnection, undone: Sequence[AnyRow], *, counted: bool) -> None:
    """Fetch again what these deliveries need: from the mail itself, else from another mail of the copy."""
    by_copy: dict[str, list[AnyRow]] = {}
    for row in undone:
        by_copy.setdefault(row.copy_id, []).append(row)
    sources: dict[str, list[str]] = {}
    for part in chunks(by_copy):
        query = select(mails.c.id, mails.c.copy_id).where(mails.c.copy_id.in_(part), mails.c.unseen_since.is_(None))
        for mail in (await connection.execute(query.order_by(mails.c.id))).all():
            sources.setdefault(mail.copy_id, []).append(mail.id)
    for copy_id, rows in sorted(by_copy.items()):
        available = sources.get(copy_id, [])
        own = rows[0].mail_id
        source = own if own in available or not available else available[0]
        await send_back_mails(connection, [source], counted=counted)
        if source != own:
            ids = [row.id for row in rows]
            await connection.execute(update(deliveries).where(deliveries.c.id.in_(ids)).values(mail_id=source))


async def send_back_mails(connection: AsyncConnection, mail_ids: Sequence[str], *, counted: bool) -> None:
    """Make mails listed again; five times is too often, and what the server no longer lists is lost: an alarm."""
    time = await clock(connection)
    fetches = mails.c.fetches + int(counted)
    fate = case(
        (mails.c.unseen_since.is_not(None), MailState.LOST.value),
        (fetches >= MAX_FETCHES, MailState.QUARANTINED.value),
        else_=MailState.LISTED.value,
    )
    reason = case(
        (mails.c.unseen_since.is_not(None), _LOST),
        (fetches >= MAX_FETCHES, _TOO_OFTEN),
        else_=None,
    )
    open_states = (MailState.FETCHED, MailState.ROUTED)
    for part in chunks(mail_ids):
        change = update(mails).where(mails.c.id.in_(part), mails.c.state.in_(open_states))
        await connection.execute(change.values(state=fate, reason=reason, fetches=fetches, progress_at=time))
