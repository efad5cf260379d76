"""The blob store in a folder: `<root>/<last two characters of the key>/<key>`, written under `<root>/tmp/` before.

All file work is done in this store's own threads: an fsync that takes long must hold up neither the loop nor, in the
default executor, everybody's name look-ups.
"""

import asyncio
import contextlib
import os
import re
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final, ParamSpec, TypeVar
from uuid import uuid4

from common.blobs import CHUNK, KEY, BlobStore, BlobWriter, NoBlobError, StoredBlob

THREADS: Final = 8
"""Enough for fsyncs to overlap, which file systems turn into one journal commit."""

_SHARD: Final = re.compile(r"[0-9a-f]{2}")
_UNFINISHED: Final = "tmp"
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700

P = ParamSpec("P")
T = TypeVar("T")


class FolderBlobs(BlobStore):
    """Blobs as files, for one machine. `fsyncs` counts calls, for cost ceilings."""

    def __init__(self, root: Path) -> None:
        self.fsyncs = 0
        self._root = root
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self._counting = threading.Lock()
        self._durable: set[Path] = set()  # folders whose own entry is known to be on disk

    def writer(self, key: str) -> BlobWriter:
        """See BlobStore; raises ValueError for a key that isn't a lower-case UUID."""
        path = self.path(key)
        if path is None:
            raise ValueError(f"not a blob's key: {key!r}")
        return _FolderWriter(self, path, self._root / _UNFINISHED / f"{key}.{uuid4().hex}")

    async def stream(self, key: str) -> AsyncGenerator[bytes, None]:
        """See BlobStore."""
        file = await self._opened(key)
        try:
            while chunk := await self.in_thread(file.read, CHUNK):
                yield chunk
        finally:
            # Waits, in its thread, for a read that was cancelled; who is cancelled again must not take it back.
            await asyncio.shield(asyncio.wrap_future(self._threads.submit(file.close)))

    async def exists(self, key: str) -> bool:
        """See BlobStore."""
        path = self.path(key)
        return path is not None and await self.in_thread(path.exists)

    async def delete(self, *keys: str) -> None:
        """See BlobStore. Without fsync: a blob that a crash brings back is swept later."""
        paths = [path for path in map(self.path, keys) if path is not None]
        if paths:
            await self.in_thread(_unlink, paths)

    async def older_than(self, seconds: int) -> list[str]:
        """See BlobStore."""
        return await self.in_thread(self._sweep, time.time() - seconds)

    async def free(self) -> int:
        """See BlobStore."""
        return await self.in_thread(self._free)

    async def octets(self) -> int:
        """See BlobStore."""
        return await self.in_thread(self._octets)

    async def stored(self) -> AsyncIterator[Sequence[StoredBlob]]:
        """See BlobStore."""
        for shard in await self.in_thread(self._shards):
            yield await self.in_thread(self._stored_in, shard)

    def path(self, key: str) -> Path | None:
        """Return where a blob lies; what isn't a lower-case UUID never becomes a path."""
        return self._root / key[-2:] / key if KEY.fullmatch(key) else None

    async def in_thread(self, work: Callable[P, T], *arguments: P.args, **_none: P.kwargs) -> T:
        """Run file work in one of the store's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def make_durable(self, folder: Path) -> None:
        """Make a folder with its own entry on disk; one that is there may be another thread's, not synced yet."""
        if folder in self._durable and folder.is_dir():
            return
        if folder != self._root:
            self.make_durable(self._root)
        folder.mkdir(mode=_FOLDER_MODE, parents=folder == self._root, exist_ok=True)
        self.sync_folder(folder.parent)
        self._durable.add(folder)

    def sync_folder(self, folder: Path) -> None:
        """Have the folder's entries on disk."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def sync(self, descriptor: int) -> None:
        """Fsync, counted."""
        with self._counting:
            self.fsyncs += 1
        os.fsync(descriptor)

    async def _opened(self, key: str) -> IO[bytes]:
        """Open a blob; the thread of a call that is cancelled closes it again."""
        opening = self._threads.submit(self._open, key)
        try:
            return await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_result)
            raise

    def _open(self, key: str) -> IO[bytes]:
        path = self.path(key)
        if path is None:
            raise NoBlobError(key)
        try:
            return path.open("rb")
        except FileNotFoundError as error:
            raise NoBlobError(key) from error

    def _free(self) -> int:
        there = next(folder for folder in (self._root, *self._root.absolute().parents) if folder.exists())
        found = os.statvfs(there)
        return found.f_bavail * found.f_frsize

    def _octets(self) -> int:
        shards = [folder for folder in _entries(self._root) if folder.is_dir(follow_symlinks=False)]
        return sum(_size(entry) for shard in shards for entry in _entries(Path(shard.path)))

    def _sweep(self, before: float) -> list[str]:
        for entry in _files_before(self._root / _UNFINISHED, before):
            Path(entry.path).unlink(missing_ok=True)
        return [
            entry.name for shard in self._shards() for entry in _files_before(shard, before) if self.path(entry.name)
        ]

    def _shards(self) -> list[Path]:
        return [Path(folder.path) for folder in _entries(self._root) if _SHARD.fullmatch(folder.name)]

    def _stored_in(self, shard: Path) -> list[StoredBlob]:
        found = []
        for entry in _entries(shard):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                if self.path(entry.name):
                    found.append(StoredBlob(key=entry.name, size=entry.stat(follow_symlinks=False).st_size))
        return found


class _FolderWriter(BlobWriter):
    """One blob on its way. A cancelled call's thread goes on, so each step waits for the one before: the lock."""

    def __init__(self, store: FolderBlobs, path: Path, unfinished: Path) -> None:
        self._store = store
        self._path = path
        self._unfinished = unfinished
        self._descriptor: int | None = None
        self._done = False
        self._lock = threading.Lock()

    async def write(self, chunk: bytes) -> None:
        await self._store.in_thread(self._write, chunk)

    async def commit(self) -> None:
        await self._store.in_thread(self._commit)

    async def discard(self) -> None:
        if not self._done:
            await self._store.in_thread(self._discard)

    def _write(self, chunk: bytes) -> None:
        with self._lock:
            rest = memoryview(chunk)
            descriptor = self._opened()
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    def _commit(self) -> None:
        with self._lock:
            descriptor = self._opened()
            self._store.sync(descriptor)  # a crash before this line costs the blob: nothing is visible yet
            self._close()
            self._store.make_durable(self._path.parent)
            self._unfinished.replace(self._path)
            self._done = True
            self._store.sync_folder(self._path.parent)  # only now would the blob survive a power cut

    def _discard(self) -> None:
        with self._lock:
            if self._done:
                return
            self._done = True
            self._close()
            self._unfinished.unlink(missing_ok=True)

    def _opened(self) -> int:
        if self._done:
            raise ValueError("this blob is finished")
        if self._descriptor is None:
            self._store.make_durable(self._unfinished.parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._unfinished, flags, _FILE_MODE)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _close_result(opening: Future[IO[bytes]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except FileNotFoundError:
        return []


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # removed meanwhile
        return 0


def _files_before(folder: Path, before: float) -> Iterator[os.DirEntry[str]]:
    for entry in _entries(folder):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_mtime < before:
                yield entry
