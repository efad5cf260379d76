"""Counts what came out of a run: each mail by its octets from its own first field on, whoever put a trace above it."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FIRST_FIELD: Final = b"From: sender@sender.example\n"
"""What each mail of the bench begins with. Programs put their trace fields above it, each others."""

_PARTS: Final = ("new", "cur")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What became of the mails of one run."""

    lost: int = 0
    doubled: int = 0
    left: int = 0  # still on the server

    @property
    def exact(self) -> bool:
        """Whether each recipient has each mail once, and the server none."""
        return not (self.lost or self.doubled or self.left)

    def __str__(self) -> str:
        """Say what isn't right."""
        kinds = {"lost": self.lost, "doubled or changed": self.doubled, "left on the server": self.left}
        return ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count) or "exact"


Planted = Mapping[str, "Counter[bytes]"]
"""What each recipient must hold: digests of mails, by the name of the recipient's Maildir."""


def account(planted: Planted, maildirs: Path, *, left: int) -> Account:
    """Compare each recipient's Maildir with what was planted."""
    lost = doubled = 0
    for name, expected in planted.items():
        held = Counter(digest(path.read_bytes()) for part in _PARTS for path in (maildirs / name / part).glob("*"))
        lost += (expected - held).total()
        doubled += (held - expected).total()
    return Account(lost=lost, doubled=doubled, left=left)


def digest(raw: bytes) -> bytes:
    """Return what tells a mail from others, whatever the ends of its lines are and whoever put a trace above it."""
    lines = raw.replace(b"\r\n", b"\n")
    begin = lines.find(FIRST_FIELD)
    return hashlib.sha256(lines[max(0, begin) :].rstrip(b"\n")).digest()
