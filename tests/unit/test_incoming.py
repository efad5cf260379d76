"""One mail on its way in: kept in memory or made a blob, hashed as it comes, known by its header."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.folder_blobs import FolderBlobs
from common.messages import MAX_HEADER, MAX_INLINE, Blob, Inline
from fetcher.digests import MAX_HASHED_HEADER, Digests, header_hash
from fetcher.incoming import GATHERED, Incoming
from tests.contract.test_folder_blobs import full_disk
from tests.mails import mail

KEY = "0192f0c1-2345-7abc-8def-0123456789ab"


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    """A blob store of its own."""
    return FolderBlobs(tmp_path / "blobs")


def pieces(octets: bytes, size: int) -> Iterator[bytes]:
    """Yield the octets in pieces of one size."""
    return (octets[at : at + size] for at in range(0, len(octets), size))


async def arrived(
    raw: bytes, blobs: FolderBlobs, *, piece: int = 1000, spool_always: bool = False, whole: bool = True
) -> Incoming:
    """Return a mail that has come in pieces, to its end if it is `whole`."""
    incoming = Incoming(KEY, lambda: blobs.writer(KEY), spool_always=spool_always)
    for chunk in pieces(raw, piece):
        await incoming.write(chunk)
    if whole:
        await incoming.end()
    return incoming


def digests_of(raw: bytes, piece: int) -> Digests:
    """Return the digests of a mail that came in pieces."""
    digests = Digests()
    for chunk in pieces(raw, piece):
        digests.add(chunk)
    return digests


async def stored(blobs: FolderBlobs) -> bytes:
    """Return what the blob holds."""
    return b"".join([chunk async for chunk in blobs.stream(KEY)])


@pytest.mark.parametrize("raw", [mail(size=MAX_INLINE), mail(), b"", b"\r\nonly a body\r\n", b"Subject: no body\r\n"])
async def test_small_mail_stays_in_memory(blobs: FolderBlobs, raw: bytes) -> None:
    """Up to the limit, with the header's length; a mail without an empty line is all header."""
    content = await (await arrived(raw, blobs)).finish()

    assert isinstance(content, Inline)
    assert content.data == raw
    assert content.header == (raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if b"\r\n\r\n" in raw else content.header)
    assert not await blobs.exists(KEY)


@pytest.mark.parametrize("raw", [mail(size=MAX_INLINE + 1), mail(size=3 * GATHERED), mail(size=3 * GATHERED + 1)])
@pytest.mark.parametrize("piece", [1, 1000, MAX_INLINE, MAX_INLINE + 1])
async def test_large_mail_becomes_a_blob(blobs: FolderBlobs, raw: bytes, piece: int) -> None:
    """In whatever pieces: nothing is visible before the end, and all of it after."""
    incoming = await arrived(raw, blobs, piece=piece)
    assert not await blobs.exists(KEY)

    content = await incoming.finish()

    assert content == Blob(key=KEY, size=len(raw), header=raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    assert await stored(blobs) == raw
    assert incoming.digests.whole == hashlib.sha256(raw).digest()


@pytest.mark.parametrize("raw", [mail(), b""])
async def test_with_blob_custody_every_mail_is_a_blob(blobs: FolderBlobs, raw: bytes) -> None:
    """Where RETR hides mail, even a small or an empty one must outlive this process."""
    content = await (await arrived(raw, blobs, spool_always=True)).finish()

    assert isinstance(content, Blob)
    assert (content.size, await stored(blobs)) == (len(raw), raw)


async def test_a_discarded_mail_leaves_nothing(blobs: FolderBlobs, tmp_path: Path) -> None:
    """Cut while it streamed; but what is finished stays."""
    cut = await arrived(mail(size=GATHERED * 2), blobs, whole=False)
    await cut.discard()
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]

    whole = await arrived(mail(size=MAX_INLINE * 2), blobs)
    await whole.finish()
    await whole.discard()
    assert await blobs.exists(KEY)


async def test_a_piece_that_could_not_be_written_is_told_at_the_next(blobs: FolderBlobs, tmp_path: Path) -> None:
    """What follows is not taken for whole, and nothing of it stays."""
    raw = mail(size=GATHERED)
    incoming = Incoming(KEY, lambda: blobs.writer(KEY), spool_always=False)
    with full_disk(4096):
        await incoming.write(raw)
        with pytest.raises(OSError, match="File too large"):
            await incoming.write(raw)

    await incoming.discard()
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


