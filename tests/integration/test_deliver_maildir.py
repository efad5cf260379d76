"""Deliveries into real folders: byte for byte, once, durable, and never outside their place."""

import asyncio
import os
import shutil
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from common.blobs import NoBlobError
from common.failures import Scope
from common.folder_blobs import FolderBlobs
from common.messages import Result
from deliverer.maildir import MaildirTarget, file_name
from deliverer.maildir_folders import SUBFOLDER_MARK
from deliverer.target import ClaimLostError, TargetOptions
from tests.deliveries import DELIVERY, MAIL, deliver, job_of, new_id, target_of
from tests.maildir import canonical, messages, without_trace

BLOCK = b"A line of a large mail, as long as such lines are, more or less.\r\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the folder above all Maildirs."""
    folder = tmp_path / "mail"
    folder.mkdir()
    return folder


@pytest_asyncio.fixture
async def maildir(root: Path) -> AsyncIterator[MaildirTarget]:
    """Return a target that makes Maildirs by local part."""
    target = maildir_at(f"{root}/{{user}}?create=yes")
    yield target
    await target.close()


def maildir_at(path: str, connections: int = 4) -> MaildirTarget:
    """Return a Maildir target as the role makes it."""
    target = target_of(TargetOptions(url=f"maildir:{path}", connections=connections))
    assert isinstance(target, MaildirTarget)
    return target


def files(folder: Path) -> list[Path]:
    """Return all files of a Maildir, tmp included."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def everything(folder: Path) -> list[Path]:
    """Return what a folder holds."""
    return list(folder.iterdir())


def make(folder: Path) -> None:
    """Make a folder."""
    folder.mkdir()


async def never() -> bool:
    """Stand for a claim that is another's by now."""
    return False


@pytest.mark.parametrize(
    "raw",
    [
        MAIL,
        b"Subject: dots\r\n\r\n.\r\n..\r\n.dot\r\n",
        b"Subject: rough\r\n\r\nbare \r and \n and \r\r\n and caf\xe9 \x00",
        b"no header, no end",
        b"",
    ],
)
async def test_mail_is_stored_byte_for_byte_with_lf(maildir: MaildirTarget, root: Path, raw: bytes) -> None:
    """Below our trace field the mail is what was fetched, CRLF as LF, and nothing is left in tmp."""
    attempt = await deliver(maildir, job_of(raw))

    assert attempt.result is Result.DELIVERED
    [stored] = messages(root / "ann")
    assert stored.startswith(b"Received: from pop.far.example by ")
    assert stored.split(b"+0000\n", 1)[1] == raw.replace(b"\r\n", b"\n")
    assert len(files(root / "ann")) == 1


async def test_detail_becomes_a_marked_subfolder_of_the_mailbox(root: Path) -> None:
    """Maildir++: ann+box's mail goes to .box in ann's mailbox, whose quota counts it by its mark."""
    target = maildir_at(f"{root}/{{user}}/.{{detail}}?create=yes")
    for recipient in ("ann@local.example", "ann+box@local.example", "ann+box@local.example"):
        assert (await deliver(target, job_of(recipient=recipient))).result is Result.DELIVERED
    await target.close()

    assert (len(messages(root / "ann")), len(messages(root / "ann" / ".box"))) == (1, 2)
    assert [path.relative_to(root) for path in files(root) if path.name == SUBFOLDER_MARK] == [
        Path("ann/.box/maildirfolder")
    ]


async def test_file_and_folders_are_private(maildir: MaildirTarget, root: Path) -> None:
    """Nobody but the mail user reads what was made."""
    await deliver(maildir, job_of(delivery_id=DELIVERY))

    assert (root / "ann" / "new").stat().st_mode & 0o777 == 0o700
    assert (root / "ann" / "new" / file_name(DELIVERY)).stat().st_mode & 0o777 == 0o600


async def test_same_delivery_made_again_is_there_once(maildir: MaildirTarget, root: Path) -> None:
    """Equal bytes under the same name are the same delivery: done, and not doubled."""
    job = job_of()
    await deliver(maildir, job)

    attempt = await deliver(maildir, job, again=True)

    assert attempt.result is Result.DELIVERED
    assert len(files(root / "ann")) == 1


