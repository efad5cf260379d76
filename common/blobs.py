"""The blob store as workers see it: raw mails at rest outside the queues, each under its mail id."""

import errno
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

KEY: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
"""What a key must be: it comes with messages, and becomes a path."""

CHUNK: Final = 512 * 1024
"""The most octets of one chunk."""


TRIAL: Final = b"pps"
"""What a blob holds that only `check` writes, and that a crash may leave: no mail is that short."""


class NoBlobError(Exception):
    """There is no blob under this key: the mail must be fetched again."""


class BlobStoreError(OSError):
    """A store that can't be used now, as one line that names the key. `lasting`: until a person mends it."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(errno.EIO, reason)
        self.lasting = lasting

    def __str__(self) -> str:
        return self.strerror or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlob:
    """A blob as it lies in the store."""

    key: str
    size: int


class BlobWriter(ABC):
    """Takes one raw mail in chunks. Nothing is visible under the key before `commit`; without it nothing remains."""

    @abstractmethod
    async def write(self, chunk: bytes) -> None:
        """Take the next octets."""

    @abstractmethod
    async def commit(self) -> None:
        """Make the blob durable and visible; an earlier blob under the key is replaced."""

    @abstractmethod
    async def discard(self) -> None:
        """Forget what was written; after `commit` it does nothing."""


class BlobStore(ABC):
    """Raw mails by mail id. All methods raise OSError when the store can't be reached or is full."""

    @abstractmethod
    def writer(self, key: str) -> BlobWriter:
        """Begin a blob."""

    async def put(self, key: str, data: bytes) -> None:
        """Store `data` whole; durable and visible on return."""
        writer = self.writer(key)
        try:
            await writer.write(data)
            await writer.commit()
        finally:
            await writer.discard()

    @abstractmethod
    def stream(self, key: str) -> AsyncGenerator[bytes, None]:
        """Yield the blob in chunks of at most CHUNK octets; raise NoBlobError."""

    @abstractmethod
    async def exists(self, key: str) -> bool:
        """Whether there is a blob under the key."""

    @abstractmethod
    async def delete(self, *keys: str) -> None:
        """Remove these blobs; one that isn't there is no error."""

    @abstractmethod
    async def older_than(self, seconds: int) -> list[str]:
        """Return the keys of blobs written more than `seconds` ago; unfinished ones of that age are removed."""

    async def check(self) -> None:
        """Try all that workers do, where another machine may refuse it; raise BlobStoreError that names the key."""
        return

    async def free(self) -> int | None:
        """Return how many octets are free where blobs go; None where that has no meaning."""
        return None

    async def octets(self) -> int | None:
        """Return the octets of all blobs; None where that can't be had cheaply. Looks at each file: ask rarely."""
        return None

    @abstractmethod
    def stored(self) -> AsyncIterator[Sequence[StoredBlob]]:
        """Yield all blobs, some thousands at a time; those written or removed meanwhile may be among them or not."""
