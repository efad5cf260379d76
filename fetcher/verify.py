"""Invariant I2: a mail of an earlier session is deleted only if the server still holds it under its name."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from common.messages import one_line
from fetcher.identity import is_trusted
from fetcher.incoming import header_hash
from fetcher.plan import Known, same_mail

if TYPE_CHECKING:
    from fetcher.session import Session


async def verified(session: "Session", candidates: Sequence[Known]) -> list[Known]:
    """Return the candidates that are certain: by TOP and listed size, else by retrieving and comparing them whole.

    Those whose UIDL names another mail by now lose it in the ledger, and are seen as new in the next listing.
    """
    if not candidates:
        return []
    by_top = [pair for pair in candidates if is_trusted(pair.known)] if session.connection.capabilities.top else []
    headers = await session.connection.tops([pair.listed.number for pair in by_top])
    certain: list[Known] = []
    others: list[Known] = []
    for pair in candidates:
        header = headers.get(pair.listed.number)
        if header is None:
            continue
        matches = same_mail(pair.known, size=pair.listed.size, header_hash=header_hash(header))
        (certain if matches else others).append(pair)
    unasked = [pair for pair in candidates if headers.get(pair.listed.number) is None]
    same, different = await _compared_whole(session, unasked)
    await _forget(session, [*others, *different])
    return [*certain, *same]


async def _compared_whole(session: "Session", pairs: Sequence[Known]) -> tuple[list[Known], list[Known]]:
    by_number = {pair.listed.number: pair for pair in pairs}
    same: list[Known] = []
    different: list[Known] = []
    if not by_number:
        return same, different
    async for got in session.connection.retrieve(list(by_number), lambda _number: Digest()):
        if got.sink is None:
            continue  # neither the same nor another: left alone
        pair = by_number[got.number]
        (same if got.sink.value == pair.known.digest else different).append(pair)
    return same, different


class Digest:
    """A sink that keeps nothing of a mail but its SHA-256."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    @property
    def value(self) -> bytes:
        """The SHA-256 of what was written."""
        return self._hash.digest()

    async def write(self, chunk: bytes) -> None:
        """Take the next octets."""
        self._hash.update(chunk)

    async def discard(self) -> None:
        """Keep nothing: there is nothing to do."""


async def _forget(session: "Session", pairs: Sequence[Known]) -> None:
    for pair in pairs:
        session.log.warning(
            "uidl_reused", mail=pair.known.mail_id, uidl=one_line(repr(pair.listed.uidl), 200), size=pair.listed.size
        )
    await session.at.ledger.renew_identity(session.lease, [pair.known.mail_id for pair in pairs])
