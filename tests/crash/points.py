"""Where processes die: for each crash point the process that comes by, which time is meant, and for which target."""

import random
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One crash point as a scenario, amid the mails where each of them passes it."""

    name: str
    count: int  # the time that it is passed
    passes: int  # how often a dozen mails pass it at least: what a random count is drawn from
    target: str = "local"
    role: str = ""  # where it isn't the first part of the name
    doubles: int = 0  # the most that may come twice

    @property
    def label(self) -> str:
        """What tests and tables call it."""
        return f"{self.name} ({self.role})" if self.role else self.name

    @property
    def point(self) -> str:
        """What PPS_CRASH_AT holds."""
        return f"{self.name}:{self.count}"

    def at_random(self, source: random.Random) -> "Place":
        """Return the same at any of its times."""
        return replace(self, count=source.randint(1, self.passes))

    @property
    def command(self) -> str:
        """The role that comes by."""
        return self.role or self.name.partition(".")[0]


MAILS: Final = 12

PLACES: Final = (
    Place(name="fetcher.after_retr", count=5, passes=MAILS),
    Place(name="fetcher.after_blob", count=5, passes=MAILS),
    Place(name="fetcher.after_ledger", count=5, passes=MAILS),
    Place(name="fetcher.after_confirm", count=5, passes=MAILS),
    Place(name="fetcher.after_settle", count=5, passes=MAILS),
    Place(name="fetcher.after_outcome", count=1, passes=1),
    Place(name="fetcher.after_dele", count=1, passes=1),
    Place(name="fetcher.after_quit", count=1, passes=1),
    Place(name="router.before_ledger", count=5, passes=MAILS),
    Place(name="router.after_ledger", count=5, passes=MAILS),
    Place(name="router.amid_publish", count=5, passes=MAILS),
    Place(name="router.after_publish", count=5, passes=MAILS),
    Place(name="deliverer.after_claim", count=5, passes=MAILS),
    Place(name="deliverer.after_link", count=5, passes=MAILS),
    Place(name="deliverer.after_outcome", count=5, passes=MAILS),
)
"""What can be reached with a Maildir as target, in one process or in three: never a double."""

LMTP_PLACES: Final = (
    Place(name="deliverer.before_dot", count=5, passes=MAILS, target="mda"),
    Place(name="deliverer.after_dot", count=5, passes=MAILS, target="mda", doubles=1),
    Place(name="deliverer.after_reply", count=5, passes=MAILS, target="mda", doubles=1),
    Place(name="deliverer.after_outcome", count=5, passes=MAILS, target="mda"),
)
"""What concerns a server as target, on one connection: a kill between a mail's dot and its outcome may double it."""

BROKER_PLACES: Final = (
    Place(name="broker.after_publish", count=5, passes=MAILS, role="fetcher"),
    Place(name="broker.after_publish", count=5, passes=MAILS, role="router"),
    Place(name="broker.after_publish", count=5, passes=MAILS, role="deliverer"),
)
"""What only processes with a real broker pass: published, and nobody knows yet whether the broker has it."""
