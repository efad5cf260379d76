"""The mails of the ledger and their lives, as `pps mails` shows them: found by an index, a bounded number at a time."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from common.ledger.reader import Found, Reader

CHUNK: Final = 500
"""Values in one IN list, as for all of the ledger's queries."""

CLOCK_DIFFERENCE_MS: Final = 3_600_000
"""How far the clock of who made a mail's id may be off from the database's, which decides."""

MAX_ALIKE: Final = 4
"""Mails that are named where the beginning of an id fits several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which mails to list. Several conditions must all hold."""

    limit: int
    profile: str | None = None
    state: str | None = None  # as in MailState, or "removed"
    recipient: str | None = None  # an address, or a user of any local domain
    deferred: bool = False  # somebody's delivery was put off
    quarantined: bool = False  # it, or somebody's delivery, waits for a person
    since: int | None = None  # listed at this time or later


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One recipient's delivery."""

    delivery_id: str
    mail_id: str  # whose bytes are delivered: perhaps another mail of the copy
    recipient: str
    reason: str  # the field and rule that named the recipient
    target: str
    sender: str
    state: str
    attempts: int
    ambiguous: int
    last_reply: str | None
    created_at: int
    claimed_until: int | None
    next_attempt_at: int | None  # only while it is put off
    done_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What is on record beside the rows: see `common.ledger.events`."""

    subject: str  # a mail's or a delivery's id
    at: int
    what: str
    attempt: int | None
    target: str | None
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One mail, from when it was listed. Its content is not in the ledger."""

    mail_id: str
    profile: str
    uidl: bytes
    size: int  # as listed
    octets: int | None  # as retrieved
    state: str  # as in MailState, or "removed"
    reason: str | None
    fetches: int  # times it was sent back to be fetched again
    copy_id: str | None
    listed_at: int
    progress_at: int
    fetched_at: int | None
    routed_at: int | None
    deleted_at: int | None
    unseen_since: int | None
    pieces: tuple[Piece, ...]
    happened: tuple[Happened, ...] = ()  # in order; only where one mail's whole life is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The newest of the mails that were wanted, the oldest of them first."""

    lives: tuple[Life, ...]
    more: bool  # there are older ones


_MAILS: Final = """
SELECT m.id AS mail_id, p.name AS profile, m.uidl, m.size, m.octets,
       CASE WHEN m.state = 'listed' AND m.unseen_since IS NOT NULL THEN 'removed' ELSE m.state END AS state,
       m.reason, m.fetches, m.copy_id, m.listed_at, m.progress_at, m.fetched_at, m.routed_at, m.deleted_at,
       m.unseen_since
FROM mails m LEFT JOIN profiles p ON p.id = m.profile_id
"""
"""A left join, so that SQLite begins with the mails, in the order in which they are wanted."""

_PIECES: Final = """
SELECT copy_id, id AS delivery_id, mail_id, recipient, reason, target, sender, state, attempts, ambiguous, last_reply,
       created_at, claimed_until, CASE WHEN state = 'deferred' THEN next_attempt_at END AS next_attempt_at, done_at
FROM deliveries WHERE copy_id IN ({values}) ORDER BY recipient
"""

_EVENTS: Final = "SELECT subject, id, at, what, attempt, target, text FROM events WHERE subject IN ({values})"

_RECIPIENT: Final = "m.copy_id IN (SELECT copy_id FROM deliveries WHERE recipient IN ({values}))"

_QUARANTINED: Final = """
m.id IN (SELECT id FROM mails WHERE state = 'quarantined'
         UNION SELECT o.id FROM deliveries d JOIN mails o ON o.copy_id = d.copy_id WHERE d.state = 'quarantined')
"""


async def list_mails(reader: Reader, wanted: Wanted) -> Listed:
    """Return the newest mails that are wanted."""
    conditions, values = await _conditions(reader, wanted)
    # In a state by when they came into it, which its index gives in order; else by their ids, which time orders too.
    order = "m.progress_at DESC, m.id DESC" if wanted.state else "m.id DESC"
    query = f"{_MAILS} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT :limit"
    rows = await reader.rows(query, limit=wanted.limit + 1, **values)
    lives = await _with_pieces(reader, rows[: wanted.limit])
    return Listed(lives=tuple(reversed(lives)), more=len(rows) > wanted.limit)


async def find_mails(reader: Reader, beginning: str) -> tuple[str, ...]:
    """Return the ids of the first mails whose id, or a delivery's of theirs, begins so."""
    for query in (_BY_ID, _BY_DELIVERY):
        rows = await reader.rows(query, first=beginning, last=beginning + "g", limit=MAX_ALIKE)  # g follows the digits
        if rows:
            return tuple(str(row["id"]) for row in rows)
    return ()


