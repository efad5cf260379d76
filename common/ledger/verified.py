"""What the last verifications found and whether the ledger was restored, for who looks: plain SQL, through a Reader."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from common.ledger.reader import Reader

LAST: Final = """
SELECT began_at, ended_at, breaches, undelivered, document FROM verifications
ORDER BY ended_at DESC, id DESC LIMIT :limit
"""
ORIGIN: Final = "SELECT restored_at, restored_why, accepted_at FROM installation"

MOST: Final = 5
"""Verifications that are looked through for a profile that was in none of the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How far the ledger can be trusted."""

    at: int | None = None  # when the last verification began
    breaches: int = 0  # that it found
    undelivered: int = 0  # of those, mails that were deleted with no delivered row
    restored_at: int | None = None  # since when nothing is deleted, because the ledger comes from a backup
    restored_why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenNew:
    """Mails of a mailbox that had no row when it was last looked at."""

    at: int  # when that verification had ended
    uidls: frozenset[str]  # hashes


async def read_verified(reader: Reader) -> Verified:
    """Return what the last verification found, and whether deletion is withheld."""
    last = await reader.rows(LAST, limit=1)
    (origin,) = await reader.rows(ORIGIN)
    withheld = origin["restored_at"] is not None and (origin["accepted_at"] or 0) < origin["restored_at"]
    return Verified(
        at=last[0]["began_at"] if last else None,
        breaches=last[0]["breaches"] if last else 0,
        undelivered=last[0]["undelivered"] if last else 0,
        restored_at=origin["restored_at"] if withheld else None,
        restored_why=origin["restored_why"] if withheld else None,
    )


async def read_seen_new(reader: Reader) -> dict[str, SeenNew]:
    """Return by profile's name what was new on its server when it was looked at last."""
    found: dict[str, SeenNew] = {}
    for row in await reader.rows(LAST, limit=MOST):
        for name, uidls in _seen(json.loads(row["document"])):
            found.setdefault(name, SeenNew(at=row["ended_at"], uidls=frozenset(uidls)))
    return found


def _seen(document: dict[str, Any]) -> Sequence[tuple[str, list[str]]]:
    return [
        (one["name"], one["remote"]["new_uidls"])
        for one in document.get("profiles", ())
        if one.get("remote", {}).get("looked")
    ]
