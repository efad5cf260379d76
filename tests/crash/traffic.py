"""Mail of all sizes for a load, and its accounting by digests: ten thousand mails are never in memory together."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.maildir import canonical, without_trace
from tests.mails import DOMAIN, mail

USERS: Final = tuple(f"user{number}" for number in range(24))

LARGEST: Final = 30_000_000
LARGEST_EVERY: Final = 2_000
LARGE_EVERY: Final = 400
"""Some tens of large mails and a few of 30 MB among ten thousand: disks and minutes stay sane."""


def size_of(number: int, source: random.Random) -> int:
    """Return how large the mail of this number is: most are small, as in any mailbox."""
    if number % LARGEST_EVERY == LARGEST_EVERY // 2:
        return LARGEST
    if number % LARGE_EVERY == LARGE_EVERY // 2:
        return source.randrange(1_000_000, 5_000_000)
    lowest, highest = source.choices(((1_000, 8_000), (8_000, 60_000), (66_000, 200_000)), (70, 25, 5))[0]
    return source.randrange(lowest, highest)


def mails(count: int, seed: int) -> Iterator[tuple[bytes, tuple[str, ...]]]:
    """Yield mails and who must get each: one to three local users."""
    source = random.Random(seed)  # noqa: S311 (mails are no secret)
    for number in range(count):
        users = source.sample(USERS, source.choices((1, 2, 3), (80, 15, 5))[0])
        recipients = tuple(f"{user}@{DOMAIN}" for user in users)
        message_id = f"<{seed}.{number}@load.example>"
        yield mail(to=", ".join(recipients), message_id=message_id, size=size_of(number, source)), recipients


@dataclass(slots=True)
class Ledgered:
    """What was planted, by user and digest; and what came of it."""

    mails: int = 0
    octets: int = 0
    _planted: Counter[tuple[str, bytes]] = field(default_factory=Counter)

    @property
    def deliveries(self) -> int:
        """How many users must have a mail, each counted for each."""
        return self._planted.total()

    def add(self, raw: bytes, recipients: tuple[str, ...]) -> None:
        """Take note of a mail that is planted."""
        self.mails += 1
        self.octets += len(raw)
        self._planted.update((user, _digest(canonical(raw))) for user in recipients)

    def against(self, root: Path) -> "Found":
        """Compare with the Maildirs under a folder, DOMAIN/USER, each mail read by itself."""
        held: Counter[tuple[str, bytes]] = Counter()
        for path in root.glob("*/*/*/*"):
            if path.parent.name in {"new", "cur"}:
                user = f"{path.parent.parent.name}@{path.parent.parent.parent.name}"
                held[user, _digest(canonical(without_trace(path.read_bytes())))] += 1
        more = held - self._planted
        doubled = sum(count for key, count in more.items() if key in self._planted)
        return Found(
            held=held.total(),
            lost=(self._planted - held).total(),
            doubled=doubled,
            foreign=more.total() - doubled,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the Maildirs hold: octet for octet what was planted, but for these."""

    held: int
    lost: int
    doubled: int
    foreign: int  # cut, changed, or never planted for this user

    @property
    def exact(self) -> bool:
        """Whether each user holds just what was planted."""
        return not (self.lost or self.doubled or self.foreign)


def _digest(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()
