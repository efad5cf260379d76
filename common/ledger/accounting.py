"""The ledger read whole, for `pps verify`: every mail, delivery and copy, in batches by id, so that memory stays small.

Plain SQL that both databases understand. Each batch is a query of its own: what changes meanwhile is looked at again
before it counts as a breach.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from common.ledger.reader import Found, Reader

BATCH: Final = 1000
CHUNK: Final = 500
"""Values in one IN list, as for all of the ledger's queries."""

_MAIL: Final = "m.id, m.profile_id, m.mailbox, m.state, m.unseen_since, m.progress_at, m.octets, m.copy_id"

_COUNTED: Final = """
SELECT {columns}, count(d.id) AS pieces,
       sum(CASE WHEN d.state IN ('delivered', 'discarded') THEN 1 ELSE 0 END) AS taken,
       sum(CASE WHEN d.state = 'delivered' THEN 1 ELSE 0 END) AS given,
       sum(CASE WHEN d.state IN ('pending', 'deferred') THEN 1 ELSE 0 END) AS waiting,
       sum(CASE WHEN d.state = 'quarantined' THEN 1 ELSE 0 END) AS stuck,
       sum(CASE WHEN d.mail_id = m.id AND d.state = 'pending' THEN 1 ELSE 0 END) AS own_pending,
       sum(CASE WHEN d.mail_id = m.id AND d.state IN ('deferred', 'quarantined') THEN 1 ELSE 0 END) AS own_tried
FROM ({mails}) m LEFT JOIN deliveries d ON d.copy_id = m.copy_id
GROUP BY {columns} ORDER BY m.id
"""
_SOME: Final = "SELECT * FROM mails WHERE id > :after ORDER BY id LIMIT :limit"
_NAMED: Final = "SELECT * FROM mails WHERE id IN ({ids})"

_DELIVERIES: Final = """
SELECT d.id, d.copy_id, d.profile_id, d.mail_id, d.recipient, d.target, d.state, d.done_at, d.last_reply,
       m.id AS mail, m.digest, m.octets, m.fetched_at
FROM ({deliveries}) d LEFT JOIN mails m ON m.id = d.mail_id ORDER BY d.id
"""
_SOME_DELIVERIES: Final = "SELECT * FROM deliveries WHERE id > :after ORDER BY id LIMIT :limit"
_NAMED_DELIVERIES: Final = "SELECT * FROM deliveries WHERE id IN ({ids})"

_COPIES: Final = """
SELECT c.id, c.mailbox, (SELECT count(*) FROM deliveries d WHERE d.copy_id = c.id) AS pieces
FROM (SELECT id, mailbox FROM copies WHERE id > :after ORDER BY id LIMIT :limit) c ORDER BY c.id
"""

_OF_BLOBS: Final = "SELECT id, profile_id, state, digest, octets FROM mails WHERE id IN ({ids})"

_OF_COPIES: Final = "SELECT copy_id, digest, octets FROM mails WHERE copy_id IN ({ids}) AND digest IS NOT NULL"

_BY_UIDL: Final = """
SELECT id, uidl_key, state, unseen_since FROM mails WHERE mailbox = :mailbox AND uidl_key IN ({keys})
"""
_BY_CONTENT: Final = """
SELECT id, uidl, uidl_key, state, unseen_since FROM mails
WHERE mailbox = :mailbox AND uidl_key >= :first AND uidl_key < :before
"""
_ON_SERVER: Final = """
SELECT id, uidl_key FROM mails WHERE mailbox = :mailbox AND unseen_since IS NULL AND id > :after
ORDER BY id LIMIT :limit
"""

_POLLED: Final = "SELECT last_started_at, last_success_at, listed FROM schedule WHERE profile_id = :profile"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailRow:
    """One mail with its copy's deliveries counted."""

    id: str
    profile_id: str
    mailbox: str
    state: str
    unseen_since: int | None
    progress_at: int
    octets: int | None
    copy_id: str | None
    pieces: int
    taken: int  # delivered, or thrown away by a person
    given: int  # of these, delivered
    waiting: int  # pending or deferred
    stuck: int  # in quarantine
    own_pending: int  # of the deliveries that are made from this mail's bytes
    own_tried: int  # of those, deferred or in quarantine

    @property
    def own_undone(self) -> int:
        """Deliveries that want this mail's bytes."""
        return self.own_pending + self.own_tried


