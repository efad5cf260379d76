"""A mail's receipt: its whole life in order, told from its rows and from what was written down beside them. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from common.ledger.lives import Happened, Life, Piece
from manager.cli.moments import iso

_REPLY: Final = re.compile(r"([2-5]\d\d)[ -](?:([245]\.\d{1,3}\.\d{1,3})(?=\s|$))?")
"""What an SMTP or LMTP server's reply begins with; a Maildir's and a lost connection's have no code."""

_OF_MAIL: Final[Mapping[str, str]] = {
    "fetched": "fetched",
    "routed": "routed",
    "sent_back": "sent back, to be fetched again",
    "broke": "the session broke while it was retrieved",
    "skipped": "skipped",
    "quarantined": "quarantined",
    "lost": "lost",
    "kept": "kept on the server",
    "deleted": "deleted on the server, in vain",
    "gone": "no longer on the server",
    "returned": "on the server again",
    "renamed": "under another UIDL",
}

_LAST: Final = frozenset({"kept", "deleted", "gone"})
"""What comes after all else of the same moment: deliveries were what it waited for."""

_DECIDED: Final[Mapping[str, str]] = {
    "retry": "a person had it tried again",
    "redirect": "a person gave it to",
    "discard": "a person threw it away",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a receipt."""

    at: int
    kind: str  # "attempt", or in a word what happened
    told: str  # the same as a sentence
    recipient: str | None = None
    delivery_id: str | None = None
    attempt: int | None = None
    target: str | None = None
    result: str | None = None  # of an attempt
    text: str | None = None  # the target's reply, or a reason


def receipt_of(life: Life) -> list[Entry]:
    """Return all that is on record of a mail, in order."""
    pieces = {piece.delivery_id: piece for piece in life.pieces}
    found = [
        *_of_rows(life),
        *(_of_event(event, pieces.get(event.subject)) for event in life.happened),
        *(entry for piece in life.pieces for entry in _of_piece(piece, life)),  # what came of an event comes after it
    ]
    return sorted(found, key=lambda entry: (entry.at, entry.kind in _LAST))


def _of_rows(life: Life) -> Iterator[Entry]:
    again = f", after it was sent back {life.fetches} time{'s' * (life.fetches != 1)}" if life.fetches else ""
    named = ", ".join(f"{piece.recipient} ({piece.reason})" for piece in life.pieces if _is_first(piece, life))
    moments = (
        (life.listed_at, "listed", "listed on the server"),
        (life.fetched_at, "fetched", f"fetched{again}"),
        (life.routed_at, "routed", f"routed to {named or 'nobody'}"),
        (life.deleted_at, "deleted", "deleted on the server"),
        (None if life.deleted_at else life.unseen_since, "gone", "no longer on the server"),
    )
    for at, kind, told in moments:
        if at is not None:
            yield Entry(at=at, kind=kind, told=told)
    written = {(event.what, event.at) for event in life.happened if event.subject == life.mail_id}
    if life.state in {"kept", "skipped", "quarantined", "lost"} and (life.state, life.progress_at) not in written:
        told = f"{_OF_MAIL[life.state]}{f': {life.reason}' if life.reason else ''}"
        yield Entry(at=life.progress_at, kind=life.state, told=told, text=life.reason)


def _is_first(piece: Piece, life: Life) -> bool:
    """Whether a router named the recipient, the first time; others came by a redirect, or another mail of the copy."""
    first = min((event.at for event in life.happened if event.what == "routed"), default=life.routed_at)
    return first is None or piece.created_at <= first


def _of_piece(piece: Piece, life: Life) -> Iterator[Entry]:
    """Yield what a delivery's row tells: that it was made, and how it ended, unless its last attempt told so."""

    def entry(at: int, kind: str, told: str, text: str | None) -> Entry:
        return Entry(at=at, kind=kind, told=told, recipient=piece.recipient, delivery_id=piece.delivery_id, text=text)

    if not _is_first(piece, life):
        told = f"passed on to {piece.recipient}: {piece.reason}"
        yield entry(piece.created_at, "passed_on", told, piece.reason)
    if piece.done_at is None:
        return
    if piece.state != "delivered":
        whose = "from" if piece.state == "redirected" else "to"
        told = f"{piece.state} {whose} {piece.recipient}: {piece.last_reply or ''}"
        yield entry(piece.done_at, piece.state, told, piece.last_reply)
    elif not any(event.subject == piece.delivery_id and event.what == "delivered" for event in life.happened):
        yield _attempt(piece, piece.done_at, piece.attempts, piece.target, "delivered", piece.last_reply)


def _of_event(event: Happened, piece: Piece | None) -> Entry:
    if piece is not None and event.attempt is not None:
        return _attempt(piece, event.at, event.attempt, event.target, event.what, event.text)
    if event.what in _DECIDED:
        whose = "" if piece is None else f" (for {piece.recipient})"
        to = f" {event.text}" if event.text else ""
        told = f"{_DECIDED[event.what]}{to}{whose}"
    else:
        told = f"{_OF_MAIL.get(event.what, event.what)}{f': {event.text}' if event.text else ''}"
    return Entry(
        at=event.at,
        kind=event.what,
        told=told,
        recipient=None if piece is None else piece.recipient,
        delivery_id=None if piece is None else piece.delivery_id,
        target=event.target,
        text=event.text,
    )


def _attempt(  # noqa: PLR0913, PLR0917 (an attempt, as a row or an event has it)
    piece: Piece, at: int, attempt: int, target: str | None, result: str, reply: str | None
) -> Entry:
    delivered = result == "delivered"
    first = "" if delivered and attempt == 1 else f", attempt {attempt}"
    whom = f"{'to' if delivered else 'for'} {piece.recipient} at {target}"
    return Entry(
        at=at,
        kind="attempt",
        told=f"{result.replace('_', ' ')} {whom}{first}: {reply or ''}",
        recipient=piece.recipient,
        delivery_id=piece.delivery_id,
        attempt=attempt,
        target=target,
        result=result,
        text=reply,
    )


def entry_document(entry: Entry) -> dict[str, Any]:
    """Return a line of a receipt as `--json` prints it: docs/json.md describes it."""
    said = _REPLY.match(entry.text or "") if entry.kind == "attempt" else None
    return {
        "at": iso(entry.at),
        "what": entry.told,
        "kind": entry.kind,
        "delivery": entry.delivery_id,
        "recipient": entry.recipient,
        "attempt": entry.attempt,
        "target": entry.target,
        "result": entry.result,
        "code": None if said is None else int(said[1]),
        "enhanced": None if said is None else said[2],
        "text": entry.text,
    }
