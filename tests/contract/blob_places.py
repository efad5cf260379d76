"""The blob stores that the contract is tried on, each with what shows from outside: what lies there, and its age."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from common.blobs import BlobStore
from common.config import Service
from common.connect import open_blobs
from tests.servers.fixtures_s3 import Bucket

KEY: Final = "0198c1f2-7d1e-7a51-bb2e-0f6ac1e0d35a"
OTHER: Final = "0198c1f2-7d1e-7a51-bb2e-0f6ac1e0d35b"
MAIL: Final = b"Subject: x\r\n\r\n\x00\xff raw\r\n"


class Place(Protocol):
    """A store, and the way around it."""

    @property
    def store(self) -> BlobStore:
        """The store as workers see it."""

    def left(self) -> list[str]:
        """Return all that lies there, finished or not."""

    def age(self, key: str) -> None:
        """Have a blob written long ago."""


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """A folder."""

    root: Path
    store: BlobStore = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "store", open_blobs(Service(blobs="file:./blobs"), self.root))

    def left(self) -> list[str]:
        """See Place."""
        return sorted(path.name for path in self.root.rglob("*") if path.is_file())

    def age(self, key: str) -> None:
        """See Place."""
        (path,) = self.root.rglob(key)
        os.utime(path, (0, 0))


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket."""

    bucket: Bucket
    store: BlobStore = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "store", open_blobs(Service.model_validate(self.bucket.service), Path("/nowhere")))

    def left(self) -> list[str]:
        """See Place."""
        unfinished = self.bucket.server.unfinished(self.bucket.name)
        return self.bucket.keys + ["unfinished"] * unfinished

    def age(self, key: str) -> None:
        """See Place."""
        self.bucket.age(key, 8 * 86_400)


async def content(store: BlobStore, key: str) -> bytes:
    """Return a blob whole."""
    return b"".join([chunk async for chunk in store.stream(key)])
