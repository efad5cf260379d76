"""What a blob store on S3 promises beyond the contract: its errors, its deadlines, and where its secrets don't go."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from common import s3_blobs
from common.blobs import CHUNK, BlobStoreError, NoBlobError
from common.config import Service
from common.connect import checked_blobs, open_blobs
from common.failures import PpsError
from common.s3_blobs import S3Blobs
from tests.contract.blob_places import KEY, MAIL, content
from tests.deliveries import LOG
from tests.servers.certificates import issue
from tests.servers.fixtures_s3 import Bucket
from tests.servers.process import free_port
from tests.servers.s3 import RIGHTS, SECRET_KEY, S3Server


def store_of(bucket: Bucket, base: Path = Path("/nowhere"), **keys: str) -> S3Blobs:
    """Return the store in a bucket, some keys of `[service]` changed or added."""
    store = open_blobs(Service.model_validate({**bucket.service, **keys}), base)
    assert isinstance(store, S3Blobs)
    return store


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have requests give up within a second, not a minute, and each by itself."""
    monkeypatch.setattr(s3_blobs, "AWAY_SECONDS", 0.0)
    monkeypatch.setattr(s3_blobs, "REQUEST_SECONDS", 1)
    monkeypatch.setattr(s3_blobs, "RETRY_SECONDS", 0.1)


def every_request(store: S3Blobs) -> list[Callable[[], Awaitable[object]]]:
    """Return all that workers ask of a store."""

    async def write(size: int) -> None:
        writer = store.writer(KEY)
        try:
            await writer.write(bytes(size))
            await writer.commit()
        finally:
            await writer.discard()

    return [
        lambda: store.exists(KEY),
        lambda: content(store, KEY),
        lambda: store.put(KEY, b""),
        lambda: write(1_000),
        lambda: write(12_000_000),
        lambda: store.delete(KEY),
        lambda: store.older_than(0),
        store.check,
    ]


async def refusal_of(store: S3Blobs) -> BlobStoreError:
    """Return what the start of a worker would say."""
    with pytest.raises(BlobStoreError) as failure:
        await store.check()
    return failure.value


async def test_just_these_rights_are_enough(bucket: Bucket) -> None:
    """Those that docs/blobs.md tells an administrator to give."""
    with bucket.server.accounts(*RIGHTS):
        store = store_of(bucket)
        await store.check()
        await store.put(KEY, bytes(12_000_000))
        writer = store.writer(KEY)
        await writer.write(bytes(12_000_000))
        await writer.discard()
    assert bucket.server.unfinished(bucket.name) == 0


@pytest.mark.parametrize("missing", [right for right in RIGHTS if right != "s3:AbortMultipartUpload"])
async def test_a_missing_right_is_named(bucket: Bucket, missing: str) -> None:
    """At the start of each worker, in one line, whichever of them it is."""
    with bucket.server.accounts(*(right for right in RIGHTS if right != missing)):
        refusal = await refusal_of(store_of(bucket))
    assert refusal.lasting
    assert str(refusal).startswith(
        f"[service] blobs: the bucket {bucket.name} at {bucket.server.endpoint} refuses {missing}: allow the access key"
    )


async def test_a_missing_bucket_is_no_missing_blob(bucket: Bucket) -> None:
    """Else all mail would be fetched again, and quarantined after five times."""
    store = store_of(bucket, blobs="s3://not-there")
    for request in every_request(store):
        with pytest.raises(BlobStoreError, match=r"^\[service\] blobs: there is no bucket not-there at ") as failure:
            await request()
        assert failure.value.lasting


