"""One mail on its way in: its octets, digests and header as they arrive, in memory while small, else into a blob.

Octets are counted, hashed and stored as they came; nothing is decoded.
"""

import time
from collections.abc import Callable
from typing import Final

from common.blobs import BlobWriter
from common.messages import MAX_HEADER, MAX_INLINE, Blob, Content, Inline
from fetcher.digests import Digests

GATHERED: Final = 256 * 1024
"""Octets for one write to a blob, which is a step to a thread and back: what comes in one piece is often far less."""


class Incoming:
    """A sink for one raw mail. After `finish`, digests and content are known; until then nothing is kept for good."""

    def __init__(self, key: str, open_blob: Callable[[], BlobWriter], *, spool_always: bool) -> None:
        self.digests = Digests()
        self.fetched_at = int(time.time() * 1000)  # for people; the ledger has its own clock
        self.key = key
        self._open_blob = open_blob
        self._inline_limit = -1 if spool_always else MAX_INLINE
        self._kept = bytearray()  # the mail so far, while it is small; then what was not written yet
        self._writer: BlobWriter | None = None

    @property
    def size(self) -> int:
        """Octets so far."""
        return self.digests.size

    async def write(self, chunk: bytes) -> None:
        """Take the next octets of the mail; raises OSError."""
        self.digests.add(chunk)
        self._kept += chunk
        if self.size <= self._inline_limit:
            return
        if self._writer is None:
            self._writer = self._open_blob()
        if len(self._kept) >= GATHERED:
            await self._flush()

    async def finish(self) -> Content:
        """Return the whole mail as content; a blob is durable then. Raises OSError."""
        if self._writer is None and self.size <= self._inline_limit:
            return Inline(data=bytes(self._kept), header_length=len(self.digests.header))
        if self._writer is None:  # an empty mail that must be a blob
            self._writer = self._open_blob()
        await self._flush()
        await self._writer.commit()
        return content_of(self.key, self.digests)

    async def _flush(self) -> None:
        if self._writer is not None and self._kept:
            await self._writer.write(bytes(self._kept))
            self._kept.clear()

    async def discard(self) -> None:
        """Keep nothing of it; after `finish` this changes nothing."""
        if self._writer is not None:
            await self._writer.discard()


def content_of(key: str, digests: Digests) -> Blob:
    """Return what travels in the place of a mail that is at rest under this key."""
    header = digests.header
    return Blob(key=key, size=digests.size, header=header[:MAX_HEADER], header_cut=len(header) > MAX_HEADER)
