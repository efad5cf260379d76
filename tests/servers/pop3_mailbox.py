"""The mailboxes of the sample POP3 server: what they hold, how each mail is treated, and what was deleted."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.maildir import as_lines, canonical


class Quit(Enum):
    """What becomes of QUIT."""

    ANSWERED = auto()
    ANSWER_LOST = auto()  # the mails are deleted, but the client isn't told
    LOST = auto()  # nothing is deleted, and the client isn't told
    REFUSED = auto()  # -ERR, nothing is deleted


@dataclass(slots=True, kw_only=True, eq=False)
class Stored:
    """One mail in a mailbox, and how the server treats it."""

    raw: bytes  # its lines end with CRLF
    uidl: bytes  # b"" is a blank one
    size: int  # as LIST says
    listed: bool = True
    numbered: bool = True  # False: UIDL leaves the mail out
    refusal: str | None = None  # what RETR answers instead of the mail
    top_refusal: str | None = None
    cut_after: int | None = None  # octets of RETR's body after which the server hangs up
    stalls_after: int | None = None  # the same, but it falls silent
    stuffed: bool = True  # False: dots that begin lines are sent as they are
    retrieved: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class Mailbox:
    """One account. What the server holds now is `mails`; what sessions deleted is `deleted`."""

    user: str
    password: str
    mails: list[Stored] = field(default_factory=list)
    deleted: list[bytes] = field(default_factory=list)  # the mails that QUIT removed, as planted
    hides: bool = False  # a mail that was retrieved is never listed again (Gmail)
    takes: bool = False  # a mail that was retrieved is marked deleted (Mercury)
    marks: bool = False  # a mail that was retrieved gets a Status field (UW, qpopper)
    quit: Quit = Quit.ANSWERED
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def plant(self, *mails: bytes, uidl: bytes | None = None) -> list[Stored]:
        """Put mails in, listed after those already there; each gets a UIDL of its own, unless one is given."""
        stored = [self._stored(raw, uidl) for raw in mails]
        self.mails += stored
        return stored

    def remaining(self) -> list[bytes]:
        """Return the mails still there, in canonical form."""
        return [canonical(mail.raw) for mail in self.mails]

    def visible(self) -> list[Stored]:
        """Return the mails that a session which begins now would list."""
        return [mail for mail in self.mails if mail.listed and not (self.hides and mail.retrieved)]

    def remove(self, mails: Iterable[Stored]) -> None:
        """Delete, as QUIT does; what another session deleted is gone."""
        for mail in [mail for mail in mails if mail in self.mails]:
            self.mails.remove(mail)
            self.deleted.append(mail.raw)

    def _stored(self, raw: bytes, uidl: bytes | None) -> Stored:
        lines = as_lines(raw)
        return Stored(raw=lines, uidl=b"uidl-%d" % next(self._numbers) if uidl is None else uidl, size=len(lines))
