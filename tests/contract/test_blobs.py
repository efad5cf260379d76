"""What workers may rely on from a blob store, and what a store in a folder promises besides."""

import asyncio
import os
import resource
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.blobs import NoBlobError
from common.connect import open_blobs
from common.failures import UsageError
from common.folder_blobs import CHUNK, FolderBlobs

KEY = "0198c1f2-7d1e-7a51-bb2e-0f6ac1e0d35a"
OTHER = "0198c1f2-7d1e-7a51-bb2e-0f6ac1e0d35b"
MAIL = b"Subject: x\r\n\r\n\x00\xff raw\r\n"


@pytest.fixture
def store(tmp_path: Path) -> FolderBlobs:
    """Make a store in a folder that isn't there yet."""
    store = open_blobs("file:./blobs", tmp_path)
    assert isinstance(store, FolderBlobs)
    return store


async def content(store: FolderBlobs, key: str) -> bytes:
    """Return a blob whole."""
    return b"".join([chunk async for chunk in store.stream(key)])


def files(folder: Path) -> list[str]:
    """Return the paths of all files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@contextmanager
def full_disk(octets: int) -> Iterator[None]:
    """Have the kernel refuse to let any file grow beyond `octets`, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


async def test_what_is_put_comes_back_octet_for_octet(store: FolderBlobs) -> None:
    """Raw mail is never changed, and exists once put."""
    assert not await store.exists(KEY)
    await store.put(KEY, MAIL)
    assert await store.exists(KEY)
    assert await content(store, KEY) == MAIL


async def test_an_empty_blob_is_a_blob(store: FolderBlobs) -> None:
    """A mail of no octets is odd, and not missing."""
    await store.put(KEY, b"")
    assert await content(store, KEY) == b""


async def test_a_large_blob_streams_in_bounded_chunks(store: FolderBlobs) -> None:
    """30 MB of mail never stand in memory at once."""
    large = os.urandom(CHUNK * 3 + 17)
    writer = store.writer(KEY)
    for start in range(0, len(large), 100_000):
        await writer.write(large[start : start + 100_000])
    await writer.commit()
    chunks = [chunk async for chunk in store.stream(KEY)]
    assert [len(chunk) for chunk in chunks] == [CHUNK, CHUNK, CHUNK, 17]
    assert b"".join(chunks) == large


async def test_nothing_is_visible_before_commit(store: FolderBlobs) -> None:
    """A mail that was cut must never look like a whole one."""
    writer = store.writer(KEY)
    await writer.write(MAIL)
    assert not await store.exists(KEY)
    with pytest.raises(NoBlobError):
        await content(store, KEY)
    await writer.commit()
    assert await store.exists(KEY)


async def test_a_discarded_blob_leaves_nothing(store: FolderBlobs, tmp_path: Path) -> None:
    """Neither a blob nor a file; discarding after commit does nothing."""
    writer = store.writer(KEY)
    await writer.write(MAIL)
    await writer.discard()
    assert files(tmp_path) == []
    await store.put(KEY, MAIL)
    assert await content(store, KEY) == MAIL


async def test_a_later_blob_replaces_an_earlier_one(store: FolderBlobs) -> None:
    """A mail that is fetched again has the bytes of the last fetch."""
    await store.put(KEY, b"first")
    await store.put(KEY, b"second")
    assert await content(store, KEY) == b"second"


async def test_two_writers_of_one_key_don_t_mix(store: FolderBlobs) -> None:
    """Each writes its own file; the last commit stands."""
    first, second = store.writer(KEY), store.writer(KEY)
    await first.write(b"aaaa")
    await second.write(b"bb")
    await second.commit()
    await first.commit()
    assert await content(store, KEY) == b"aaaa"


async def test_a_missing_blob_is_told_from_an_unreachable_store(store: FolderBlobs) -> None:
    """NoBlobError means: fetch again; deleting what isn't there is no error."""
    with pytest.raises(NoBlobError):
        await content(store, KEY)
    await store.delete(KEY)
    await store.put(KEY, MAIL)
    await store.delete(KEY)
    assert not await store.exists(KEY)


