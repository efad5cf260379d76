"""Whose file it is, told from its content, and the reader for it. Pure."""

import re
from dataclasses import replace
from enum import StrEnum
from typing import Final, NewType

from manager.importing.drafts import Draft, Remark
from manager.importing.fetchmail import read_fetchmailrc
from manager.importing.getmail import read_getmailrc
from manager.importing.words import Kind, words

Source = NewType("Source", str)

_SECTION: Final = re.compile(r"^\[(retriever|destination|options)\]", re.MULTILINE)
_FIRST_WORDS: Final = frozenset({"poll", "server", "skip", "defaults", "set"})


class Collector(StrEnum):
    """A mail collector whose files can be read."""

    FETCHMAIL = "fetchmail"
    GETMAIL = "getmail"


def kind_of(source: Source) -> Collector | None:
    """Return whose file this is; None for anybody else's."""
    if _SECTION.search(source):
        return Collector.GETMAIL
    first = next(words(source), None)
    if first and first.kind is Kind.WORD and first.text in _FIRST_WORDS:
        return Collector.FETCHMAIL
    return None


def read_drafts(source: Source, *, path: str, home: str, me: str) -> tuple[list[Draft], list[Remark]]:
    """Return the drafts of a file, and what belongs to none of them."""
    if kind_of(source) is Collector.GETMAIL:
        drafts, remarks = read_getmailrc(source, home=home)
    else:
        drafts, remarks = read_fetchmailrc(source, me=me)
    for draft in drafts:
        draft.is_of(path)
    return drafts, [replace(remark, path=path) for remark in remarks]
