"""What workers may rely on from a blob store, whatever it lies on: a folder, or a bucket on S3."""

import asyncio
import os
from pathlib import Path

import pytest

from common.blobs import CHUNK, BlobStore, NoBlobError
from common.config import Service
from common.connect import open_blobs
from common.failures import UsageError
from tests.contract.blob_places import KEY, MAIL, OTHER, FolderPlace, Place, S3Place, content


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Make each store: in a folder that isn't there yet, in an empty bucket."""
    return FolderPlace(tmp_path) if request.param == "folder" else S3Place(request.getfixturevalue("bucket"))


@pytest.fixture
def store(place: Place) -> BlobStore:
    """Return the store alone."""
    return place.store


async def test_what_is_put_comes_back_octet_for_octet(store: BlobStore) -> None:
    """Raw mail is never changed, and exists once put."""
    assert not await store.exists(KEY)
    await store.put(KEY, MAIL)
    assert await store.exists(KEY)
    assert await content(store, KEY) == MAIL


async def test_an_empty_blob_is_a_blob(store: BlobStore) -> None:
    """A mail of no octets is odd, and not missing."""
    await store.put(KEY, b"")
    assert await store.exists(KEY)
    assert await content(store, KEY) == b""


@pytest.mark.parametrize("size", [CHUNK * 3 + 17, 8 * CHUNK, 12_000_017])
async def test_a_large_blob_streams_in_bounded_chunks(store: BlobStore, size: int) -> None:
    """30 MB of mail never stand in memory at once."""
    large = os.urandom(size)
    writer = store.writer(KEY)
    for start in range(0, len(large), 100_000):
        await writer.write(large[start : start + 100_000])
    await writer.commit()
    chunks = [chunk async for chunk in store.stream(KEY)]
    assert {len(chunk) for chunk in chunks[:-1]} == {CHUNK}
    assert 0 < len(chunks[-1]) <= CHUNK
    assert b"".join(chunks) == large


@pytest.mark.parametrize("size", [len(MAIL), 12_000_000])
async def test_nothing_is_visible_before_commit(store: BlobStore, size: int) -> None:
    """A mail that was cut must never look like a whole one, however much of it has come."""
    writer = store.writer(KEY)
    await writer.write(bytes(size))
    assert not await store.exists(KEY)
    with pytest.raises(NoBlobError):
        await content(store, KEY)
    await writer.commit()
    assert await store.exists(KEY)


@pytest.mark.parametrize("size", [len(MAIL), 12_000_000])
async def test_a_discarded_blob_leaves_nothing(place: Place, size: int) -> None:
    """Neither a blob nor a part of one; discarding after commit does nothing."""
    writer = place.store.writer(KEY)
    await writer.write(bytes(size))
    await writer.discard()
    assert place.left() == []
    await place.store.put(KEY, MAIL)
    assert await content(place.store, KEY) == MAIL


async def test_a_finished_blob_takes_no_more(store: BlobStore) -> None:
    """What comes after commit or discard is a mistake of ours, and is told."""
    committed, discarded = store.writer(KEY), store.writer(OTHER)
    for writer, end in ((committed, committed.commit), (discarded, discarded.discard)):
        await writer.write(MAIL)
        await end()
        with pytest.raises(ValueError, match="finished"):
            await writer.write(MAIL)
    assert await content(store, KEY) == MAIL


async def test_a_later_blob_replaces_an_earlier_one(store: BlobStore) -> None:
    """A mail that is fetched again has the bytes of the last fetch."""
    await store.put(KEY, b"first")
    await store.put(KEY, b"second")
    assert await content(store, KEY) == b"second"


async def test_two_writers_of_one_key_don_t_mix(store: BlobStore) -> None:
    """Each writes its own; the last commit stands."""
    first, second = store.writer(KEY), store.writer(KEY)
    await first.write(b"aaaa")
    await second.write(b"bb")
    await second.commit()
    await first.commit()
    assert await content(store, KEY) == b"aaaa"


async def test_a_missing_blob_is_told_from_an_unreachable_store(store: BlobStore) -> None:
    """NoBlobError means: fetch again; deleting what isn't there is no error."""
    with pytest.raises(NoBlobError):
        await content(store, KEY)
    await store.delete(KEY)
    await store.put(KEY, MAIL)
    await store.delete(KEY)
    assert not await store.exists(KEY)


async def test_many_are_deleted_at_once(place: Place) -> None:
    """As many as a session deletes, those that never had a blob among them."""
    keys = [f"{n:08x}-0000-7000-8000-{n:012x}" for n in range(1_100)]
    await asyncio.gather(*(place.store.put(key, MAIL) for key in (*keys[:5], OTHER)))
    await place.store.delete(*keys)
    await place.store.delete()
    assert place.left() == [OTHER]


async def test_older_than_lists_old_blobs(place: Place) -> None:
    """By when they were written; those that are younger may be asked for yet."""
    await place.store.put(KEY, MAIL)
    await place.store.put(OTHER, MAIL)
    place.age(OTHER)
    assert await place.store.older_than(7 * 86_400) == [OTHER]


async def test_an_empty_store_has_nothing_old(store: BlobStore) -> None:
    """Even its folder need not be there."""
    assert await store.older_than(0) == []


async def test_a_check_leaves_nothing(place: Place) -> None:
    """Workers make it at every start."""
    await place.store.check()
    assert place.left() == []


async def test_a_cancelled_write_leaves_nothing(place: Place) -> None:
    """A session that breaks amid a mail takes its unfinished blob along, while it may still be being written."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await place.store.put(KEY, bytes(12_000_000))
    assert place.left() == []


@pytest.mark.parametrize(
    "key", ["", "../../etc/passwd", KEY.upper(), KEY + "\n", KEY[:-1] + "/", "." * 36, KEY.replace("-", "/")]
)
async def test_only_a_uuid_becomes_a_path(store: BlobStore, key: str) -> None:
    """Keys come with messages: nothing from outside may name a file or an object."""
    with pytest.raises(ValueError, match="not a blob's key"):
        store.writer(key)
    with pytest.raises(NoBlobError):
        await content(store, key)
    assert not await store.exists(key)
    await store.delete(key)


async def test_blobs_written_at_one_time_are_all_there(store: BlobStore) -> None:
    """Those that are made beside each other don't disturb each other."""
    keys = [f"{n:08x}-0000-7000-8000-{n % 16:012x}" for n in range(200)]
    await asyncio.gather(*(store.put(key, key.encode()) for key in keys))
    assert [await content(store, key) for key in keys] == [key.encode() for key in keys]


@pytest.mark.parametrize("url", ["file:", "file://host/blobs", "blobs", "http://pps:secret@x/y", "file:./b?x=1"])
def test_a_wrong_url_names_its_key(url: str, tmp_path: Path) -> None:
    """One line, and no secret in it."""
    with pytest.raises(UsageError, match=r"^\[service\] blobs: ") as failure:
        open_blobs(Service.model_construct(blobs=url), tmp_path)
    assert "secret" not in str(failure.value)


async def test_all_blobs_are_told_with_their_sizes(store: BlobStore) -> None:
    """For who compares them with the ledger: each once, and no unfinished one."""
    assert [blob async for batch in store.stored() for blob in batch] == []
    await store.put(KEY, MAIL)
    await store.put(OTHER, MAIL * 2)
    writer = store.writer(KEY[:-1] + "f")
    await writer.write(MAIL)

    found = {blob.key: blob.size async for batch in store.stored() for blob in batch}

    await writer.discard()
    assert found == {KEY: len(MAIL), OTHER: 2 * len(MAIL)}
