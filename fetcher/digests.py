"""What a raw mail is recognised by: SHA-256 of the whole, of its header and of its body, made as the octets arrive.

The header's hash is equal for RETR and TOP, and stays equal when the server adds fields of its own.
"""

import hashlib
import re
from typing import Final

from common.header import split_header

MAX_HASHED_HEADER: Final = 1024 * 1024
"""Octets of header that are hashed, and searched for its end: beyond this, a mail is compared by what comes before."""

_ADDED: Final = re.compile(
    rb"^(?:status|x-status|x-uidl|x-uid|x-keywords|content-length|lines)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
"""Fields that servers add or change while a mail lies in the mailbox."""

_FOLDER_DATA: Final = re.compile(rb"^X-IMAP:", re.IGNORECASE | re.MULTILINE)


def header_hash(raw: bytes) -> bytes:
    """Return the SHA-256 by which a header is recognised; what follows its end, as in some replies to TOP, is left."""
    block = raw[: min(split_header(raw), MAX_HASHED_HEADER)].rstrip(b"\r\n") + b"\r\n"
    return hashlib.sha256(_ADDED.sub(b"", block)).digest()


def is_folder_data(header: bytes) -> bool:
    """Whether a mail is what UW's server keeps as the first of a mailbox: its own data, never to be deleted."""
    return _FOLDER_DATA.search(header) is not None and b"DON'T DELETE THIS MESSAGE" in header


class Digests:
    """Takes one raw mail in pieces; the digests don't depend on how it was cut."""

    def __init__(self) -> None:
        self.size = 0
        self._whole = hashlib.sha256()
        self._body = hashlib.sha256()
        self._head = bytearray()  # until the header's end is found
        self._header: bytes | None = None

    @property
    def whole(self) -> bytes:
        """SHA-256 of the raw mail."""
        return self._whole.digest()

    @property
    def body(self) -> bytes:
        """SHA-256 of what follows the header block."""
        return self._body.digest()

    @property
    def header(self) -> bytes:
        """The header block, its empty line included; a mail without one is all header."""
        return bytes(self._head) if self._header is None else self._header

    @property
    def header_hash(self) -> bytes:
        """The hash of the header block as `header_hash` makes it."""
        return header_hash(self.header)

    def equal(self, header_hash: bytes | None, body: bytes | None) -> bool:
        """Whether it is a mail on record, but for fields that servers add."""
        return (self.header_hash, self.body) == (header_hash, body)

    def add(self, chunk: bytes) -> None:
        """Take the next octets."""
        self.size += len(chunk)
        self._whole.update(chunk)
        if self._header is not None:
            self._body.update(chunk)
            return
        self._head += chunk
        end = split_header(self._head)
        if end < len(self._head) or len(self._head) > MAX_HASHED_HEADER:
            end = min(end, MAX_HASHED_HEADER)
            self._header = bytes(self._head[:end])
            self._body.update(self._head[end:])
            self._head.clear()
