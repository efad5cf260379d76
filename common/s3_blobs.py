"""The blob store on S3: one object a blob, `PREFIX/KEY`. All requests go through obstore, which only this file imports.

A large mail is uploaded while it arrives, in parts of 5 MiB, of which two are in memory; the object is there once the
last of them is. What a process that dies leaves of an upload is hidden, and a rule of the bucket removes it
(docs/blobs.md).
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError, PreconditionError
from obstore.store import S3Store

from common.blobs import CHUNK, KEY, TRIAL, BlobStore, BlobStoreError, BlobWriter, NoBlobError, StoredBlob
from common.failures import PpsError
from common.s3_address import S3Address, S3Keys, endpoint_of
from common.s3_errors import S3Place, code_of, complaint_of
from common.secrets import resolve

if TYPE_CHECKING:
    from obstore import AsyncWritableFile, GetOptions, ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config

PART: Final = 5 * 1024 * 1024
"""Octets of a part: S3 takes no smaller ones. A smaller mail is one request."""

RANGE: Final = 4 * CHUNK
"""Octets that one request reads: a target that takes a mail slowly must not hold a request open."""

CONNECT_SECONDS: Final = 5
REQUEST_SECONDS: Final = 60
"""How long one request may take, its retries left out: a part within that is 0.7 Mbit/s."""

RETRY_SECONDS: Final = 30.0
"""How long a request that failed is begun again, with a back-off: then it is for the caller to try later."""

AWAY_SECONDS: Final = 5.0
"""How long after such a failure others fail at once: a hundred jobs that each wait half a minute hold up the rest."""

ABORT_SECONDS: Final = 5.0
"""How long the parts of a mail that was cut are taken back: a session must end, and the bucket's rule removes them."""

T = TypeVar("T")


