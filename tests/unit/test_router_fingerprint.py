"""The copy fingerprint: equal for what a provider stored once a recipient, different for all else."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.fingerprint import fingerprint_of
from router.headers import MAX_FIELDS, fields_of

BODY = hashlib.sha256(b"body").digest()

MAIL = (
    b"From: Ann <ann@far.example>\r\nTo: x@local.example,\r\n\ty@local.example\r\nSubject: one  two\r\n"
    b"Message-ID: <1@far.example>\r\nContent-Type: text/plain\r\n"
)


def fingerprint(header: bytes, body: bytes = BODY, *, cut: bool = False) -> str | None:
    """Return the fingerprint of a header block."""
    return fingerprint_of(fields_of(header), body, header_cut=cut)


@pytest.mark.parametrize(
    "other",
    [
        b"Return-Path: <x@far.example>\r\nReceived: from a by b\r\nDelivered-To: y\r\nX-UIDL: 1\r\n" + MAIL,
        MAIL + b"Status: RO\r\nContent-Length: 17\r\nLines: 2\r\n",
        MAIL.replace(b"\r\n", b"\n"),
        MAIL.replace(b",\r\n\ty", b", y").replace(b"one  two", b"one two"),
        MAIL.replace(b"From", b"FROM").replace(b"Subject:", b"subject :"),
    ],
)
def test_what_servers_change_makes_no_difference(other: bytes) -> None:
    """Trace fields, folding, and the case of names differ between stored copies."""
    assert fingerprint(other) == fingerprint(MAIL)


@pytest.mark.parametrize(
    "other",
    [
        MAIL.replace(b"one", b"One"),
        MAIL.replace(b"y@", b"z@"),
        MAIL.replace(b"1@", b"2@"),
        MAIL.replace(b"To:", b"Cc:"),
        MAIL + b"References: <0@far.example>\r\n",
        MAIL + b"Resent-To: z@far.example\r\n",
        MAIL + b"Content-Language: en\r\n",
        MAIL + b"List-Id: x\r\n",
        MAIL.replace(b"Subject: one  two", b"Subject: one\r\nSubject: two"),
    ],
)
def test_what_a_sender_wrote_makes_the_difference(other: bytes) -> None:
    """Two letters are never taken for one."""
    assert fingerprint(other) != fingerprint(MAIL)


def test_the_body_counts() -> None:
    """Same header, other body: two mails."""
    assert fingerprint(MAIL, hashlib.sha256(b"other").digest()) != fingerprint(MAIL)


def test_what_is_not_known_whole_is_never_joined() -> None:
    """No Message-ID, a blank one, a header that was cut or has too many fields."""
    assert fingerprint(MAIL.replace(b"Message-ID: <1@far.example>", b"X: y")) is None
    assert fingerprint(MAIL.replace(b"Message-ID: <1@far.example>", b"Message-ID: ")) is None
    assert fingerprint(MAIL, cut=True) is None
    assert fingerprint(MAIL + b"X: y\r\n" * MAX_FIELDS) is None


@given(st.lists(st.sampled_from([b"a", b"b", b"4:to", b"2:", b"to"]), min_size=4, max_size=4, unique=True))
def test_values_never_pass_for_fields(values: list[bytes]) -> None:
    """However values look, other values in other fields give another fingerprint."""
    first = b"Message-ID: x\r\nTo: %b\r\nCc: %b\r\n" % (values[0], values[1])
    second = b"Message-ID: x\r\nTo: %b\r\nCc: %b\r\n" % (values[2], values[3])
    glued = b"Message-ID: x\r\nTo: %b2:cc%b\r\n" % (values[0], values[1])

    assert len({fingerprint(first), fingerprint(second), fingerprint(glued)}) == 3
