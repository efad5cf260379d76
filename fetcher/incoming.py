"""One mail on its way in: its octets, digests and header as they arrive, in memory while small, else into a blob.

Octets are counted, hashed and stored as they came; nothing is decoded.
"""

import hashlib
import re
import time
from collections.abc import Callable
from typing import Final

from common.blobs import BlobWriter
from common.header import split_header
from common.messages import MAX_HEADER, MAX_INLINE, Blob, Content, Inline

MAX_HASHED_HEADER: Final = 1024 * 1024
"""Octets of header that are hashed, and searched for its end: beyond this, a mail is compared by what comes before."""

_ADDED: Final = re.compile(
    rb"^(?:status|x-status|x-uidl|x-uid|x-keywords|content-length|lines)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
"""Fields that servers add or change while a mail lies in the mailbox."""


def header_hash(header: bytes) -> bytes:
    """Return the SHA-256 by which a header is recognised, equal for RETR and for TOP n 0 of one mail."""
    block = header[:MAX_HASHED_HEADER].rstrip(b"\r\n") + b"\r\n"
    return hashlib.sha256(_ADDED.sub(b"", block)).digest()


class Incoming:
    """A sink for one raw mail. After `finish`, digests and content are known; until then nothing is kept for good."""

    def __init__(self, key: str, open_blob: Callable[[], BlobWriter], *, spool_always: bool) -> None:
        self.size = 0
        self.fetched_at = int(time.time() * 1000)  # for people; the ledger has its own clock
        self._key = key
        self._open_blob = open_blob
        self._inline_limit = -1 if spool_always else MAX_INLINE
        self._hash = hashlib.sha256()
        self._body_hash = hashlib.sha256()
        self._head = bytearray()  # until the header's end is found
        self._header: bytes | None = None
        self._kept = bytearray()  # the mail so far, while it is small
        self._writer: BlobWriter | None = None

    @property
    def digest(self) -> bytes:
        """SHA-256 of the raw mail."""
        return self._hash.digest()

    @property
    def body_digest(self) -> bytes:
        """SHA-256 of what follows the header block."""
        return self._body_hash.digest()

    @property
    def header_hash(self) -> bytes:
        """The hash of the header block as `header_hash` makes it."""
        return header_hash(self._header_block())

    async def write(self, chunk: bytes) -> None:
        """Take the next octets of the mail."""
        self.size += len(chunk)
        self._hash.update(chunk)
        self._look_for_header(chunk)
        if self._writer is None and self.size <= self._inline_limit:
            self._kept += chunk
            return
        if self._writer is None:
            self._writer = self._open_blob()
            if self._kept:
                await self._writer.write(bytes(self._kept))
                self._kept.clear()
        await self._writer.write(chunk)

    async def finish(self) -> Content:
        """Return the whole mail as content; a blob is durable then. Raises OSError."""
        header = self._header_block()
        if self._writer is None and self.size <= self._inline_limit:
            return Inline(data=bytes(self._kept), header_length=len(header))
        if self._writer is None:  # an empty mail that must be a blob
            self._writer = self._open_blob()
        await self._writer.commit()
        cut = len(header) > MAX_HEADER
        return Blob(key=self._key, size=self.size, header=header[:MAX_HEADER], header_cut=cut)

    async def discard(self) -> None:
        """Keep nothing of it; after `finish` this changes nothing."""
        if self._writer is not None:
            await self._writer.discard()

    def _look_for_header(self, chunk: bytes) -> None:
        if self._header is not None:
            self._body_hash.update(chunk)
            return
        self._head += chunk
        end = split_header(self._head)
        if end < len(self._head) or len(self._head) > MAX_HASHED_HEADER:
            end = min(end, MAX_HASHED_HEADER)
            self._header = bytes(self._head[:end])
            self._body_hash.update(self._head[end:])
            self._head.clear()

    def _header_block(self) -> bytes:
        """Return the header block; a mail without an empty line is all header."""
        return bytes(self._head) if self._header is None else self._header
