"""The mailing lists that a mail came over, by what the list's program wrote into it (RFC 2919, RFC 2369). Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from router.addresses import addresses_of
from router.headers import Field, unfolded

_LIST_ID: Final = re.compile(rb"<([^<>\s]{1,255})>\s*+(?:\([^()]*+\)\s*+)?\Z")
"""The identifier stands last, in brackets; before it a phrase, after it at most a comment."""

_BARE_LIST_ID: Final = re.compile(rb"[^<>\s]{1,255}")
_MAX_LIST_ID: Final = 4096
"""Octets of a List-Id that is looked at: its phrase is a line of text."""


def lists_of(fields: Sequence[Field]) -> Iterator[tuple[Field, str]]:
    """Yield a field and the list that it names: a List-Id, or the list's address, lower-case."""
    for field in fields:
        if field.name == "list-id" and (name := list_id(field.value)):
            yield field, name
        elif field.name in {"list-post", "delivered-to"}:
            for address in addresses_of(field.value.partition(b"?")[0]):  # mailto:LIST?subject=…
                yield field, f"{address.local.lower()}@{address.domain}"


def list_id(value: bytes) -> str:
    """Return a List-Id's identifier, lower-case; "" if there is none. Brackets are wanted, and often left out."""
    text = unfolded(value[:_MAX_LIST_ID])
    match = _LIST_ID.search(text)
    if match is not None:
        return match[1].decode("ascii", "replace").lower()
    return text.decode("ascii", "replace").lower() if _BARE_LIST_ID.fullmatch(text) else ""