async def test_delivery_made_again_is_found_where_a_reader_moved_it(maildir: MaildirTarget, root: Path) -> None:
    """Once seen, the file is in cur under its name with flags: still the same delivery."""
    job = job_of(delivery_id=DELIVERY)
    await deliver(maildir, job)
    new = root / "ann" / "new" / file_name(DELIVERY)
    new.rename(root / "ann" / "cur" / f"{new.name}:2,S")

    attempt = await deliver(maildir, job, again=True)

    assert attempt.result is Result.DELIVERED
    assert len(files(root / "ann")) == 1


@pytest.mark.parametrize("part", ["new", "cur"])
async def test_other_mail_of_the_same_name_is_never_overwritten(maildir: MaildirTarget, root: Path, part: str) -> None:
    """A name taken by other bytes is a matter for a person."""
    await deliver(maildir, job_of())
    taken = root / "ann" / part / file_name(DELIVERY)
    taken.write_bytes(b"other")

    attempt = await deliver(maildir, job_of(delivery_id=DELIVERY), again=True)

    assert attempt.result is Result.REFUSED
    assert "another mail has the name" in attempt.reply
    assert taken.read_bytes() == b"other"
    assert len(files(root / "ann")) == 2


async def test_leftover_in_tmp_that_is_linked_already_is_not_written_to(maildir: MaildirTarget, root: Path) -> None:
    """A deliverer that died between link and unlink left one file under two names: truncating it would cut a mail."""
    job = job_of(delivery_id=DELIVERY)
    await deliver(maildir, job)
    delivered = root / "ann" / "new" / file_name(DELIVERY)
    before, inode = delivered.read_bytes(), delivered.stat().st_ino
    leftover = root / "ann" / "tmp" / f"{file_name(DELIVERY)}.0badcafe"
    os.link(delivered, leftover)

    attempt = await deliver(maildir, job, again=True)

    assert attempt.result is Result.DELIVERED
    assert (delivered.read_bytes(), delivered.stat().st_ino) == (before, inode)
    assert not leftover.exists()


async def test_without_the_claim_nothing_is_delivered(maildir: MaildirTarget, root: Path) -> None:
    """The last question before the link was answered no: another may be delivering right now."""
    with pytest.raises(ClaimLostError):
        await deliver(maildir, job_of(), before_dot=never)

    assert files(root / "ann") == []


async def test_blob_that_is_not_the_fetched_mail_is_not_delivered(
    maildir: MaildirTarget, root: Path, tmp_path: Path
) -> None:
    """A damaged or cut blob is found before the link, and the mail is fetched again."""
    blobs = FolderBlobs(tmp_path / "blobs")
    job = job_of(blob=True)
    await blobs.put(job.mail_id, MAIL[:-1])

    with pytest.raises(NoBlobError):
        await deliver(maildir, job, blobs)

    assert files(root / "ann") == []