async def mails(reader: Reader) -> AsyncIterator[list[MailRow]]:
    """Yield all mails, in batches."""
    async for rows in _batches(reader, _COUNTED.format(columns=_MAIL, mails=_SOME)):
        yield [_mail_row(row) for row in rows]


async def mails_now(reader: Reader, ids: Collection[str]) -> list[MailRow]:
    """Return these mails as they are now."""
    query = _COUNTED.format(columns=_MAIL, mails=_NAMED)
    return [_mail_row(row) for row in await _in(reader, query, ids)]


def _mail_row(row: Found) -> MailRow:
    counts = ("pieces", "taken", "given", "waiting", "stuck", "own_pending", "own_tried")
    return MailRow(**{**row, **{name: int(row[name] or 0) for name in counts}})


async def deliveries(reader: Reader) -> AsyncIterator[Sequence[Found]]:
    """Yield all deliveries with the digest and size of the mail that they are made from, in batches."""
    async for rows in _batches(reader, _DELIVERIES.format(deliveries=_SOME_DELIVERIES)):
        yield rows


async def deliveries_now(reader: Reader, ids: Collection[str]) -> list[Found]:
    """Return these deliveries as they are now."""
    return await _in(reader, _DELIVERIES.format(deliveries=_NAMED_DELIVERIES), ids)


async def empty_copies(reader: Reader) -> AsyncIterator[Sequence[Found]]:
    """Yield copies that have no delivery: `id` and `mailbox`."""
    async for rows in _batches(reader, _COPIES):
        yield [row for row in rows if not row["pieces"]]


async def mails_of_blobs(reader: Reader, keys: Collection[str]) -> dict[str, Found]:
    """Return the mails of these blobs by id: `profile_id`, `state`, `digest`, `octets`."""
    return {row["id"]: row for row in await _in(reader, _OF_BLOBS, keys)}


async def digests_of_copies(reader: Reader, copies: Collection[str]) -> dict[str, list[tuple[bytes, int]]]:
    """Return digest and size of every mail of these copies."""
    found: dict[str, list[tuple[bytes, int]]] = {}
    for row in await _in(reader, _OF_COPIES, copies):
        found.setdefault(row["copy_id"], []).append((bytes(row["digest"]), row["octets"]))
    return found


async def by_uidl(reader: Reader, mailbox: str, keys: Collection[bytes]) -> dict[bytes, Found]:
    """Return the mails of a mailbox that are known by these keys."""
    found: dict[bytes, Found] = {}
    for part in _parts(sorted(keys)):
        names, values = _placed(part)
        for row in await reader.rows(_BY_UIDL.format(keys=names), mailbox=mailbox, **values):
            found[bytes(row["uidl_key"])] = row
    return found


async def by_content(reader: Reader, mailbox: str, first: bytes, before: bytes) -> Sequence[Found]:
    """Return the mails of a mailbox that are known by their content: by a key in this range."""
    return await reader.rows(_BY_CONTENT, mailbox=mailbox, first=first, before=before)


async def on_server(reader: Reader, mailbox: str) -> AsyncIterator[Sequence[Found]]:
    """Yield the mails of a mailbox that were listed last time, in batches."""
    async for rows in _batches(reader, _ON_SERVER, mailbox=mailbox):
        yield rows


async def polled(reader: Reader, profile_id: str) -> Found:
    """Return when a profile was last polled, and last polled well, and how many mails it listed then."""
    (row,) = await reader.rows(_POLLED, profile=profile_id)
    return row


async def _batches(reader: Reader, query: str, **values: object) -> AsyncIterator[Sequence[Found]]:
    after = ""
    while rows := await reader.rows(query, after=after, limit=BATCH, **values):
        after = rows[-1]["id"]
        yield rows


async def _in(reader: Reader, query: str, ids: Collection[str]) -> list[Found]:
    found: list[Found] = []
    for part in _parts(sorted(ids)):
        names, values = _placed(part)
        found += await reader.rows(query.format(ids=names), **values)
    return found


def _parts(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[start : start + CHUNK] for start in range(0, len(values), CHUNK)]


def _placed(values: Sequence[Any]) -> tuple[str, dict[str, Any]]:
    placed = {f"one{number}": value for number, value in enumerate(values)}
    return ", ".join(f":{name}" for name in placed), placed
