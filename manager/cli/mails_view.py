"""How `pps mails` looks: mails as a table, one mail's life in order, and both as documents. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from common.ledger.lives import Life, Listed, Piece
from manager.cli.moments import age, iso, local
from manager.cli.receipt import entry_document, receipt_of
from manager.cli.tables import Block, Line, Rows

_UNDONE: Final = frozenset({"pending", "deferred", "quarantined"})

_DONE_WITH: Final = frozenset({"deleted", "kept"})

_NEXT: Final = {
    "listed": "it is fetched at the next poll of its profile",
    "fetched": "a router decides who gets it",
    "deleted": "nothing: everybody has it, and the server confirmed the deletion",
    "kept": "nothing: everybody has it, and it stays on the server as the profile wishes",
    "skipped": "it stays on the server, and is tried again daily",
    "quarantined": "it stays on the server until a person decides: see the reason above",
    "lost": "nothing can be done here: ask the sender to send it again",
    "removed": "nothing: somebody else removed it from the server before it was fetched",
}


def stage_of(life: Life) -> str:
    """Return where a mail is, in a word: a routed mail by what its deliveries wait for."""
    if life.state != "routed":
        return life.state
    states = {piece.state for piece in life.pieces}
    for undone in ("quarantined", "deferred", "pending"):
        if undone in states:
            return undone
    return "delivered" if states else "routed"


def table_of(listed: Listed, *, narrow: bool) -> Iterator[Block]:
    """Yield the mails as a table, the newest last, as in a log; a narrow one has no profile and size."""
    if not listed.lives:
        yield Line("no such mail")
        return
    headings = ("listed", "state", "recipients", "mail") if narrow else _HEADINGS
    yield Rows(headings, [_row(life, narrow=narrow) for life in listed.lives], whole=len(headings) - 1)
    if listed.more:
        yield Line(f"the newest {len(listed.lives)}; for older ones: --limit, or --since")


_HEADINGS: Final = ("listed", "profile", "octets", "state", "recipients", "mail")


def _row(life: Life, *, narrow: bool) -> list[str]:
    size = life.size if life.octets is None else life.octets
    recipients = ", ".join(_whom(piece) for piece in life.pieces)
    if narrow:
        return [local(life.listed_at)[5:16], stage_of(life), recipients, life.mail_id]
    return [local(life.listed_at), life.profile, str(size), stage_of(life), recipients, life.mail_id]


def _whom(piece: Piece) -> str:
    return piece.recipient if piece.state == "delivered" else f"{piece.recipient} ({piece.state})"


def life_blocks(life: Life, siblings: Sequence[Life], at: int) -> Iterator[Block]:
    """Yield one mail's life: what it is, what happened when, each delivery, and what comes next."""
    octets = "" if life.octets is None else f", {life.octets} retrieved"
    yield Line(f"mail {life.mail_id}", style="bold")
    yield Line(f"  profile {life.profile}, UIDL {_text(life.uidl)}, {life.size} octets listed{octets}")
    yield Line(f"  state {stage_of(life)}{f': {life.reason}' if life.reason else ''}")
    if siblings:
        yield Line(f"  one copy with {', '.join(f'{one.mail_id} ({one.state})' for one in siblings)}")
    yield Line("")
    for entry in receipt_of(life):
        yield Line(f"{local(entry.at)}  {entry.told}")
    if life.pieces:
        yield Line("")
        headings = ("recipient", "state", "attempts", "next", "reply", "why")
        yield Rows(headings, [_piece_row(piece, at) for piece in life.pieces])
    yield Line("")
    yield Line(f"next: {next_of(life, at)}")
    yield Line(f"more of it, as long as the log goes back: pps log {life.mail_id}")


def next_of(life: Life, at: int) -> str:
    """Return what comes next, in words."""
    states = {piece.state for piece in life.pieces}
    if life.state in _DONE_WITH and states and states <= {"discarded", "redirected"}:
        return "nothing: nobody has it, for a person discarded it"
    if life.state != "routed":
        return _NEXT.get(life.state, life.state)
    waiting = [piece for piece in life.pieces if piece.state in _UNDONE]
    if any(piece.state == "quarantined" for piece in waiting):
        return "it stays on the server until a person decides: see the reply above"
    if not waiting:
        return "it is deleted on the server, or kept, at the next poll of its profile"
    due = [piece.next_attempt_at for piece in waiting if piece.next_attempt_at is not None]
    when = f", the next attempt in {age(min(due), at)}" if due else ""
    return f"it waits for {len(waiting)} of {len(life.pieces)} deliveries{when}"


def _piece_row(piece: Piece, at: int) -> list[str]:
    due = piece.next_attempt_at
    when = "" if due is None else "now" if due <= at else f"in {age(due, at)}"
    return [piece.recipient, piece.state, str(piece.attempts), when, piece.last_reply or "", piece.reason]


def _text(uidl: bytes) -> str:
    """Return a UIDL as text: octets of the server's choice."""
    return uidl.decode("ascii", "backslashreplace") or "(none)"


def list_document(listed: Listed) -> dict[str, Any]:
    """Return what `pps mails --json` prints: docs/json.md describes it."""
    return {"mails": [_document(life) for life in listed.lives], "more": listed.more}


def life_document(life: Life, siblings: Sequence[Life], at: int) -> dict[str, Any]:
    """Return what `pps mails show --json` prints: docs/json.md describes it."""
    events = [entry_document(entry) for entry in receipt_of(life)]
    same = [{"mail": one.mail_id, "state": one.state, "listed_at": iso(one.listed_at)} for one in siblings]
    return {**_document(life), "siblings": same, "events": events, "next": next_of(life, at)}


def _document(life: Life) -> dict[str, Any]:
    times = ("listed_at", "fetched_at", "routed_at", "deleted_at", "unseen_since", "progress_at")
    return {
        "mail": life.mail_id,
        "profile": life.profile,
        "uidl": _text(life.uidl),
        "size": life.size,
        "octets": life.octets,
        "state": life.state,
        "stage": stage_of(life),
        "reason": life.reason,
        "fetches": life.fetches,
        **{name: iso(getattr(life, name)) for name in times},
        "deliveries": [_piece_document(piece) for piece in life.pieces],
    }


def _piece_document(piece: Piece) -> dict[str, Any]:
    return {
        "delivery": piece.delivery_id,
        "recipient": piece.recipient,
        "reason": piece.reason,
        "target": piece.target,
        "sender": piece.sender,
        "state": piece.state,
        "attempts": piece.attempts,
        "last_reply": piece.last_reply,
        "created_at": iso(piece.created_at),
        "next_attempt_at": iso(piece.next_attempt_at),
        "done_at": iso(piece.done_at),
    }
