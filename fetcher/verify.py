"""Invariant I2: a mail of an earlier session is deleted only if the server still holds it under its name."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from common.failures import PollError
from common.ledger.fetching import MAX_BREAKS
from common.ledger.records import KnownMail, MailState
from common.messages import one_line
from fetcher.digests import Digests, header_hash
from fetcher.hidden import compared
from fetcher.identity import is_trusted
from fetcher.plan import Known, same_mail

if TYPE_CHECKING:
    from fetcher.session import Session


async def verified(session: "Session", candidates: Sequence[Known], *, by_header: bool = False) -> list[Known]:
    """Return the candidates that are certain: by listed size and TOP; where these tell nothing or differ, by RETR.

    Those whose UIDL names another mail by now lose it in the ledger, and are seen as new in the next listing. What
    TOP shows is not enough to call a mail another, since a server may dress it up: fetched as new, it came twice.
    With `by_header` an equal header is enough to call it the same, whatever its size: for what is not to be deleted.
    """
    same, other, unknown = await _by_top(session, candidates, by_header=by_header)
    if session.lease.hides_mail:
        await _forget(session, other)  # so that it is fetched as new: RETR may be possible once only
        return same if by_header else [*same, *await compared(session, unknown)]
    whole, different = await _by_retrieval(session, [*other, *unknown])
    await _forget(session, different)
    return [*same, *whole]


async def _by_top(
    session: "Session", pairs: Sequence[Known], *, by_header: bool
) -> tuple[list[Known], list[Known], list[Known]]:
    """Return which are the same mail, which show another header, and which TOP and size can't tell."""
    named = [pair for pair in pairs if is_trusted(pair.known)]
    headers = await session.connection.tops([pair.listed.number for pair in named])
    same: list[Known] = []
    other: list[Known] = []
    unknown: list[Known] = []
    for pair in pairs:
        header = headers.get(pair.listed.number)
        if header is None:
            unknown.append(pair)
        elif header_hash(header) != pair.known.header_hash:
            other.append(pair)
        elif by_header or same_mail(pair.known, size=pair.listed.size, header_hash=header_hash(header)):
            same.append(pair)
        else:
            unknown.append(pair)
    return same, other, unknown


async def _by_retrieval(session: "Session", pairs: Sequence[Known]) -> tuple[list[Known], list[Known]]:
    """Retrieve and compare; what the server refuses, or what broke three sessions, is neither same nor different."""
    by_number = {pair.listed.number: pair for pair in pairs if pair.known.breaks < MAX_BREAKS}
    same: list[Known] = []
    different: list[tuple[Known, Compared]] = []
    try:
        async with aclosing(session.connection.retrieve(by_number, lambda _number: Compared())) as retrieving:
            async for got in retrieving:
                pair = by_number[got.number]
                if got.sink is not None and got.sink.equals(pair.known):
                    same.append(pair)
                elif got.sink is not None:
                    different.append((pair, got.sink))
    except PollError as error:
        await session.note_break(by_number, error)
        raise
    moved = _moved(different)
    return [*same, *moved.values()], [pair for pair, _ in different if pair.listed.number not in moved]


def _moved(different: Sequence[tuple[Known, "Compared"]]) -> dict[int, Known]:
    """Return by number the mails that are on record under each other's names: whoever swaps UIDLs doubles no mail.

    Each takes one row of a mail that was on the server and is not what its own name shows now; what was deleted lends
    nobody its row, since an equal mail that came later would be deleted undelivered.
    """
    rows = [pair.known for pair, _ in different if pair.known.state is not MailState.DELETED]
    moved: dict[int, Known] = {}
    for pair, shown in different:
        known = next((row for row in rows if shown.equals(row)), None)
        if known is not None:
            rows.remove(known)
            moved[pair.listed.number] = replace(pair, known=known)
    return moved


class Compared:
    """A sink that keeps nothing of a mail but its digests."""

    def __init__(self) -> None:
        self._digests = Digests()

    def equals(self, known: KnownMail) -> bool:
        """Whether it is the mail on record, but for fields that servers add."""
        return self._digests.equal(known.header_hash, known.body_digest)

    async def write(self, chunk: bytes) -> None:
        """Take the next octets."""
        self._digests.add(chunk)

    async def end(self) -> None:
        """See Sink."""

    async def discard(self) -> None:
        """Keep nothing: there is nothing to do."""


async def _forget(session: "Session", pairs: Sequence[Known]) -> None:
    for pair in pairs:
        session.log.warning(
            "uidl_reused", mail=pair.known.mail_id, uidl=one_line(repr(pair.listed.uidl), 200), size=pair.listed.size
        )
    await session.at.ledger.renew_identity(session.lease, [pair.known.mail_id for pair in pairs])
    session.end.renamed += len(pairs)