async def test_large_mail_is_copied_with_constant_memory(maildir: MaildirTarget, root: Path, tmp_path: Path) -> None:
    """30 MB pass through in chunks: what is held at a time is a few chunks."""
    raw = b"Subject: large\r\n\r\n" + BLOCK * (30_000_000 // len(BLOCK))
    blobs = FolderBlobs(tmp_path / "blobs")
    job = job_of(raw)
    await blobs.put(job.mail_id, raw)
    expected = canonical(raw)
    tracemalloc.start()
    try:
        attempt = await deliver(maildir, job, blobs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert attempt.result is Result.DELIVERED
    assert without_trace(messages(root / "ann")[0]) == expected
    assert peak < 4_000_000


async def test_links_of_one_folder_share_its_fsyncs(maildir: MaildirTarget, root: Path) -> None:
    """Forty mails at once cost a sync each for their files, and few for the folder."""
    await deliver(maildir, job_of())  # makes the folders
    before = maildir.fsyncs

    attempts = await asyncio.gather(*(deliver(maildir, job_of()) for _ in range(40)))

    assert {attempt.result for attempt in attempts} == {Result.DELIVERED}
    assert len(messages(root / "ann")) == 41
    assert 41 <= maildir.fsyncs - before < 75


@pytest.mark.parametrize(
    "local", ["../ann", "..", ".ann", "-ann", "a/b", '"../ann"', "a\\b", "\u2024\u2024", "a..b", "x" * 65]
)
async def test_address_that_is_no_safe_path_is_refused(maildir: MaildirTarget, root: Path, local: str) -> None:
    """Whatever a sender writes, no file appears anywhere, and the reason is for a person."""
    attempt = await deliver(maildir, job_of(recipient=f"{local}@local.example"))

    assert (attempt.result, attempt.scope) == (Result.REFUSED, Scope.RECIPIENT)
    assert "not safe" in attempt.reply
    assert everything(root) == []


async def test_bare_recipient_is_refused_where_the_path_needs_a_domain(root: Path) -> None:
    """The reason names the placeholder."""
    target = maildir_at(f"{root}/{{domain}}/{{user}}?create=yes")

    attempt = await deliver(target, job_of(recipient="ann"))

    assert attempt.result is Result.REFUSED
    assert "{domain}" in attempt.reply
    await target.close()


async def test_symbolic_link_out_of_the_base_is_not_followed(
    maildir: MaildirTarget, root: Path, tmp_path: Path
) -> None:
    """A user who turns the own Maildir into a link elsewhere gets nothing written there."""
    outside = tmp_path / "outside"
    for part in ("new", "cur", "tmp"):
        (outside / part).mkdir(parents=True)
    (root / "ann").symlink_to(outside)

    attempt = await deliver(maildir, job_of())

    assert (attempt.result, attempt.scope) == (Result.DEFERRED, Scope.RECIPIENT)
    assert files(outside) == []


async def test_symbolic_link_inside_a_maildir_is_not_followed(
    maildir: MaildirTarget, root: Path, tmp_path: Path
) -> None:
    """Nor does a link in place of new lead out."""
    (tmp_path / "outside").mkdir()
    for part in ("cur", "tmp"):
        (root / "ann" / part).mkdir(parents=True)
    (root / "ann" / "new").symlink_to(tmp_path / "outside")

    attempt = await deliver(maildir, job_of())

    assert (attempt.result, attempt.scope) == (Result.DEFERRED, Scope.RECIPIENT)
    assert files(tmp_path / "outside") == []


async def test_missing_maildir_defers_its_recipient_and_missing_base_pauses_the_target(root: Path) -> None:
    """Without create=yes a folder that isn't there may come; all folders gone means a disk that isn't mounted."""
    target = maildir_at(f"{root}/{{user}}")

    alone = await deliver(target, job_of())
    shutil.rmtree(root)
    everybody = await deliver(target, job_of())

    assert (alone.result, alone.scope) == (Result.DEFERRED, Scope.RECIPIENT)
    assert everybody.is_outage
    assert (await target.probe()) is not None
    make(root)
    assert (await target.probe()) is None
    await target.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
async def test_full_disk_leaves_no_cut_mail_and_pauses_the_target(tmp_path: Path) -> None:
    """No truncated mail in new, nothing in tmp, and the job waits until there is room again."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=256k", "none", str(small))
    if await mounted.wait() != 0:
        pytest.skip("can't mount here")
    target = maildir_at(f"{small}/{{user}}?create=yes")
    blobs = FolderBlobs(tmp_path / "blobs")
    raw = b"Subject: x\r\n\r\n" + BLOCK * 10_000
    job = job_of(raw)
    await blobs.put(job.mail_id, raw)
    try:
        attempt = await deliver(target, job, blobs)

        assert attempt.is_outage
        assert files(small) == []
        assert (await deliver(target, job_of())).result is Result.DELIVERED
    finally:
        await target.close()
        await (await asyncio.create_subprocess_exec("umount", str(small))).wait()


async def test_cancelled_delivery_waits_for_its_thread_and_leaves_nothing(maildir: MaildirTarget, root: Path) -> None:
    """A thread can't be cut: its file is closed and removed after it, and the mail was not delivered."""
    reached = asyncio.Event()

    async def hang() -> bool:
        reached.set()
        await asyncio.Event().wait()
        return True

    task = asyncio.create_task(deliver(maildir, job_of(delivery_id=new_id()), before_dot=hang))
    await reached.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert files(root / "ann") == []