_BY_ID: Final = "SELECT id FROM mails WHERE id >= :first AND id < :last ORDER BY id LIMIT :limit"
_BY_DELIVERY: Final = (
    "SELECT DISTINCT mail_id AS id FROM deliveries WHERE id >= :first AND id < :last ORDER BY mail_id LIMIT :limit"
)


async def life_of(reader: Reader, mail_id: str) -> Life:
    """Return one mail's life, with all that happened to it and its deliveries."""
    (life,) = await _with_pieces(reader, await reader.rows(f"{_MAILS} WHERE m.id = :mail", mail=mail_id))
    subjects = sorted({life.mail_id, *(piece.delivery_id for piece in life.pieces)})
    found: list[Found] = []
    for start in range(0, len(subjects), CHUNK):
        names, values = _placed("subject", subjects[start : start + CHUNK])
        found += await reader.rows(_EVENTS.format(values=names), **values)
    ordered = sorted(found, key=lambda row: (row["at"], row.pop("id")))
    return replace(life, happened=tuple(Happened(**row) for row in ordered))


async def siblings_of(reader: Reader, life: Life) -> tuple[Life, ...]:
    """Return the other mails of a mail's copy: the provider stored one a recipient, and each recipient gets one."""
    if life.copy_id is None:
        return ()
    rows = await reader.rows(f"{_MAILS} WHERE m.copy_id = :copy ORDER BY m.id", copy=life.copy_id)
    return tuple(_life(row, life.pieces) for row in rows if row["mail_id"] != life.mail_id)


async def _conditions(reader: Reader, wanted: Wanted) -> tuple[list[str], dict[str, Any]]:
    conditions = ["1 = 1"]
    values: dict[str, Any] = {}
    if wanted.profile is not None:
        found_id = await reader.rows("SELECT id FROM profiles WHERE name = :name", name=wanted.profile)
        conditions.append("m.profile_id = :profile")
        values["profile"] = (
            found_id[0]["id"] if found_id else ""
        )  # asked for first: so PostgreSQL knows how many it has
    if wanted.state is not None:
        unseen = {"removed": "IS NOT NULL", "listed": "IS NULL"}.get(wanted.state)
        conditions += ["m.state = :state", *([f"m.unseen_since {unseen}"] if unseen else [])]
        values["state"] = "listed" if wanted.state == "removed" else wanted.state
    if wanted.recipient is not None:
        addresses = await _addresses(reader, wanted.recipient)
        names, found = _placed("recipient", addresses)
        conditions.append(_RECIPIENT.format(values=names))
        values |= found
    if wanted.deferred:
        conditions.append("m.copy_id IN (SELECT copy_id FROM deliveries WHERE state = 'deferred')")
    if wanted.quarantined:
        conditions.append(_QUARANTINED)
    if wanted.since is not None:
        conditions.append("m.id >= :first AND m.listed_at >= :since")
        values |= {"first": _first_id(wanted.since - CLOCK_DIFFERENCE_MS), "since": wanted.since}
    return conditions, values


async def _addresses(reader: Reader, recipient: str) -> list[str]:
    """Return the addresses that a name may mean: itself, or a bare user of any local domain."""
    name = recipient.lower()
    if "@" in name:
        return [name]
    settings = [json.loads(row["settings"]) for row in await reader.rows("SELECT settings FROM profiles")]
    domains = {str(domain) for one in settings for domain in one.get("local_domain", ())}
    return [name, *(f"{name}@{domain}" for domain in sorted(domains))][:CHUNK]


def _first_id(milliseconds: int) -> str:
    """Return the first UUIDv7 of a moment: ids begin with the time they were made at."""
    digits = f"{max(0, milliseconds):012x}"
    return f"{digits[:8]}-{digits[8:]}"


async def _with_pieces(reader: Reader, rows: Sequence[Found]) -> list[Life]:
    copies = sorted({row["copy_id"] for row in rows if row["copy_id"] is not None})
    pieces: dict[str, list[Piece]] = {}
    for start in range(0, len(copies), CHUNK):
        names, values = _placed("copy", copies[start : start + CHUNK])
        for row in await reader.rows(_PIECES.format(values=names), **values):
            pieces.setdefault(row.pop("copy_id"), []).append(Piece(**row))
    return [_life(row, pieces.get(row["copy_id"], ())) for row in rows]


def _life(row: Found, pieces: Iterable[Piece]) -> Life:
    found = {**row, "uidl": bytes(row["uidl"]), "profile": row["profile"] or ""}
    return Life(**found, pieces=tuple(pieces))


def _placed(name: str, values: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return the parameters of an IN list, and their values."""
    placed = {f"{name}{number}": value for number, value in enumerate(values)}
    return ", ".join(f":{key}" for key in placed), placed