async def test_older_than_lists_old_blobs_and_sweeps_old_unfinished_ones(store: FolderBlobs, tmp_path: Path) -> None:
    """A crash leaves an unfinished file, and it doesn't stay for ever; young ones may still be written."""
    await store.put(KEY, MAIL)
    await store.put(OTHER, MAIL)
    young, old = store.writer(KEY), store.writer(OTHER)
    await young.write(MAIL)
    await old.write(MAIL)
    (unfinished,) = (tmp_path / "blobs" / "tmp").glob(f"{OTHER}*")
    for path in (unfinished, store.path(OTHER)):
        assert path is not None
        os.utime(path, (0, 0))
    assert await store.older_than(3600) == [OTHER]
    assert [name for name in files(tmp_path / "blobs" / "tmp") if name.startswith(OTHER)] == []
    await young.commit()
    assert await content(store, KEY) == MAIL


async def test_an_empty_store_has_nothing_old(store: FolderBlobs) -> None:
    """Even its folder need not be there."""
    assert await store.older_than(0) == []


async def test_a_full_disk_is_told_and_leaves_nothing(store: FolderBlobs, tmp_path: Path) -> None:
    """No ack, no delete follows from it: the caller gets OSError, and an earlier blob stays whole."""
    await store.put(KEY, b"earlier")
    with full_disk(4096), pytest.raises(OSError, match="File too large"):
        await store.put(KEY, bytes(100_000))
    assert files(tmp_path) == [f"blobs/5a/{KEY}"]
    assert await content(store, KEY) == b"earlier"


async def test_a_cancelled_write_leaves_nothing(store: FolderBlobs, tmp_path: Path) -> None:
    """A session that breaks amid a mail takes its unfinished blob along, while a thread may still be writing it."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await store.put(KEY, bytes(10_000_000))
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "key", ["", "../../etc/passwd", KEY.upper(), KEY + "\n", KEY[:-1] + "/", "." * 36, KEY.replace("-", "/")]
)
async def test_only_a_uuid_becomes_a_path(store: FolderBlobs, key: str) -> None:
    """Keys come with messages: nothing from outside may name a file."""
    with pytest.raises(ValueError, match="not a blob's key"):
        store.writer(key)
    with pytest.raises(NoBlobError):
        await content(store, key)
    assert not await store.exists(key)
    await store.delete(key)
    assert store.path(key) is None


async def test_path_is_the_blob_s_file(store: FolderBlobs) -> None:
    """A Maildir copies it without going through the loop."""
    await store.put(KEY, MAIL)
    path = store.path(KEY)
    assert path is not None
    assert path.read_bytes() == MAIL


async def test_mail_is_nobody_else_s_to_read(store: FolderBlobs, tmp_path: Path) -> None:
    """Files are 0600 and folders 0700."""
    await store.put(KEY, MAIL)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "blobs").rglob("*") if path.is_dir()}
    assert modes | {stat.S_IMODE((tmp_path / "blobs").stat().st_mode)} == {0o700}
    path = store.path(KEY)
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_blob_costs_two_fsyncs(store: FolderBlobs) -> None:
    """The file's and the folder's: less wouldn't survive a power cut, more is waste. A new folder costs one more."""
    await store.put(KEY, MAIL)
    before = store.fsyncs
    await store.put(KEY, MAIL)
    assert store.fsyncs == before + 2
    await store.put(OTHER, MAIL)
    assert store.fsyncs == before + 5


async def test_blobs_written_at_one_time_are_all_there(store: FolderBlobs) -> None:
    """Threads that make the same folders don't disturb each other."""
    keys = [f"{n:08x}-0000-7000-8000-{n % 16:012x}" for n in range(200)]
    await asyncio.gather(*(store.put(key, key.encode()) for key in keys))
    assert [await content(store, key) for key in keys] == [key.encode() for key in keys]


@pytest.mark.parametrize("url", ["file:", "file://host/blobs", "blobs", "http://pps:secret@x/y", "file:./b?x=1"])
def test_a_wrong_url_names_its_key(url: str, tmp_path: Path) -> None:
    """One line, and no secret in it."""
    with pytest.raises(UsageError, match=r"^\[service\] blobs: ") as failure:
        open_blobs(url, tmp_path)
    assert "secret" not in str(failure.value)


def test_an_absolute_folder_stands_for_itself(tmp_path: Path) -> None:
    """`file:/var/lib/pps/blobs` and `file:///var/lib/pps/blobs` are the same; only relative ones follow the config."""
    for url in (f"file:{tmp_path}/b", f"file://{tmp_path}/b"):
        path = open_blobs(url, Path("/elsewhere")).path(KEY)
        assert path == tmp_path / "b" / "5a" / KEY
