"""What a mail is known by: its UIDL; where that is missing, blank or repeated, the hash of its header.

A key made from content begins with NUL, which no UIDL holds (RFC 1939, section 7: 0x21 to 0x7E).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from common.failures import PollError, PollResult
from common.ledger.records import KnownMail, ListedMail
from fetcher.connection import Connection
from fetcher.digests import header_hash
from fetcher.pop3 import Listed

CONTENT_KEY: Final = b"\0header:"


async def identify(connection: Connection, listing: Sequence[Listed]) -> tuple[ListedMail, ...]:
    """Return the listed mails with the keys they are known by; raises PollError.

    A mail that has neither a UIDL of its own nor a TOP is left out, and stays on the server.
    """
    seen = Counter(mail.uidl for mail in listing)
    doubtful = {mail.number for mail in listing if not mail.uidl or seen[mail.uidl] > 1}
    headers = await connection.tops(sorted(doubtful)) if doubtful else {}
    occurrences: Counter[bytes] = Counter()
    named = []
    for mail in listing:
        key = mail.uidl or b""
        if mail.number in doubtful:
            header = headers[mail.number]
            if header is None:
                continue
            key = CONTENT_KEY + header_hash(header)
            occurrences[key] += 1
            key += b":%d" % occurrences[key]
        named.append(ListedMail(number=mail.number, uidl_key=key, uidl=mail.uidl or b"", size=mail.size))
    if listing and not named:
        raise PollError(
            PollResult.PROTOCOL,
            f"{connection.server}: it gives mails neither unique UIDLs nor TOP: they can't be told apart",
        )
    return tuple(named)


def is_trusted(mail: KnownMail) -> bool:
    """Whether the server itself names the mail: else it is deleted only in the session that retrieved it."""
    return not mail.uidl_key.startswith(CONTENT_KEY)