async def test_wrong_credentials_name_their_key(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id that nobody knows, a secret of another, and none at all; no line holds a secret."""
    with bucket.server.accounts(*RIGHTS):
        for name, value, key in (
            ("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN", "blobs_access_key"),
            ("AWS_SECRET_ACCESS_KEY", "canary-of-another", "blobs_secret_key"),
        ):
            with monkeypatch.context() as patch:
                patch.setenv(name, value)
                refusal = await refusal_of(store_of(bucket))
            assert refusal.lasting
            assert str(refusal).startswith(f"[service] {key}: ")
            assert "canary" not in str(refusal)


@pytest.mark.usefixtures("impatient")
async def test_no_credentials_name_where_they_go(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last place that is looked at is the cloud's own, of which a complaint would help nobody."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refusal = await refusal_of(store_of(bucket))
    assert refusal.lasting
    assert str(refusal).startswith("[service] blobs_access_key: there are no credentials: set it and blobs_secret_key")


async def test_credentials_are_references(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go before the environment's, and one that was changed meanwhile needs no restart."""
    monkeypatch.setenv("OUR_KEY", "AKIACANARYACCESSKEY1")
    secret = tmp_path / "secret"
    secret.write_text("canary-of-yesterday\n")
    secret.chmod(0o600)
    references = {"blobs_access_key": "env:OUR_KEY", "blobs_secret_key": "file:secret"}
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with bucket.server.accounts(*RIGHTS):
        store = store_of(bucket, tmp_path, **references)
        refusal = await refusal_of(store)
        assert str(refusal).startswith("[service] blobs_secret_key: isn't the secret of this access key")

        secret.write_text(f"{SECRET_KEY}\n")
        await store.put(KEY, MAIL)

        secret.chmod(0o644)
        refusal = await refusal_of(store_of(bucket, tmp_path, **references))
    assert str(refusal) == (
        f"[service] blobs_secret_key: file:{secret}: others than its owner may use it: chmod 600 {secret}"
    )
    assert await content(store, KEY) == MAIL


async def test_no_secret_is_shown(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of the store nor of what it is made of."""
    monkeypatch.setenv("OUR_SECRET", "canary-secret-of-ours")
    store = store_of(bucket, tmp_path, blobs_access_key="env:AWS_ACCESS_KEY_ID", blobs_secret_key="env:OUR_SECRET")
    await store.put(KEY, MAIL)
    assert "canary" not in repr((store, vars(store), store._opened))


@pytest.mark.usefixtures("impatient")
async def test_a_store_that_is_away_is_told_and_nothing_is_taken_for_missing(bucket: Bucket) -> None:
    """Each request fails within its deadline, and not as if the blob weren't there; then all goes on."""
    store = store_of(bucket)
    await store.put(KEY, MAIL)
    bucket.server.stop()
    try:
        for request in every_request(store):
            with pytest.raises(
                BlobStoreError, match=r"can't be reached: (the connection is refused|no answer)"
            ) as failure:
                await request()
            assert not failure.value.lasting
    finally:
        bucket.server.start()
    assert await content(store, KEY) == MAIL


@pytest.mark.usefixtures("impatient")
async def test_a_store_that_was_away_a_moment_ago_is_not_waited_for(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many that each wait their half minute, one after the other, would hold up those who need no store."""
    store = store_of(bucket)
    monkeypatch.setattr(s3_blobs, "AWAY_SECONDS", 3600.0)
    bucket.server.stop()
    refusal = await refusal_of(store)
    bucket.server.start()
    bucket.server.requests.clear()

    assert str(await refusal_of(store)) == str(refusal)
    assert not bucket.server.requests

    monkeypatch.setattr(store, "_away", (0.0, ""))
    await store.put(KEY, MAIL)


@pytest.mark.usefixtures("impatient")
async def test_a_store_that_says_nothing_has_a_deadline(bucket: Bucket) -> None:
    """A connection that is taken and never answered must not hold a mail for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = store_of(bucket, blobs_endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
        async with asyncio.timeout(60):
            refusal = await refusal_of(store)
    assert not refusal.lasting
    assert str(refusal).endswith("can't be reached: it doesn't answer in time")


@pytest.mark.usefixtures("impatient")
async def test_a_store_is_trusted_by_its_certificate(bucket: Bucket, tmp_path: Path) -> None:
    """A store of one's own has a certificate of one's own; without it, nothing is sent, and the mend is named."""
    certificates = issue(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.chain, certificates.key)
    with S3Server(context) as server:
        refusal = await refusal_of(store_of(bucket, blobs_endpoint=server.endpoint))
        assert str(refusal).endswith("its certificate isn't trusted: name its issuer's in blobs_ca")

        await store_of(bucket, blobs_endpoint=server.endpoint, blobs_ca=str(certificates.ca)).put(KEY, MAIL)
    assert bucket.keys == [KEY]

    (tmp_path / "no-ca.pem").write_text("no certificate")
    for name, words in (("no-ca.pem", "can't be used"), ("gone.pem", "can't read")):
        refusal = await refusal_of(store_of(bucket, blobs_ca=str(tmp_path / name)))
        assert refusal.lasting
        assert words in str(refusal)


@pytest.mark.usefixtures("impatient")
async def test_what_keeps_a_worker_from_starting(bucket: Bucket) -> None:
    """What only a person can mend; a store that is away for now is waited for."""
    with pytest.raises(PpsError, match=r"^\[service\] blobs: there is no bucket"):
        await checked_blobs(Service.model_validate({**bucket.service, "blobs": "s3://not-there"}), Path(), LOG)
    away = Service.model_validate({**bucket.service, "blobs_endpoint": f"http://127.0.0.1:{free_port()}"})
    assert isinstance(await checked_blobs(away, Path(), LOG), S3Blobs)


async def test_a_store_that_is_busy_is_asked_again(bucket: Bucket) -> None:
    """Within a request: nobody above has to know."""
    store = store_of(bucket)
    for request in every_request(store)[2:]:
        bucket.server.refusals = 2
        await request()
        assert bucket.server.refusals == 0
    await store.put(KEY, MAIL)
    bucket.server.refusals = 2
    assert await content(store, KEY) == MAIL


async def test_a_blob_replaced_while_it_is_read_is_not_mixed(bucket: Bucket) -> None:
    """The beginning of one and the end of the other would be nobody's mail."""
    store = store_of(bucket)
    await store.put(KEY, b"a" * (s3_blobs.RANGE + 1))
    reading = store.stream(KEY)
    read = [await anext(reading) for _ in range(s3_blobs.RANGE // CHUNK)]
    await store.put(KEY, b"b" * (s3_blobs.RANGE + 1))
    with pytest.raises(BlobStoreError, match="was replaced while it was read"):
        await anext(reading)
    assert set(b"".join(read)) == {ord("a")}


async def test_a_commit_that_is_cancelled_leaves_no_parts(bucket: Bucket) -> None:
    """It comes to its end: the blob is replaced later, or swept."""
    store = store_of(bucket)
    writer = store.writer(KEY)
    await writer.write(bytes(12_000_000))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await writer.commit()
    await writer.discard()
    assert bucket.server.unfinished(bucket.name) == 0
    assert len(await content(store, KEY)) == 12_000_000


async def test_a_store_without_a_prefix_lies_at_the_bucket_s_root(bucket: Bucket) -> None:
    """What others keep there is never listed as ours."""
    store = store_of(bucket, blobs=f"s3://{bucket.name}")
    await store.put(KEY, MAIL)
    await store_of(bucket).put(KEY, MAIL)
    assert bucket.server.keys(bucket.name) == [KEY, f"mail/of-pps/{KEY}"]
    for name in (KEY, f"mail/of-pps/{KEY}"):
        bucket.server.age(bucket.name, name, 10)
    assert await store.older_than(1) == [KEY]


async def test_a_range_that_can_t_be_had_later_is_no_end(bucket: Bucket) -> None:
    """Objects that vanish while they are read are missing, not short."""
    store = store_of(bucket)
    await store.put(KEY, bytes(s3_blobs.RANGE + 1))
    reading = store.stream(KEY)
    for _ in range(s3_blobs.RANGE // CHUNK):
        await anext(reading)
    await store.delete(KEY)
    with pytest.raises(NoBlobError):
        await anext(reading)
