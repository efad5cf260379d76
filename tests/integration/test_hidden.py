"""Servers that hide a mail once it was retrieved: whatever goes wrong, it is delivered, or said to be lost."""

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest

from fetcher.digests import Digests
from tests.integration.service import install, wait_until
from tests.integration.test_custody import at_work
from tests.mails import mail
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.servers.pop3_mailbox import Mailbox, Quit


@pytest.fixture
def box(server: Pop3Server) -> Mailbox:
    """Make an empty mailbox on it, which hides what it has given."""
    box = server.mailbox("office")
    box.hides = True
    return box


async def die_at(point: str, folder: Path, server: Pop3Server) -> None:
    """Run `pps run` on the mailbox until it kills itself at the point."""
    account = {"name": "office", "server": server.server, "user": "office", "password": "file:office.secret"}
    there = install(folder, {**account, "local_user": "ann@local.example", "custody": "blob"}, password=PASSWORD)
    await there.die_at(point)


async def test_a_mail_at_rest_that_was_never_recorded_is_delivered(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """The process died between blob and ledger: the mailbox shows the mail no more, and ours is the only copy."""
    mails = [mail(), mail(size=100_000), mail()]
    box.plant(*mails)
    await die_at("fetcher.after_blob:2", tmp_path, server)
    assert [stored.raw for stored in box.visible()] == mails[2:]

    async with at_work(tmp_path, server, custody="blob") as (service, _):
        for _ in range(3):  # less than half a listing is believed when it is seen twice
            await service.poll()

        await service.until(deleted=3)
        assert service.got(*mails)
        (found,) = service.there.events("mail_found_at_rest")
        assert found["octets"] == 100_000


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_mail_at_rest_that_was_fetched_before_is_delivered_too(
    server: Pop3Server, box: Mailbox, tmp_path: Path, *, is_whole: bool
) -> None:
    """It was sent back since its bytes were missed; what is at rest now counts only if it is that mail."""
    mails = [mail(), mail(size=100_000), mail()]
    box.plant(*mails)
    await die_at("fetcher.after_blob:2", tmp_path, server)
    digests = Digests()
    digests.add(mails[1])
    found = (digests.header_hash, digests.body, digests.whole if is_whole else b"another")
    with sqlite3.connect(tmp_path / "pps.db") as ledger:
        change = ledger.execute(
            "UPDATE mails SET header_hash = ?, body_digest = ?, digest = ?"
            " WHERE state = 'listed' AND asked_at IS NOT NULL",
            found,
        )
        assert change.rowcount == 1
    ledger.close()

    async with at_work(tmp_path, server, custody="blob") as (service, _):
        for _ in range(3):
            await service.poll()

        await service.until(**({"deleted": 3} if is_whole else {"deleted": 2, "lost": 1}))
        assert service.got(*(mails if is_whole else (mails[0], mails[2])))


async def test_a_mail_that_was_asked_for_and_is_nowhere_is_lost_and_told(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """The process died before the mail was at rest, and the server gives it no more: nobody takes it for removed."""
    mails = [mail(), mail(), mail()]
    box.plant(*mails)
    await die_at("fetcher.after_retr:2", tmp_path, server)

    async with at_work(tmp_path, server, custody="blob") as (service, _):
        for _ in range(3):
            await service.poll()

        await service.until(deleted=2, lost=1)
        assert service.got(mails[0], mails[2])
        assert len(service.there.events("mail_lost", level="error")) == 1


async def test_a_mail_whose_disk_was_not_mounted_is_found_once_it_is(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """Until then it counts as lost, which is told; its blob is nobody's to sweep, and a person has it looked for."""
    mails = [mail(), mail(size=100_000), mail()]
    box.plant(*mails)
    await die_at("fetcher.after_blob:2", tmp_path, server)
    disk = (tmp_path / "blobs").rename(tmp_path / "disk")
    async with at_work(tmp_path, server, custody="blob") as (service, _):
        for _ in range(3):
            await service.poll()
        await service.until(deleted=1, lost=2)
        assert len(service.there.events("mail_lost", level="error")) == 2

    shutil.rmtree(tmp_path / "blobs")
    disk.rename(tmp_path / "blobs")
    async with at_work(tmp_path, server, custody="blob") as (service, _):
        retried = await asyncio.to_thread(service.there.pps, "quarantine", "retry", "--profile", "office")
        assert (retried.code, retried.out) == (0, "2 items set in motion again\n"), retried.err
        await service.poll()
        await asyncio.to_thread(wait_until, lambda: len(service.there.inbox("ann")) == len(mails))
        await service.poll()  # which finds that the server has them no more
        await service.until(deleted=3)
        assert service.got(*mails)


async def test_mail_that_somebody_removed_before_we_asked_is_not_lost(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """Not even on a server that hides mail: it was listed, and never asked for."""
    mails = [mail() for _ in range(4)]
    stored = box.plant(*mails)
    stored[0].cut_after = 20
    async with at_work(tmp_path, server, custody="blob") as (service, first):
        assert first.last_result == "network"
        box.mails.remove(stored[3])
        stored[0].cut_after, stored[0].retrieved = None, 0

        for _ in range(2):
            await service.poll()

        await service.until(deleted=3, removed=1)
        assert service.got(*mails[:3])


async def test_without_top_mail_of_earlier_sessions_is_deleted_all_the_same(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """The server doesn't hide mail, whatever was thought of it: what is still listed is retrieved and compared."""
    server.capabilities = ["UIDL", "PIPELINING"]
    box.hides, box.quit = False, Quit.LOST
    mails = [mail(), mail(size=100_000)]
    box.plant(*mails)
    async with at_work(tmp_path, server, custody="blob") as (service, _):
        box.quit = Quit.ANSWERED

        end = await service.poll()

        assert end.mails == {"deleted": 2}
        assert sorted(box.deleted) == sorted(mails)
        assert service.got(*mails)
        assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.stat().st_size > 1_000]


@pytest.mark.parametrize("top", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
async def test_a_hidden_mail_under_an_old_uidl_is_never_thrown_away(
    server: Pop3Server,
    box: Mailbox,
    tmp_path: Path,
    top: bool,  # noqa: FBT001 (a table's column)
    wanted: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """Whether the first was delivered or is to be fetched again: the second is retrieved once, and then hidden."""
    if not top:
        server.capabilities = ["UIDL"]
    box.quit = Quit.LOST
    first, second = mail(size=900), mail(size=1_000)
    box.plant(first, uidl=b"same")
    async with at_work(tmp_path, server, custody="blob") as (service, _):
        assert service.got(first)
        box.quit = Quit.ANSWERED
        (stored,) = box.plant(second, uidl=b"same")
        if wanted:
            await service.age("UPDATE mails SET state = 'listed'")

        for _ in range(3):
            await service.poll()

        await service.until(deleted=2)
        assert stored.retrieved == 1
        assert service.got(first, second)
