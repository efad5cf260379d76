"""A header block's fields, read tolerantly (RFC 5322, section 2.2). Bytes in, values out; nothing is decoded but names.

What is no field (an mbox "From " line, garbage) is contained: it ends with its own line and the lines folded under it.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from common.header import split_header

MAX_FIELDS: Final = 1000
"""Fields that are read. Real mail has less than a hundred; a program that writes more has gone wrong."""

_LINE: Final = re.compile(
    rb"(?:([!-9;-~]++)[ \t]*+:)?"  # the name; "To :" is obsolete syntax (RFC 5322, section 4.5)
    rb"([^\n]*+(?:\n[ \t][^\n]*+)*+)\n?"  # the rest, and what is folded under it
)


class Field(NamedTuple):
    """One header field."""

    name: str  # lower-case
    value: bytes  # as it stands: folds inside, no LF after it
    position: int  # counted from 1, fields only


def fields_of(header: bytes) -> list[Field]:
    """Return the fields up to the empty line, at most MAX_FIELDS + 1, so that a caller sees when there are too many."""
    lines = _LINE.findall(header, 0, split_header(header))
    found = [line for line in lines if line[0]][: MAX_FIELDS + 1]
    return [Field(name.decode("ascii").lower(), value, at) for at, (name, value) in enumerate(found, 1)]


def message_id(fields: Iterable[Field]) -> bytes:
    """Return the first Message-ID, unfolded; empty if there is none or it is blank."""
    return unfolded(_first("message-id", fields))


def return_path(fields: Iterable[Field]) -> bytes:
    """Return the topmost Return-Path, the one the last server wrote (RFC 5321, section 4.4); empty if there is none."""
    return _first("return-path", fields)


def unfolded(value: bytes) -> bytes:
    """Return the value with each run of white space, folds included, as one blank."""
    return b" ".join(value.split())


def _first(name: str, fields: Iterable[Field]) -> bytes:
    return next((field.value for field in fields if field.name == name), b"")