class S3Blobs(BlobStore):
    """Blobs in a bucket, for as many machines as you like. Credentials are looked up anew once they were refused."""

    def __init__(self, address: S3Address, keys: S3Keys, base: Path) -> None:
        self._address = address
        self._keys = keys
        self._base = base
        endpoint = endpoint_of(keys, os.environ)
        self.place = S3Place(bucket=address.bucket, endpoint=endpoint or "AWS")
        self._endpoint = endpoint
        self._opened: S3Store | None = None
        self._away: tuple[float, str] = (0.0, "")  # until when nothing is asked, and why

    def writer(self, key: str) -> BlobWriter:
        """See BlobStore; raises ValueError for a key that isn't a lower-case UUID."""
        if KEY.fullmatch(key) is None:
            raise ValueError(f"not a blob's key: {key!r}")
        return _S3Writer(self, key)

    async def put(self, key: str, data: bytes) -> None:
        """See BlobStore: one request."""
        if KEY.fullmatch(key) is None:
            raise ValueError(f"not a blob's key: {key!r}")
        store = await self._store()
        await self.ask("s3:PutObject", obstore.put_async(store, key, data, use_multipart=False))

    async def stream(self, key: str) -> AsyncGenerator[bytes, None]:
        """See BlobStore. Each range is a request of its own, of the object that the first one found."""
        start, size, tag = 0, 1, None
        while start < size:
            part, size, tag = await self._range(key, start, tag)
            for begin in range(0, len(part), CHUNK):
                yield part[begin : begin + CHUNK]
            start += len(part)

    async def exists(self, key: str) -> bool:
        """See BlobStore. An octet is read: the answer to HEAD can't tell a missing blob from a missing bucket."""
        try:
            await self._range(key, 0, None, length=1)
        except NoBlobError:
            return False
        return True

    async def delete(self, *keys: str) -> None:
        """See BlobStore: one request for a thousand."""
        known = [key for key in keys if KEY.fullmatch(key)]
        if known:
            store = await self._store()
            await self.ask("s3:DeleteObject", obstore.delete_async(store, known))

    async def older_than(self, seconds: int) -> list[str]:
        """See BlobStore. By the store's clock; unfinished uploads are for the bucket's rule."""
        before, found = time.time() - seconds, []
        async for batch in self._batches():
            found += [item["path"] for item in batch if item["last_modified"].timestamp() < before]
        return found

    async def stored(self) -> AsyncIterator[Sequence[StoredBlob]]:
        """See BlobStore."""
        async for batch in self._batches():
            yield [StoredBlob(key=item["path"], size=item["size"]) for item in batch]

    async def _batches(self) -> "AsyncIterator[Sequence[ObjectMeta]]":
        """Yield all objects that may be blobs."""
        batches = obstore.list(await self._store()).__aiter__()
        with contextlib.suppress(StopAsyncIteration):
            while batch := await self.ask("s3:ListBucket", batches.__anext__()):
                yield [item for item in batch if KEY.fullmatch(item["path"])]

    async def check(self) -> None:
        """See BlobStore: a small blob is written, read, listed and deleted."""
        key = str(uuid4())
        try:
            await self.put(key, TRIAL)
            await self._range(key, 0, None)
            await self.older_than(0)
            await self.delete(key)
        except NoBlobError as error:
            raise BlobStoreError(f"[service] blobs: {self.place} loses what was stored there: name another") from error

    async def upload(self, key: str) -> "AsyncWritableFile":
        """Begin an object: nothing is sent before there is a part, or its end."""
        return obstore.open_writer_async(await self._store(), key, buffer_size=PART, max_concurrency=1)

    async def ask(self, action: str, request: Awaitable[T]) -> T:
        """Return the answer to a request; raises NoBlobError and BlobStoreError."""
        try:
            return await request
        except PreconditionError as error:
            raise BlobStoreError(f"[service] blobs: a blob in {self.place} was replaced while it was read") from error
        except (BaseError, OSError) as error:
            if code_of(error) == "NoSuchKey":
                raise NoBlobError("there is no such object") from error
            complaint = complaint_of(error, self.place, action)
            if complaint.lasting:
                self._opened = None  # the next request looks its credentials up anew
            if complaint.away:
                self._away = (asyncio.get_running_loop().time() + AWAY_SECONDS, complaint.text)
            raise BlobStoreError(complaint.text, lasting=complaint.lasting) from error

    async def _range(
        self, key: str, start: int, tag: str | None, *, length: int = RANGE
    ) -> tuple[bytes, int, str | None]:
        """Return octets from `start` on, the size of the whole, and what tells it from another of this key."""
        if KEY.fullmatch(key) is None:
            raise NoBlobError(key)
        store = await self._store()
        options: GetOptions = {"range": (start, start + length)}
        if tag is not None:
            options["if_match"] = tag
        try:
            found = await self.ask("s3:GetObject", obstore.get_async(store, key, options=options))
            octets = await self.ask("s3:GetObject", found.bytes_async())
        except BlobStoreError as error:
            if isinstance(error.__cause__, Exception) and code_of(error.__cause__) == "InvalidRange" and not start:
                return b"", 0, None  # an empty blob has no first octet
            raise
        return bytes(octets), found.meta["size"], found.meta["e_tag"]

    async def _store(self) -> S3Store:
        until, why = self._away
        if asyncio.get_running_loop().time() < until:
            raise BlobStoreError(why)
        if self._opened is None:
            try:
                self._opened = await self._open()
            except PpsError as error:
                raise BlobStoreError(f"[service] {error}", lasting=True) from error
        return self._opened

    async def _open(self) -> S3Store:
        config: S3Config = {}
        if self._endpoint is not None:
            config["endpoint"] = self._endpoint
        if self._keys.blobs_region is not None:
            config["region"] = self._keys.blobs_region
        if self._keys.blobs_access_key is not None:
            config["access_key_id"] = await self._secret("blobs_access_key", self._keys.blobs_access_key)
        if self._keys.blobs_secret_key is not None:
            config["secret_access_key"] = await self._secret("blobs_secret_key", self._keys.blobs_secret_key)
        client: ClientConfig = {
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "timeout": timedelta(seconds=REQUEST_SECONDS),
            "allow_http": self._endpoint is not None and self._endpoint.startswith("http://"),
        }
        if self._keys.blobs_ca is not None:
            client["root_certificate"] = await asyncio.to_thread(_certificates, Path(self._keys.blobs_ca))
        retry: RetryConfig = {"retry_timeout": timedelta(seconds=RETRY_SECONDS)}
        try:
            return S3Store(
                self._address.bucket,
                prefix=self._address.prefix or None,
                config=config,
                client_options=client,
                retry_config=retry,
            )
        except (ValueError, BaseError) as error:
            raise PpsError(
                f"blobs: {self.place} can't be used: check the blobs_… keys and the AWS_… variables"
            ) from error

    async def _secret(self, key: str, reference: str) -> str:
        try:
            return (await resolve(reference, base=self._base)).reveal()
        except PpsError as error:
            raise PpsError(f"{key}: {error}") from error


def _certificates(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PpsError(f"blobs_ca: can't read {path}: {error.strerror}") from error


class _S3Writer(BlobWriter):
    """One object on its way."""

    def __init__(self, store: S3Blobs, key: str) -> None:
        self._store = store
        self._key = key
        self._upload: AsyncWritableFile | None = None
        self._closing: asyncio.Task[None] | None = None
        self._done = False

    async def write(self, chunk: bytes) -> None:
        upload = await self._begun()
        await self._store.ask("s3:PutObject", upload.write(chunk))

    async def commit(self) -> None:
        upload = await self._begun()
        self._done = True
        # Broken off midway, an upload's parts would stay: a cancellation leaves it to come to its end.
        self._closing = asyncio.create_task(self._store.ask("s3:PutObject", upload.close()))
        await asyncio.shield(self._closing)

    async def discard(self) -> None:
        if self._closing is not None:
            await asyncio.wait({self._closing})
            self._closing.exception()  # raised by commit, unless that was cancelled
        elif self._upload is not None and not self._done:
            self._done = True
            await _abort(self._upload)

    async def _begun(self) -> "AsyncWritableFile":
        if self._done:
            raise ValueError("this blob is finished")
        if self._upload is None:
            self._upload = await self._store.upload(self._key)
        return self._upload


async def _abort(upload: "AsyncWritableFile") -> None:
    with contextlib.suppress(BaseError, OSError, TimeoutError):
        async with asyncio.timeout(ABORT_SECONDS):
            await upload.__aexit__(asyncio.CancelledError, None, None)  # the one call that takes an upload back
