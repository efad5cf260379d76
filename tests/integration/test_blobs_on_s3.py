"""The whole pipeline with its blobs on S3: mail goes through, and none is lost while the store is away or forgets."""

import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from common import crashpoints, s3_blobs
from common.blobs import TRIAL
from common.ledger import restoring
from fetcher import sweep, witness
from manager.verify.account import Kind
from manager.verify.verification import verify
from tests.command import pps
from tests.integration.service import Installation, Serving, install, profile
from tests.maildir import canonical, without_trace
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox as DovecotBox
from tests.servers.fixtures_s3 import Bucket
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.servers.pop3_mailbox import Mailbox
from tests.servers.smtp import SmtpServer
from tests.status import Status

LONG_AGO: Final = 8 * 86_400
YOUNG, OLD = "0198c1f2-7d1e-7a51-bb2e-0f6ac1e0d35a", "0198c1f2-7d1e-7a51-bb2e-0f6ac1e0d35b"
LARGE: Final = 100_000
LATER: Final = "451 4.3.0 later"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have requests to a store that is away give up at once, not after half a minute, and sweep often."""
    monkeypatch.setattr(s3_blobs, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(s3_blobs, "AWAY_SECONDS", 0.0)
    monkeypatch.setattr(sweep, "INTERVAL_SECONDS", 0.2)


@pytest.fixture
async def target() -> AsyncIterator[SmtpServer]:
    """Run an LMTP server that takes everything, until it is told otherwise."""
    async with SmtpServer(lmtp=True) as server:
        yield server


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A mailbox `office` on a POP3 server, and an installation that pulls it; blobs lie in the bucket."""

    there: Installation
    box: Mailbox
    bucket: Bucket

    @property
    def blobs(self) -> list[str]:
        """The keys of the blobs of mails: the ledger's age lies there, too."""
        with closing(sqlite3.connect(self.there.folder / "pps.db", timeout=30)) as connection:
            ((ours,),) = connection.execute("SELECT id FROM installation").fetchall()
        return [key for key in self.bucket.keys if key != ours]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Serving]:
        """Run every role in this process; yield once the first poll has ended."""
        async with self.there.serving() as serving:
            await serving.until(_has_polled)
            yield serving


@pytest.fixture
async def site(tmp_path: Path, bucket: Bucket, target: SmtpServer) -> AsyncIterator[Site]:
    """Make the installation, whose mail goes to `target`."""
    async with Pop3Server() as server:
        table = {"name": "office", "server": server.server, "user": "office", "password": "file:office.secret"}
        local = {"local_domain": ["local.example"], "local_user": "boss", "distribute": True, "interval": "1h"}
        blobs: dict[str, Any] = {**bucket.service}
        there = install(tmp_path, {**table, **local}, password=PASSWORD, to=target.url, **blobs)
        yield Site(there=there, box=server.mailbox("office"), bucket=bucket)


def _has_polled(status: Status) -> bool:
    (profile,) = status.profiles
    return profile.last_finished_at is not None and not profile.polling


async def settled(serving: Serving, **mails: int) -> None:
    """Wait until the ledger counts mails by state just so."""
    await serving.until(lambda status: status.profiles[0].mails == mails)


async def retried(serving: Serving) -> None:
    """Bring on what waits for its next attempt, and poll once it is delivered."""
    await serving.make_due()
    await serving.until(lambda status: set(status.profiles[0].deliveries) == {"delivered"})
    await serving.poll()


def got(target: SmtpServer, user: str, *mails: bytes) -> bool:
    """Whether a user has just these mails, octet for octet, each once."""
    assert sorted(canonical(without_trace(raw)) for raw in target.inbox(user)) == sorted(map(canonical, mails))
    return True


async def test_large_mail_and_mail_for_many_go_through_the_bucket(
    site: Site, bucket: Bucket, target: SmtpServer
) -> None:
    """Whatever their size, and however many get them; and once a mail is done with, its blob is gone."""
    sizes = [900, 66_000, 5 * 1024 * 1024, 12_000_000]
    alone = [mail(to="ann@local.example", size=size) for size in sizes]
    users = [f"user{number}" for number in range(40)]
    shared = mail(to=", ".join(f"{user}@local.example" for user in users), size=60_000)  # inline it would be 2.4 MB
    site.box.plant(*alone, shared)

    async with site.serving() as serving:
        await settled(serving, deleted=len(sizes) + 1)

    assert got(target, "ann", *alone)
    assert all(got(target, user, shared) for user in users)
    assert sorted(site.box.deleted) == sorted([*alone, shared])
    assert site.blobs == []
    assert bucket.server.unfinished(bucket.name) == 0


