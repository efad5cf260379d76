"""What leaves over SMTP can't be ended by its content, and what is stored has LF, wherever chunks are cut."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deliverer.line_ends import MAX_RUN, MaildirEdge, SmtpEdge

OCTETS = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\0", b"a", b"\r\n"]), max_size=30).map(b"".join)


def through(edge: SmtpEdge | MaildirEdge, chunks: Sequence[bytes]) -> bytes:
    """Feed all chunks and finish."""
    return b"".join([*(edge.feed(chunk) for chunk in chunks), edge.finish()])


def bytewise(raw: bytes) -> list[bytes]:
    """Cut into single octets."""
    return [raw[i : i + 1] for i in range(len(raw))]


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb", b"a\r\nb\r\n"),
        (b"a\rb\r", b"a\r\nb\r\n"),
        (b"a\n.\nb\n", b"a\r\n..\r\nb\r\n"),
        (b"a\r.\rb", b"a\r\n..\r\nb\r\n"),
        (b"a\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n"),
        (b".\r\n", b"..\r\n"),
        (b"a\r\n\0.\r\nb", b"a\r\n..\r\nb\r\n"),
        (b"a\r\0\nb", b"a\r\nb\r\n"),
        (b"a\r\r\nb", b"a\r\nb\r\n"),
        (b"\n\r", b"\r\n\r\n"),
        (b"", b""),
    ],
)
def test_smtp_gets_crlf_and_stuffed_dots_only(raw: bytes, sent: bytes) -> None:
    """Bare CR and LF become CRLF before dots are stuffed, so no smuggled end survives; NUL is left out."""
    assert through(SmtpEdge(), [raw]) == sent
    assert through(SmtpEdge(), bytewise(raw)) == sent


@given(st.lists(OCTETS, max_size=6))
def test_smtp_edge_does_not_depend_on_where_chunks_are_cut(chunks: list[bytes]) -> None:
    """Whole, in chunks and byte by byte give the same octets, and never an end of DATA or a bare CR or LF."""
    raw = b"".join(chunks)

    sent = through(SmtpEdge(), chunks)

    assert sent == through(SmtpEdge(), [raw]) == through(SmtpEdge(), bytewise(raw))
    assert re.search(rb"\r(?!\n)|(?<!\r)\n|\0", sent) is None
    assert b"\r\n.\r\n" not in b"\r\n" + sent
    assert not sent or sent.endswith(b"\r\n")


@given(OCTETS)
def test_proper_mail_arrives_unchanged(raw: bytes) -> None:
    """A mail of CRLF lines is what the server unstuffs, to the octet."""
    proper = raw.translate(None, b"\r\n\0") + b"\r\n.x\r\n\r\n"

    sent = through(SmtpEdge(), [proper])

    assert b"\r\n".join(line.removeprefix(b".") for line in sent.split(b"\r\n")) == proper


def test_removed_nuls_are_counted() -> None:
    """What was left out is known, so that it can be noted."""
    edge = SmtpEdge()

    through(edge, [b"a\0\0b", b"\0"])

    assert edge.removed == 3


def test_a_run_of_carriage_returns_is_not_held_back() -> None:
    """Memory stays constant and time linear on a mail that is nothing but CRs."""
    edge = SmtpEdge()
    chunk = b"\r" * 100_000

    sent = edge.feed(chunk) + edge.feed(chunk)

    assert len(sent) >= 2 * (2 * len(chunk) - MAX_RUN)


@given(st.lists(OCTETS, max_size=6))
def test_maildir_gets_lf_for_crlf_and_nothing_else_changes(chunks: list[bytes]) -> None:
    """CRLF becomes LF even across a chunk's border; bare CRs and NULs stay."""
    raw = b"".join(chunks)

    assert through(MaildirEdge(), chunks) == raw.replace(b"\r\n", b"\n")
    assert through(MaildirEdge(), bytewise(raw)) == raw.replace(b"\r\n", b"\n")
