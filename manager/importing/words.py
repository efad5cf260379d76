"""The words of a .fetchmailrc. Total and linear: any text gives words, and what they mean is for `entries.py`.

As fetchmail's own lexer does, the longest reading of a place wins, so that `a"b"` is one word, quotes and all; and what
follows `user`, `password`, `is`, `to` and `=` is a text, even where it is spelt like a keyword.
"""

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, NamedTuple

_BLANK: Final = re.compile(r"(?:[ \t\r\n;:,]|\\(?=\n))+")
_COMMENT: Final = re.compile(r"#[^\n]*")
_QUOTED: Final = re.compile(r"\"[^\"]*\"|'[^']*'")
_WORD: Final = re.compile(r"[^=;:, \t\r\n]+")
_NUMBER: Final = re.compile(r"-?[0-9]+")
_ESCAPE: Final = re.compile(
    r"\\(?:[xX](?P<hex>[0-9A-Fa-f]{0,2})|(?P<octal>0[0-7]{0,2})|(?P<decimal>[1-9][0-9]{0,2})|(?P<other>.|\n|$))",
    re.DOTALL,
)
_LETTERS: Final = {"n": "\n", "t": "\t", "b": "\b", "r": "\r", "\n": ""}
_BEFORE_TEXT: Final = frozenset({"user", "username", "pass", "password", "is", "to"})
_NOISE: Final = frozenset({"with", "and", "has", "wants", "options"})


class Kind(Enum):
    """What a word can be."""

    WORD = auto()  # a keyword, if it is one
    TEXT = auto()  # never a keyword: quoted, or in a text's place
    NUMBER = auto()
    STAR = auto()  # *
    MAP = auto()  # =


class Word(NamedTuple):
    """One word, its escapes undone."""

    kind: Kind
    text: str
    line: int


def words(source: str) -> Iterator[Word]:
    """Walk through the words of a file; noise words, separators and comments are left out."""
    place, line, text_next = 0, 1, False
    while place < len(source):
        blank = _BLANK.match(source, place) or _COMMENT.match(source, place)
        if blank:
            line += source.count("\n", place, blank.end())
            place = blank.end()
            continue
        kind, raw, end = _longest(source, place, text_next=text_next)
        if kind is not Kind.WORD or raw not in _NOISE:
            yield Word(kind, _unescaped(raw), line)
        text_next = kind is Kind.MAP or (kind is Kind.WORD and raw in _BEFORE_TEXT)
        line += source.count("\n", place, end)
        place = end


def _longest(source: str, place: int, *, text_next: bool) -> tuple[Kind, str, int]:
    if source[place] == "=":
        return Kind.MAP, "=", place + 1
    word = _WORD.match(source, place)
    raw = word[0] if word else source[place]
    quoted = _QUOTED.match(source, place)
    if quoted and len(quoted[0]) >= len(raw):
        return Kind.TEXT, quoted[0][1:-1], quoted.end()
    if raw == "*":
        return Kind.STAR, raw, place + 1
    if text_next:
        return Kind.TEXT, raw, place + len(raw)
    return Kind.NUMBER if _NUMBER.fullmatch(raw) else Kind.WORD, raw, place + len(raw)


def _unescaped(raw: str) -> str:
    return _ESCAPE.sub(_meaning, raw) if "\\" in raw else raw


def _meaning(match: re.Match[str]) -> str:
    if match["hex"] is not None:
        return chr(int(match["hex"] or "0", 16))
    if match["octal"] is not None:
        return chr(int(match["octal"], 8))
    if match["decimal"] is not None:
        return chr(int(match["decimal"]) % 256)
    return _LETTERS.get(match["other"], match["other"])
