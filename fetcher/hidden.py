"""Mail that a server hides once it was retrieved: nothing of it may be thrown away, whatever it turns out to be."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from common.blobs import NoBlobError
from common.failures import PollError
from common.ledger import LeaseLostError
from common.ledger.fetching import MAX_BREAKS, MailsOfSession
from common.ledger.hiding import GIVE_UP, RECORD_ASKED, missing_of
from common.ledger.records import KnownMail
from common.ledger.schema import new_id
from fetcher.incoming import Incoming, content_of
from fetcher.plan import Known

if TYPE_CHECKING:
    from fetcher.session import Session


async def ask(session: "Session", pair: Known) -> bool:
    """Note that a mail is about to be retrieved: if it vanishes, its bytes are looked for. False: the lease is lost."""
    group = MailsOfSession(lease=session.lease, mail_ids=(pair.known.mail_id,))
    return await session.at.ledger.write(RECORD_ASKED, group)


async def recover(session: "Session") -> None:
    """Take custody of what an earlier session retrieved and could not record; what is nowhere is lost, and told."""
    mailbox = session.lease.profile.mailbox
    missing = await session.at.ledger.read(lambda connection: missing_of(connection, mailbox))
    lost = [known.mail_id for known in missing if not await _is_at_rest(session, known)]
    if not lost:
        return
    fates = await session.at.ledger.write(GIVE_UP, MailsOfSession(lease=session.lease, mail_ids=tuple(lost)))
    if fates is None:
        raise LeaseLostError
    session.at.ledger.tell(fates)


async def _is_at_rest(session: "Session", known: KnownMail) -> bool:
    """Whether the mail is among the blobs; then it goes its way from there."""
    blobs = session.at.blobs
    incoming = Incoming(known.mail_id, lambda: blobs.writer(known.mail_id), spool_always=True)
    try:
        async for chunk in blobs.stream(known.mail_id):
            incoming.recall(chunk)
    except NoBlobError:
        return False
    if known.digest is not None and known.digest != incoming.digests.whole:
        return False  # damaged: it was fetched before, and was another
    session.log.warning("mail_found_at_rest", mail=known.mail_id, octets=incoming.size)
    await session.intake.adopt(known, incoming, content_of(known.mail_id, incoming.digests))
    return True


async def compared(session: "Session", pairs: Sequence[Known]) -> list[Known]:
    """Retrieve mails of earlier sessions, and return those that are still what was recorded.

    One that is another by now has an id of its own from the first octet on, and is taken custody of at once.
    """
    by_number = {pair.listed.number: pair for pair in pairs if pair.known.breaks < MAX_BREAKS}
    try:
        return [pair for pair in by_number.values() if await _is_same(session, pair)]
    except PollError as error:
        await session.note_break(by_number, error)
        raise


async def _is_same(session: "Session", pair: Known) -> bool:
    """Whether it is certain that it is the same: what the server refuses to show is left alone."""
    key = new_id()
    incoming = Incoming(key, lambda: session.at.blobs.writer(key), spool_always=True)
    try:
        async with aclosing(session.connection.retrieve([pair.listed.number], lambda _number: incoming)) as retrieving:
            async for got in retrieving:
                if got.sink is not None and incoming.digests.equal(pair.known.header_hash, pair.known.body_digest):
                    return True
                if got.sink is not None:
                    await session.intake.succeed(pair, incoming, await incoming.finish())
        return False
    finally:
        await incoming.discard()
