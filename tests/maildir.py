"""Reads Maildirs, and accounts for planted mails against them, byte for byte. A Maildir stores CRLF as LF."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_BARE_LF: Final = re.compile(rb"(?<!\r)\n")

_ADDED_BEFORE_TRACE: Final = (b"return-path", b"delivered-to")
"""Fields that an LMTP server puts above what it was sent."""


def count(folder: Path) -> int:
    """Return how many mails a Maildir holds, without reading any."""
    return sum(1 for part in ("new", "cur") if (folder / part).is_dir() for _ in os.scandir(folder / part))


def messages(folder: Path) -> list[bytes]:
    """Return the mails in a Maildir's `new` and `cur`, as stored, by file name; a Maildir that isn't there is empty."""
    found: list[tuple[str, bytes]] = []
    for part in ("new", "cur"):
        for path in (folder / part).glob("*"):
            try:
                found.append((path.name, path.read_bytes()))
            except FileNotFoundError:  # moved from new to cur, or removed, since it was listed
                moved = [*(folder / "cur").glob(f"{path.name.partition(':')[0]}*")] if part == "new" else []
                found += [(path.name, there.read_bytes()) for there in moved[:1]]
    return [raw for _, raw in sorted(dict(found).items())]


def as_lines(raw: bytes) -> bytes:
    """Return a mail as POP3's RETR must give it: each line ends with CRLF, the last one too (RFC 1939, section 3)."""
    lines = _BARE_LF.sub(b"\r\n", raw)
    return lines if lines.endswith(b"\r\n") else lines + b"\r\n"


def canonical(raw: bytes) -> bytes:
    """Return the form in which mails are compared: `as_lines`, stored as a Maildir does, CRLF as LF."""
    return as_lines(raw).replace(b"\r\n", b"\n")


def without_trace(raw: bytes) -> bytes:
    """Return the mail without the first Received field, and without what an LMTP server put above that field.

    A mail whose first fields are others has no trace of ours, and is returned whole.
    """
    rest = raw
    while rest:
        name = rest.partition(b":")[0].strip().lower()
        if name == b"received":
            return _after_field(rest)
        if name not in _ADDED_BEFORE_TRACE:
            return raw
        rest = _after_field(rest)
    return raw


def _after_field(raw: bytes) -> bytes:
    """Skip the first field: its line, and the lines that begin with white space (RFC 5322, section 2.2.3)."""
    end = raw.find(b"\n") + 1
    while end and raw[end : end + 1] in {b" ", b"\t"}:
        end = raw.find(b"\n", end) + 1
    return raw[end:] if end else b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """What became of planted mails: each field holds (user, mail) pairs, once for each copy missing or too many."""

    lost: list[tuple[str, bytes]] = field(default_factory=list)  # planted for the user, not there
    doubled: list[tuple[str, bytes]] = field(default_factory=list)  # there more often than planted
    foreign: list[tuple[str, bytes]] = field(default_factory=list)  # there, but never planted for this user

    @property
    def exact(self) -> bool:
        """Whether each user holds exactly what was planted."""
        return not (self.lost or self.doubled or self.foreign)

    def __str__(self) -> str:
        """Return counts and the first mail of each kind, short enough for an assertion's message."""
        kinds = {"lost": self.lost, "doubled": self.doubled, "foreign": self.foreign}
        return "; ".join(f"{len(pairs)} {kind}{_example(pairs)}" for kind, pairs in kinds.items())


def account(planted: Mapping[str, Iterable[bytes]], root: Path, pattern: str = "{user}") -> Accounting:
    """Compare what each user should hold with the Maildir at `root / pattern`.

    `pattern` may name {user} (the local part) and {domain}; a key of `planted` is "user" or "user@domain". Stored mails
    are compared without our trace field; a Maildir of a user who isn't in `planted` is not looked at.
    """
    expected = {user: list(mails) for user, mails in planted.items()}
    found = {user: messages(root / _place(user, pattern)) for user in expected}
    return compare(expected, found)


def compare(planted: Mapping[str, Iterable[bytes]], found: Mapping[str, Iterable[bytes]]) -> Accounting:
    """Compare what each user should hold with what each holds (in Maildir form), trace fields left out."""
    accounting = Accounting()
    for user in planted.keys() | found.keys():
        expected = Counter(canonical(raw) for raw in planted.get(user, ()))
        held = Counter(canonical(without_trace(raw)) for raw in found.get(user, ()))
        accounting.lost.extend((user, raw) for raw in (expected - held).elements())
        for raw in (held - expected).elements():
            (accounting.doubled if raw in expected else accounting.foreign).append((user, raw))
    return accounting


def _place(user: str, pattern: str) -> str:
    local, _, domain = user.partition("@")
    return pattern.format(user=local, domain=domain)


def _example(pairs: list[tuple[str, bytes]]) -> str:
    return f" (first: {pairs[0][0]} {pairs[0][1][:200]!r})" if pairs else ""
