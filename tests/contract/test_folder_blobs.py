"""What a blob store in a folder promises beyond the contract: its files, their modes, and what they cost."""

import asyncio
import os
import resource
import select
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.config import Service
from common.connect import open_blobs
from common.folder_blobs import THREADS, FolderBlobs
from tests.command import ROOT
from tests.contract.blob_places import KEY, MAIL, OTHER, content


@pytest.fixture
def store(tmp_path: Path) -> FolderBlobs:
    """Make a store in a folder that isn't there yet."""
    store = open_blobs(Service(), tmp_path)
    assert isinstance(store, FolderBlobs)
    return store


def files(folder: Path) -> list[str]:
    """Return the paths of all files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def open_files() -> list[Path]:
    """Return what this process has open."""
    return [descriptor.resolve() for descriptor in Path("/proc/self/fd").iterdir()]


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


async def test_older_than_sweeps_what_was_never_finished(store: FolderBlobs, tmp_path: Path) -> None:
    """A crash leaves an unfinished file, and it doesn't stay for ever; young ones may still be written."""
    await store.put(KEY, MAIL)
    young, old = store.writer(KEY), store.writer(OTHER)
    await young.write(MAIL)
    await old.write(MAIL)
    (unfinished,) = (tmp_path / "blobs" / "tmp").glob(f"{OTHER}*")
    os.utime(unfinished, (0, 0))
    assert await store.older_than(3600) == []
    assert [name for name in files(tmp_path / "blobs" / "tmp") if name.startswith(OTHER)] == []
    await young.commit()
    assert await content(store, KEY) == MAIL


async def test_a_full_disk_is_told_and_leaves_nothing(store: FolderBlobs, tmp_path: Path) -> None:
    """No ack, no delete follows from it: the caller gets OSError, and an earlier blob stays whole."""
    await store.put(KEY, b"earlier")
    with full_disk(4096), pytest.raises(OSError, match="File too large"):
        await store.put(KEY, bytes(100_000))
    assert files(tmp_path) == [f"blobs/5a/{KEY}"]
    assert await content(store, KEY) == b"earlier"


async def test_a_stream_that_is_given_up_while_it_opens_leaves_no_file_open(store: FolderBlobs) -> None:
    """A pipe stands for a disk that is slow to open: it tells when nobody has it open for reading any more."""
    path = store.path(KEY)
    assert path is not None
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    reading = asyncio.ensure_future(content(store, KEY))
    await asyncio.sleep(0)
    await store.exists(OTHER)  # which waited in the same queue: a thread is at the pipe by now

    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    writing = await asyncio.to_thread(os.open, path, os.O_WRONLY)
    ended = select.poll()
    ended.register(writing, 0)
    assert await asyncio.to_thread(ended.poll, 10_000) == [(writing, select.POLLERR)]
    os.close(writing)


async def test_who_is_cancelled_as_a_stream_closes_leaves_no_file_open(store: FolderBlobs) -> None:
    """As a worker is that stops: all threads are busy, so that the closing waits for one."""
    await store.put(KEY, MAIL)
    stream = store.stream(KEY)
    await anext(stream)
    go_on = threading.Event()
    busy = [asyncio.ensure_future(store.in_thread(go_on.wait)) for _ in range(THREADS)]
    closing = asyncio.create_task(stream.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing

    go_on.set()
    await asyncio.gather(*busy, store.exists(KEY))
    assert store.path(KEY) not in open_files()


@pytest.mark.parametrize("key", ["", "../../etc/passwd", KEY.upper(), KEY + "\n", KEY[:-1] + "/", "." * 36])
def test_only_a_uuid_is_a_file_s_name(store: FolderBlobs, key: str) -> None:
    """Keys come with messages."""
    assert store.path(key) is None


async def test_a_blob_is_a_file_of_its_octets(store: FolderBlobs) -> None:
    """Whoever mends things by hand finds the mail as it came."""
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


def test_a_folder_pays_nothing_for_s3() -> None:
    """Its library is imported only where blobs lie there."""
    program = (
        "import sys; from pathlib import Path; from common.config import Service; "
        "from common.connect import open_blobs; open_blobs(Service(), Path()); print('obstore' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True)
    assert ran.stdout == b"False\n"


def test_an_absolute_folder_stands_for_itself(tmp_path: Path) -> None:
    """`file:/var/lib/pps/blobs` and `file:///var/lib/pps/blobs` are the same; only relative ones follow the config."""
    for url in (f"file:{tmp_path}/b", f"file://{tmp_path}/b"):
        store = open_blobs(Service(blobs=url), Path("/elsewhere"))
        assert isinstance(store, FolderBlobs)
        assert store.path(KEY) == tmp_path / "b" / "5a" / KEY
