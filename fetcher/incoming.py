"""One mail on its way in: its octets, digests and header as they arrive, in memory while small, else into a blob.

Octets are counted, hashed and stored as they came; nothing is decoded.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from common.blobs import BlobWriter
from common.messages import MAX_HEADER, MAX_INLINE, Blob, Content, Inline
from fetcher.digests import Digests

GATHERED: Final = 256 * 1024
"""Octets for one write to a blob, which is a step to a thread and back: what comes in one piece is often far less."""


class Incoming:
    """A sink for one raw mail. After `end` its digests are known, after `finish` its content; else nothing is kept.

    What a large mail brings is hashed and written in threads, one piece behind the other, while more of it is read.
    """

    def __init__(self, key: str, open_blob: Callable[[], BlobWriter], *, spool_always: bool) -> None:
        self.digests = Digests()
        self.size = 0  # octets so far
        self.fetched_at = int(time.time() * 1000)  # for people; the ledger has its own clock
        self.key = key
        self._open_blob = open_blob
        self._inline_limit = -1 if spool_always else MAX_INLINE
        self._kept = bytearray()  # the mail so far, while it is small; then what was not stored yet
        self._writer: BlobWriter | None = None
        self._storing: asyncio.Task[None] | None = None

    async def write(self, chunk: bytes) -> None:
        """Take the next octets of the mail; raises OSError."""
        self.size += len(chunk)
        self._kept += chunk
        if self.size > self._inline_limit and len(self._kept) >= GATHERED:
            await self._store()

    async def end(self) -> None:
        """Nothing more comes: the digests are those of the whole mail. Raises OSError."""
        if self.size <= self._inline_limit:
            self.digests.add(bytes(self._kept))
            return
        await self._store()
        await self._stored()

    async def finish(self) -> Content:
        """Return the whole mail, that has come to its end, as content; a blob is durable then. Raises OSError."""
        if self._writer is None:
            return Inline(data=bytes(self._kept), header_length=len(self.digests.header))
        await self._writer.commit()
        return content_of(self.key, self.digests)

    def recall(self, chunk: bytes) -> None:
        """Take the next octets of a mail that is a blob already."""
        self.size += len(chunk)
        self.digests.add(chunk)

    async def discard(self) -> None:
        """Keep nothing of it; after `finish` this changes nothing."""
        if self._storing is not None:
            await asyncio.wait({self._storing})
            if not self._storing.cancelled():
                self._storing.exception()  # raised to who went on; nobody else hears of it
        if self._writer is not None:
            await self._writer.discard()

    async def _store(self) -> None:
        """Begin to hash and write what was kept, once the piece before is stored: at most one is under way."""
        await self._stored()
        writer = self._writer = self._writer or self._open_blob()
        octets, self._kept = bytes(self._kept), bytearray()
        self._storing = asyncio.create_task(self._store_piece(writer, octets))

    async def _store_piece(self, writer: BlobWriter, octets: bytes) -> None:
        hashing = asyncio.to_thread(self.digests.add, octets)
        await asyncio.gather(hashing, writer.write(octets))

    async def _stored(self) -> None:
        if self._storing is not None:
            await asyncio.shield(self._storing)


def content_of(key: str, digests: Digests) -> Blob:
    """Return what travels in the place of a mail that is at rest under this key."""
    header = digests.header
    return Blob(key=key, size=digests.size, header=header[:MAX_HEADER], header_cut=len(header) > MAX_HEADER)
