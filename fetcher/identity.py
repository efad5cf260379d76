"""What a mail is known by: its UIDL; where that is missing, blank or repeated, the hash of its header.

A key made from content begins with NUL, which no UIDL holds (RFC 1939, section 7: 0x21 to 0x7E). A mail keeps the key
that it was first recorded under, whatever becomes of its UIDL: under a new one it would be delivered again.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from common.failures import PollError, PollResult
from common.ledger.reading import Recorded
from common.ledger.records import KnownMail, ListedMail, MailState
from fetcher.connection import Connection
from fetcher.digests import header_hash
from fetcher.pop3 import Listed

CONTENT_KEY: Final = b"\0header:"
CONTENT_KEYS_END: Final = b"\0header;"
"""The first key after all that are made from content."""

NO_UIDL: Final = b""
"""What is recorded as the UIDL of a mail that had none."""

Recall = Callable[[Collection[bytes]], Awaitable[Sequence[Recorded]]]
"""Returns the mails of the mailbox that were recorded with one of these header hashes."""


async def identify(
    connection: Connection,
    listing: Sequence[Listed],
    *,
    doubted: Collection[bytes],
    strange: Collection[bytes] = (),
    recall: Recall,
) -> tuple[ListedMail, ...]:
    """Return the listed mails with the keys they are known by; raises PollError.

    `doubted` are UIDLs that named several mails before. `strange` are new UIDLs in a mailbox with mails that had none:
    they may be the names of those. A mail that has neither a UIDL of its own nor a TOP is left out, and stays on the
    server.
    """
    seen = Counter(mail.uidl for mail in listing)
    own = {m.number: m.uidl for m in listing if m.uidl and seen[m.uidl] == 1 and m.uidl not in doubted}
    keys = {number: uidl for number, uidl in own.items() if uidl not in strange}
    doubtful = [mail.number for mail in listing if mail.number not in keys]
    if doubtful:
        headers = await connection.tops(doubtful)
        hashes = {number: header_hash(header) for number, header in headers.items() if header is not None}
        keys |= _keys_by_content(hashes, await recall(set(hashes.values())), taken=set(keys.values()), own=own)
        keys = own | keys
    if listing and not keys:
        raise PollError(
            PollResult.PROTOCOL,
            f"{connection.server}: it gives mails neither unique UIDLs nor TOP: they can't be told apart",
        )
    return tuple(
        ListedMail(number=mail.number, uidl_key=keys[mail.number], uidl=mail.uidl or b"", size=mail.size)
        for mail in listing
        if mail.number in keys
    )


def _keys_by_content(
    hashes: Mapping[int, bytes], recorded: Sequence[Recorded], *, taken: set[bytes], own: Mapping[int, bytes]
) -> dict[int, bytes]:
    """Give each mail the key of one that was recorded with its header, those on the server first; else a new one.

    Whoever has a UIDL of its `own` takes only the key of a mail that had none, else its UIDL.
    What was deleted lends nobody its key: an equal mail that came later would be deleted undelivered.
    """
    lent: dict[bytes, list[bytes]] = {}
    spent = set(taken)
    for mail in sorted(recorded, key=lambda mail: (mail.gone, mail.uidl_key)):
        spent.add(mail.uidl_key)
        if mail.uidl_key not in taken and not (mail.gone and mail.state is MailState.DELETED):
            lent.setdefault(mail.header_hash, []).append(mail.uidl_key)
    keys: dict[int, bytes] = {}
    for number, hashed in sorted(hashes.items()):
        old = [key for key in lent.get(hashed, ()) if number not in own or key.startswith(CONTENT_KEY)]
        if old:
            lent[hashed].remove(old[0])
        keys[number] = old[0] if old else own.get(number) or _new_key(hashed, spent)
    return keys


def _new_key(hashed: bytes, spent: set[bytes]) -> bytes:
    count = 1
    while (key := CONTENT_KEY + hashed + b":%d" % count) in spent:
        count += 1
    spent.add(key)
    return key


def is_trusted(mail: KnownMail) -> bool:
    """Whether the server itself names the mail: else it is deleted only in the session that retrieved it."""
    return not mail.uidl_key.startswith(CONTENT_KEY)