async def test_a_header_over_the_limit_is_cut_and_marked(blobs: FolderBlobs) -> None:
    """Routers see its beginning, and that it was cut; the hash still covers what was cut off."""
    raw = mail(extra="X-Long: " + "x" * MAX_HEADER + "\r\n")

    incoming = await arrived(raw, blobs, piece=10_000)
    content = await incoming.finish()

    assert isinstance(content, Blob)
    assert (content.header, content.header_cut) == (raw[:MAX_HEADER], True)
    assert incoming.digests.header_hash == header_hash(raw)
    assert incoming.digests.header_hash != header_hash(raw.replace(b"Subject: hello", b"Subject: other"))


@pytest.mark.parametrize("beyond", [-3, -2, -1, 0, 1, 2, 3])
def test_a_header_without_end_is_hashed_up_to_a_limit(beyond: int) -> None:
    """Beyond a mebibyte the rest counts as body, however the pieces fall."""
    raw = b"X: " + b"x" * (MAX_HASHED_HEADER + beyond - 7) + b"\r\n\r\nbody\r\n"
    end = min(MAX_HASHED_HEADER + beyond, MAX_HASHED_HEADER)

    found = {
        (digests.header_hash, digests.body, digests.whole)
        for digests in (digests_of(raw, piece) for piece in (65_536, MAX_HASHED_HEADER, len(raw)))
    }

    body, whole = hashlib.sha256(raw[end:]).digest(), hashlib.sha256(raw).digest()
    assert found == {(header_hash(raw), body, whole)}


@given(
    st.lists(st.sampled_from([b"A: b\r\n", b"\r\n", b"\n", b"\r", b" x", b"Status: O\r\n"]), max_size=12),
    st.integers(min_value=1, max_value=9),
)
def test_digests_do_not_depend_on_the_pieces(parts: list[bytes], piece: int) -> None:
    """Header, body and whole come out as they do for the mail in one piece."""
    raw = b"".join(parts)
    cut, whole = digests_of(raw, piece), digests_of(raw, max(1, len(raw)))

    assert cut.header == whole.header
    assert (cut.header_hash, cut.body, cut.whole) == (whole.header_hash, whole.body, whole.whole)
    assert whole.whole == hashlib.sha256(raw).digest()
    assert whole.body == hashlib.sha256(raw[len(whole.header) :]).digest()


BEFORE = b"Received: from a\r\n\tby b\r\nFrom: x@far.example\r\nSubject: hello\r\n"


@pytest.mark.parametrize(
    "seen",
    [
        BEFORE + b"\r\n",
        BEFORE,
        BEFORE.removesuffix(b"\r\n"),
        BEFORE + b"\r\n\r\n",
        BEFORE + b"\r\nfirst line of the body\r\n",
        BEFORE + b"Status: RO\r\n\r\n",
        b"Status: RO\r\nX-Status: A\r\n" + BEFORE + b"\r\n",
        BEFORE
        + b"X-UIDL: abc\r\n def\r\n\tghi\r\nX-UID: 7\r\nX-Keywords:   \r\nCONTENT-LENGTH : 12\r\nlines: 3\r\n\r\n",
    ],
)
def test_retr_and_top_show_one_header(seen: bytes) -> None:
    """With or without the empty line, lines too many, and fields that servers add: it is the same mail."""
    assert header_hash(seen) == header_hash(BEFORE + b"\r\nbody\r\n")


@pytest.mark.parametrize(
    "other",
    [
        BEFORE + b"X-Other: 1\r\n\r\n",
        BEFORE.replace(b"hello", b"hallo") + b"\r\n",
        BEFORE.replace(b"\tby b", b"\tby c") + b"\r\n",
        BEFORE + b"Status-Report: 1\r\n\r\n",
        BEFORE + b"X-Lines: 1\r\n\r\n",
        b"",
    ],
)
def test_another_header_is_another_mail(other: bytes) -> None:
    """What no server adds makes a difference."""
    assert header_hash(other) != header_hash(BEFORE + b"\r\n")
