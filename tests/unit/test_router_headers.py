"""Header blocks: where they end, and their fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.header import split_header
from router.headers import MAX_FIELDS, Field, fields_of, message_id, return_path, unfolded


@pytest.mark.parametrize(
    ("raw", "length"),
    [
        (b"A: b\r\n\r\nbody", 8),
        (b"A: b\n\nbody", 6),
        (b"A: b\r\n\r\nbody\n\nmore", 8),
        (b"A: b\n\nbody\r\n\r\nmore", 6),
        (b"A: b\n\r\nbody", 7),
        (b"A: b\r\r\n\r\r\nbody", 10),
        (b"\r\nbody\r\n\r\n", 2),
        (b"\nbody", 1),
        (b"A: b\r\n", 6),
        (b"A: b", 4),
        (b"", 0),
    ],
)
def test_the_earliest_empty_line_ends_the_header(raw: bytes, length: int) -> None:
    """CRLF or LF, damaged or mixed; a mail without an empty line is all header."""
    assert split_header(raw) == length


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b" ", b":"])).map(b"".join))
def test_what_follows_the_header_never_changes_where_it_ends(raw: bytes) -> None:
    """A fetcher that sees more of the mail finds the same end."""
    length = split_header(raw)

    assert 0 <= length <= len(raw)
    if length < len(raw):
        assert split_header(raw[:length]) == length


def test_fields_keep_their_octets_and_their_order() -> None:
    """Values stand as they came, folds inside; positions count fields from 1."""
    assert fields_of(b"From x\r\nTo: a,\r\n\tb\r\ngarbage\r\n more\r\nX-\xff: y\r\nCC :c\r\n\r\nBcc: d\r\n") == [
        Field("to", b" a,\r\n\tb\r", 1),
        Field("cc", b"c\r", 2),
    ]


def test_no_more_fields_are_read_than_show_that_there_are_too_many() -> None:
    """One more than the limit is enough to know."""
    assert len(fields_of(b"A: b\r\n" * MAX_FIELDS)) == MAX_FIELDS
    assert len(fields_of(b"A: b\r\n" * (MAX_FIELDS * 3))) == MAX_FIELDS + 1


def test_return_path_is_the_topmost() -> None:
    """The last server wrote it; those below came with the mail (RFC 5321, section 4.4)."""
    fields = fields_of(b"Subject: x\r\nReturn-Path: <one@far.example>\r\nReturn-Path: <two@far.example>\r\n\r\n")

    assert unfolded(return_path(fields)) == b"<one@far.example>"
    assert message_id(fields) == b""


@given(st.binary(max_size=300))
def test_any_octets_are_a_header(header: bytes) -> None:
    """Never an error; names are lower-case and without blanks, and values hold no unfolded line."""
    for field in fields_of(header):
        assert field.name == field.name.lower()
        assert not set(field.name) & set(" \t:\r\n")
        assert all(line[:1] in (b" ", b"\t") for line in field.value.split(b"\n")[1:])
