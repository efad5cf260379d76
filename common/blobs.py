"""The blob store as workers see it: raw mails at rest outside the queues, each under its mail id."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path


class NoBlobError(Exception):
    """There is no blob under this key: the mail must be fetched again."""


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
    def stream(self, key: str) -> AsyncIterator[bytes]:
        """Yield the blob in chunks of at most 256 KiB; raise NoBlobError."""

    @abstractmethod
    async def exists(self, key: str) -> bool:
        """Whether there is a blob under the key."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove the blob; one that isn't there is no error."""

    @abstractmethod
    async def older_than(self, seconds: int) -> list[str]:
        """Return the keys of blobs written more than `seconds` ago; unfinished ones of that age are removed."""

    @abstractmethod
    def path(self, key: str) -> Path | None:
        """Return the blob's file where it is one on this machine, else None: a Maildir may copy it without the loop."""
