"""A mass of new UIDLs whose mails are known: the server has renumbered its mailbox, and nobody wants all of it again.

It is seen only in mailboxes that keep mail: many UIDLs are new, many known mails are gone that we didn't delete, and
TOP shows the headers of the gone under the new names. What to do is the profile's `new_uidls`; by default, to stop.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from common.failures import PollError, PollResult
from common.ledger import LeaseLostError, reading
from common.ledger.fetching import ADOPT, Adoption
from common.ledger.records import KnownMail, ListedMail, MailState
from common.profile import NewUidls
from fetcher.digests import header_hash

if TYPE_CHECKING:
    from fetcher.session import Session

MASS: Final = 10
"""New mails, and gone ones, below which nothing is suspected: fewer may come twice."""

SAMPLE: Final = 30
"""New mails whose headers are looked at before a profile stops."""


async def adopted(session: "Session", listing: Sequence[ListedMail], known: Mapping[bytes, KnownMail]) -> bool:
    """Return whether new mails were known ones, and took their rows; raises PollError to stop the profile."""
    fresh = [mail for mail in listing if mail.uidl_key in known and _is_fresh(known[mail.uidl_key])]
    profile, read = session.lease.profile, session.at.ledger.read
    if profile.new_uidls is NewUidls.FETCH or len(fresh) < MASS:
        return False
    if await read(lambda c: reading.vanished_undeleted(c, profile.mailbox)) < MASS:
        return False
    looked_at = fresh if profile.new_uidls is NewUidls.ADOPT else fresh[:SAMPLE]
    pairs = await _pairs(session, looked_at, known)
    if len(pairs) * 2 < min(len(looked_at), MASS):
        return False
    if profile.new_uidls is NewUidls.PAUSE:
        raise PollError(
            PollResult.PAUSED,
            f"{profile.server}: it seems to have renumbered its mailbox: {len(pairs)} of {len(looked_at)} mails under "
            'new UIDLs are known: new_uidls = "adopt" takes them for those, "fetch" fetches them again',
        )
    if not await session.at.ledger.write(ADOPT, Adoption(lease=session.lease, pairs=tuple(pairs.items()))):
        raise LeaseLostError
    session.log.warning("uidls_adopted", mails=len(pairs))
    return True


def _is_fresh(known: KnownMail) -> bool:
    return known.state is MailState.LISTED and known.digest is None


async def _pairs(session: "Session", fresh: Sequence[ListedMail], known: Mapping[bytes, KnownMail]) -> dict[str, str]:
    """Return by id of each new mail the id of a gone one with the same header."""
    headers = await session.connection.tops([mail.number for mail in fresh])
    hashes = {mail.number: header_hash(header) for mail in fresh if (header := headers[mail.number]) is not None}
    mailbox = session.lease.profile.mailbox
    recorded = await session.at.ledger.read(lambda c: reading.recorded_with_headers(c, mailbox, set(hashes.values())))
    gone: dict[bytes, list[str]] = {}
    for old in sorted(recorded, key=lambda old: old.mail_id, reverse=True):
        if old.gone and old.state is not MailState.DELETED:
            gone.setdefault(old.header_hash, []).append(old.mail_id)
    pairs: dict[str, str] = {}
    for mail in fresh:
        candidates = gone.get(hashes.get(mail.number, b""))
        if candidates:
            pairs[known[mail.uidl_key].mail_id] = candidates.pop()
    return pairs
