"""What real servers hold in the end is what was fetched, octet by octet, below the one field that we put on top."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from common.folder_blobs import FolderBlobs
from common.messages import Result
from deliverer.target import TargetOptions
from tests.deliveries import deliver, job_of, target_of
from tests.integration.service import WAIT_SECONDS
from tests.maildir import messages
from tests.mails import varied
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix

MAILS: Final = [
    *(sample.raw for sample in varied(30, seed=77, odd=True)),
    b"Subject: smuggled\r\n\r\na\n.\r\nMAIL FROM:<evil@far.example>\r\n\r.\r\n\n.\n.\r\n..\r\nQUIT\r\nend",
]
"""Dots, 8-bit octets, long lines, no line end at the end, bare CR and LF, NUL, mail in mail, a mail in disguise."""

_OUR_FIELD: Final = re.compile(
    rb"(?:Received: from pop\.far\.example by [0-9a-f-]{36}\.pps\.invalid .*\n\t.*\n|X-PPS-Trace: .*\n)"
)


def mended(raw: bytes) -> bytes:
    """Return what a Maildir behind an SMTP server may hold of a mail: line ends are line ends, and no NUL."""
    lines = re.sub(rb"\r+\n|\r|\n", b"\n", raw.replace(b"\0", b""))
    return lines if lines.endswith(b"\n") else lines + b"\n"


def below_our_field(stored: bytes) -> bytes:
    """Return what follows the field that the deliverer put on top; the server's own fields stand above it."""
    found = _OUR_FIELD.search(stored)
    assert found is not None, stored[:500]
    return stored[found.end() :]


async def delivered(url: str, folder: Path, inbox: Callable[[], Sequence[bytes]], *, received: bool) -> list[bytes]:
    """Deliver all mails to ann, and return what she then holds beyond what she had, without our field."""
    before = set(inbox())
    blobs = FolderBlobs(folder / "blobs")
    target = target_of(TargetOptions(url=url, received=received))
    for raw in MAILS:
        job = job_of(raw)
        await blobs.put(job.mail_id, raw)
        assert (await deliver(target, job, blobs)).result is Result.DELIVERED
    await target.close()
    async with asyncio.timeout(WAIT_SECONDS):
        while len(set(inbox()) - before) < len(MAILS):  # noqa: ASYNC110 (a server's folder can't be waited on)
            await asyncio.sleep(0.05)
    return sorted(below_our_field(raw) for raw in set(inbox()) - before)


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    """Run a Postfix."""
    with Postfix() as running:
        yield running


@pytest.mark.parametrize("received", [True, False])
async def test_through_dovecot_s_lmtp(dovecot: Dovecot, tmp_path: Path, received: bool) -> None:  # noqa: FBT001 (a case)
    """Nothing is smuggled, nothing lost; line ends are mended, and NUL is left out."""
    url = f"lmtp://127.0.0.1:{dovecot.lmtp_port}"
    found = await delivered(url, tmp_path, lambda: dovecot.inbox("ann"), received=received)
    assert found == sorted(map(mended, MAILS))


@pytest.mark.parametrize("received", [True, False])
async def test_through_postfix(postfix: Postfix, tmp_path: Path, received: bool) -> None:  # noqa: FBT001 (a case)
    """The same, through an SMTP server and its queue."""
    found = await delivered(postfix.url, tmp_path, lambda: postfix.inbox("ann"), received=received)
    assert found == sorted(map(mended, MAILS))
    assert "evil@far.example" not in postfix.log


@pytest.mark.parametrize("received", [True, False])
async def test_into_a_maildir(tmp_path: Path, received: bool) -> None:  # noqa: FBT001 (a case)
    """Only CRLF becomes LF; every other octet stays."""
    url = f"maildir:{tmp_path}/mail?create=yes"
    found = await delivered(url, tmp_path, lambda: messages(tmp_path / "mail"), received=received)
    assert found == sorted(raw.replace(b"\r\n", b"\n") for raw in MAILS)
