"""The copy fingerprint: how several mails are known to be one, which the provider stored once a recipient.

Pure. It covers what a sender wrote, and leaves out what servers add on the way: Received, Return-Path, Delivered-To and
all else that differs from one stored copy to the next.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from router.headers import MAX_FIELDS, Field, message_id, unfolded

_NAMES: Final = frozenset(
    {"from", "sender", "to", "cc", "subject", "date", "message-id", "references", "mime-version", "list-id"}
)
_FAMILIES: Final = ("content-", "resent-")
_ADDED_BY_SERVERS: Final = "content-length"
"""An mbox store's own mark: it tells about the store, and the body digest covers what it counts."""


def fingerprint_of(fields: Sequence[Field], body_digest: bytes, *, header_cut: bool) -> str | None:
    """Return the fingerprint as 64 hexadecimal digits; None for a mail that is never joined with another.

    Such is a mail without Message-ID (a device that sends one alarm twice sent two mails), or one whose header is not
    known whole.
    """
    if header_cut or len(fields) > MAX_FIELDS or not message_id(fields):
        return None
    parts = [body_digest]
    for field in fields:
        if _is_covered(field.name):
            parts += (field.name.encode(), unfolded(field.value))
    # Each part follows its length, so that no value can pass for the next field.
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).hexdigest()


def _is_covered(name: str) -> bool:
    return name in _NAMES or (name.startswith(_FAMILIES) and name != _ADDED_BY_SERVERS)