async def test_small_mail_costs_the_store_a_request_a_session(
    site: Site, bucket: Bucket, target: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What travels in messages needs no store; only what may have been left there is deleted, all at once."""
    monkeypatch.setattr(witness, "SECONDS", 3600.0)  # what it costs is apart from mail
    first, *mails = [mail(to="ann@local.example") for _ in range(21)]
    async with site.serving() as serving:
        site.box.plant(first)
        await serving.poll()
        await settled(serving, deleted=1)
        site.box.plant(*mails)
        bucket.server.requests.clear()
        await serving.poll()
        await settled(serving, deleted=21)
    assert set(bucket.server.requests) == {"POST"}
    assert bucket.server.requests["POST"] <= 2  # a machine that stalls may leave some mail to the next session
    assert got(target, "ann", first, *mails)


async def test_a_store_that_is_away_keeps_large_mail_on_the_server(
    site: Site, bucket: Bucket, target: SmtpServer
) -> None:
    """The poll names the key, small mail before it arrives, and all goes on once the store is back."""
    small, large, last = mail(to="ann@local.example"), mail(to="ann@local.example", size=LARGE), mail(size=LARGE)
    async with site.serving() as serving:
        bucket.server.stop()
        try:
            site.box.plant(small, large, last)
            polled = await serving.poll()
            assert polled.last_result == "local"
            assert polled.last_error is not None
            assert polled.last_error.startswith(f"[service] blobs: the bucket {bucket.name} at http://127.0.0.1:")
            await serving.until(lambda status: status.profiles[0].deliveries == {"delivered": 1})
            assert site.box.deleted == []
        finally:
            bucket.server.start()

        await serving.poll()
        await settled(serving, deleted=3)

    assert got(target, "ann", small, large, last)
    assert site.blobs == []


async def test_a_store_that_is_away_when_mail_is_delivered_costs_time(
    site: Site, bucket: Bucket, target: SmtpServer
) -> None:
    """The attempt is put off, in words that name the store; nothing is deleted, and the retry delivers."""
    large = mail(to="ann@local.example", size=LARGE)
    async with site.serving() as serving:
        await target.stop()
        site.box.plant(large)
        await serving.poll()
        await settled(serving, routed=1)
        bucket.server.stop()
        try:
            await target.start()
            await serving.until(lambda status: status.profiles[0].deliveries == {"deferred": 1})
        finally:
            bucket.server.start()
        (attempt,) = site.there.events("delivery_attempted", counted=True)
        assert attempt["reply"].startswith(f"the blob store can't be read: [service] blobs: the bucket {bucket.name}")
        assert site.box.deleted == []
        assert target.inbox("ann") == []

        await retried(serving)
        await settled(serving, deleted=1)

    assert got(target, "ann", large)


async def test_a_blob_that_the_store_lost_is_fetched_again(site: Site, bucket: Bucket, target: SmtpServer) -> None:
    """The remote mail is the durable copy: without its bytes here, a delivery asks for them there."""
    target.replies("RCPT TO:<ann@", LATER)
    large = mail(to="ann@local.example", size=LARGE)
    site.box.plant(large)
    async with site.serving() as serving:
        await serving.until(lambda status: status.profiles[0].deliveries == {"deferred": 1})
        target.replies("RCPT TO:<ann@", "250 OK")
        bucket.server.drop(bucket.name)

        await serving.make_due()
        await settled(serving, listed=1)
        await serving.poll()
        await settled(serving, deleted=1)

    assert got(target, "ann", large)


async def test_orphans_are_swept_after_a_week(
    site: Site, bucket: Bucket, target: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the store's own dates; a blob that a mail still needs stays, however old."""
    monkeypatch.setattr(restoring, "BLOBS_REST_MS", 0)  # as for an installation of last year
    target.replies("RCPT TO:<ann@", LATER)
    large = mail(to="ann@local.example", size=LARGE)
    site.box.plant(large)
    async with site.serving() as serving:
        await serving.until(lambda status: status.profiles[0].deliveries == {"deferred": 1})
        (needed,) = site.blobs
        for key in (YOUNG, OLD):
            await serving.parts.blobs.put(key, b"an orphan")
    for key in (needed, OLD):
        bucket.age(key, LONG_AGO)
    target.replies("RCPT TO:<ann@", "250 OK")

    async with site.serving() as serving:
        await serving.until(lambda _: OLD not in bucket.keys)
        await retried(serving)
        await settled(serving, deleted=1)

    assert site.blobs == [YOUNG]
    assert got(target, "ann", large)


async def test_what_lies_in_the_bucket_is_accounted_for(site: Site, bucket: Bucket, target: SmtpServer) -> None:
    """As in a folder: what is another than was fetched, what nobody knows, and what the store lost."""
    target.replies("RCPT TO:<ann@", LATER)
    site.box.plant(mail(to="ann@local.example", size=LARGE))
    async with site.serving() as serving:
        await serving.until(lambda status: status.profiles[0].deliveries == {"deferred": 1})
        (needed,) = site.blobs
        await serving.parts.blobs.put(OLD, TRIAL)  # left by a worker that was killed as it tried the bucket
        well = await verify(site.there.config, (), remote=True)
        for key in (needed, YOUNG):
            await serving.parts.blobs.put(key, b"something else")
        broken = await verify(site.there.config, (), remote=True)
        bucket.server.drop(bucket.name)
        empty = await verify(site.there.config, (), remote=True)

    assert (well.total, well.unlooked, well.blobs.blobs) == (0, [], 1)
    assert broken.counts == {Kind.BLOB_DIFFERS: 1, Kind.BLOB_WITHOUT_ROW: 1}
    assert (empty.total, empty.blobs.blobs, empty.blobs.missing) == (0, 0, 1)  # the mail is still on the server


def test_a_process_that_dies_beside_its_blobs_loses_none(mailbox: DovecotBox, bucket: Bucket, tmp_path: Path) -> None:
    """Killed once a blob is at rest, and the ledger doesn't know yet: it is replaced, and each mail comes once."""
    mails = [mail(size=size) for size in (LARGE, 6_000_000, LARGE)]
    mailbox.plant(*mails)
    blobs: dict[str, Any] = {**bucket.service}
    there = install(tmp_path, profile(mailbox), **blobs)

    died = pps("run", folder=tmp_path, environment={crashpoints.VARIABLE: "fetcher.after_blob:2"})
    assert died.code == -signal.SIGKILL, died
    assert bucket.keys
    pulled = there.pps("pull")

    assert pulled.code == 0, pulled
    assert mailbox.remaining() == []
    assert sorted(canonical(without_trace(raw)) for raw in there.inbox("ann")) == sorted(map(canonical, mails))
    assert len(bucket.keys) == 1  # the ledger's age
