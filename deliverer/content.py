"""A job's mail as a stream of chunks, from the message or the blob store, checked against its digest on the way."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from common.blobs import BlobStore, NoBlobError
from common.messages import Content, DeliveryJob, Inline

HASHED_AT_ONCE: Final = 64 * 1024
"""Octets that the event loop hashes itself: more takes longer than a step to a thread and back."""


class ContentUnavailableError(Exception):
    """The blob store can't be read now; the blob may well be there. The text is the store's."""


class ContentSource:
    """The raw mail of one job. Each call of `chunks` reads it anew, with constant memory."""

    def __init__(self, content: Content, *, digest: bytes, blobs: BlobStore) -> None:
        self._content = content
        self._digest = digest
        self._blobs = blobs

    @classmethod
    def of(cls, job: DeliveryJob, blobs: BlobStore) -> "ContentSource":
        """Return the mail of a job."""
        return cls(job.content, digest=job.digest, blobs=blobs)

    @property
    def size(self) -> int:
        """Octets of the raw mail."""
        return self._content.size

    @property
    def may_be_eight_bit(self) -> bool:
        """Whether octets over 127 must be reckoned with: known of inline mail, assumed of a blob."""
        return not (isinstance(self._content, Inline) and self._content.data.isascii())

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the mail; raise NoBlobError at the end if it isn't the mail that was fetched, else it is whole.

        Nothing may be made final, no dot sent and no file linked, before the last chunk was asked for. Also raises
        ContentUnavailableError.
        """
        digest = hashlib.sha256()
        async with aclosing(self._read()) as pieces:  # a file that is left midway is closed at once
            async for chunk in pieces:
                if len(chunk) > HASHED_AT_ONCE:
                    await asyncio.to_thread(digest.update, chunk)
                else:
                    digest.update(chunk)
                yield chunk
        if digest.digest() != self._digest:
            raise NoBlobError("the stored mail differs from the one that was fetched")

    async def _read(self) -> AsyncGenerator[bytes, None]:
        if isinstance(self._content, Inline):
            yield self._content.data
            return
        try:
            async with aclosing(self._blobs.stream(self._content.key)) as stream:
                async for chunk in stream:
                    yield chunk
        except OSError as error:
            raise ContentUnavailableError(error.strerror or type(error).__name__) from error
