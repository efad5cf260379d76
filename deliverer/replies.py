"""The failure policy of delivering, all of it: what a reply, a lost connection or a failed write means."""

import errno
import re
from typing import Final, NamedTuple

from common.failures import Scope
from common.messages import Result, Stage, one_line
from deliverer.attempt import Attempt

SERVICE_CLOSING: Final = 421
"""The server hangs up (RFC 5321, section 3.8): as if the connection were lost."""

STORAGE_EXCEEDED: Final = 552
"""Without an enhanced code it may mean a full mailbox as well as too large a mail: doubt is temporary."""

OUTSIDE: Final = frozenset({521, 530, 534, 535, 538})
"""Authentication or encryption is asked for (RFC 4954, RFC 3207), or the host takes no mail at all (RFC 7504): it is
about us and the server, not about this mail."""

INVALID: Final = 0
"""Stands for a reply that can't be read."""

_ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s|$)")
_MAILBOX_FULL: Final = (".2.2", ".2.3")
"""Mailbox full, and mail too large for this mailbox (RFC 3463, section 3.3): the user mends it, the mail is fine."""

_FULL_DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Reply(NamedTuple):
    """A server's answer: the code, and its lines joined."""

    code: int
    text: str

    @property
    def enhanced(self) -> str:
        """The enhanced status code that the text begins with (RFC 2034), or ""."""
        match = _ENHANCED.match(self.text)
        return match[1] if match else ""

    def __str__(self) -> str:
        """Return the reply as one printable line: "250 2.1.5 Saved"."""
        return one_line(f"{self.code} {self.text}" if self.code else self.text)


def reply_of(code: int, text: str) -> Reply:
    """Return a reply as it came; a code that is none, which a broken server may well send, becomes INVALID."""
    return Reply(code if 200 <= code < 600 else INVALID, text)  # noqa: PLR2004 (RFC 5321, section 4.2.1)


def is_positive(reply: Reply) -> bool:
    """Whether the server says yes (2yz)."""
    return reply.code // 100 == 2  # noqa: PLR2004 (RFC 5321, section 4.2.1)


def is_permanent(reply: Reply) -> bool:
    """Whether the server says no for good (5yz)."""
    return reply.code // 100 == 5  # noqa: PLR2004 (RFC 5321, section 4.2.1)


def attempt_of(reply: Reply, stage: Stage) -> Attempt:
    """Read the reply that ended an attempt (RFC 5321, section 4.2.1), as a collector must: a mail is never bounced."""
    return Attempt(
        result=_result(reply, stage),
        stage=stage,
        scope=_scope(reply, stage),
        reply=str(reply),
        code=reply.code,
        enhanced=reply.enhanced,
        lost=reply.code in {SERVICE_CLOSING, INVALID},
    )


def broken(stage: Stage, reason: str) -> Attempt:
    """Read a lost connection, or silence beyond the deadline. Once the final dot is out, the mail may be delivered."""
    after_dot = stage is Stage.DOT
    return Attempt(
        result=Result.AMBIGUOUS if after_dot else Result.DEFERRED,
        stage=stage,
        scope=Scope.SERVER if stage is Stage.CONNECT else Scope.MAIL,
        reply=one_line(f"no answer to the final dot: {reason}" if after_dot else reason),
        lost=True,
    )


def reason_of(error: Exception) -> str:
    """Return what a network or file error says, as a user would."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    return str(error) or type(error).__name__


def unaddressable(reason: str, stage: Stage) -> Attempt:
    """Read a recipient that this target can't be asked to take: a person must look."""
    return Attempt(result=Result.REFUSED, stage=stage, scope=Scope.RECIPIENT, reply=one_line(reason))


def unwritten(error: OSError, reason: str, *, base_usable: bool) -> Attempt:
    """Read a failed Maildir write: space and permissions come back; a base without use is everybody's failure.

    A full disk is the server's, a quota the recipient's, as far as the error tells them apart.
    """
    server = error.errno == errno.ENOSPC or not base_usable
    return Attempt(
        result=Result.DEFERRED,
        stage=Stage.STORE,
        scope=Scope.SERVER if server else Scope.RECIPIENT,
        reply=one_line(reason),
        enhanced="4.2.2" if error.errno in _FULL_DISK and not server else "",
    )


def stored(reason: str) -> Attempt:
    """Read a Maildir write that is durable."""
    return Attempt(result=Result.DELIVERED, stage=Stage.STORE, scope=Scope.RECIPIENT, reply=one_line(reason))


def _result(reply: Reply, stage: Stage) -> Result:
    if stage is Stage.DOT and is_positive(reply):
        return Result.DELIVERED
    if stage is Stage.DOT and reply.code // 100 not in {4, 5}:
        return Result.AMBIGUOUS  # it answered, but who knows what
    if not is_permanent(reply) or stage is Stage.CONNECT or reply.code in OUTSIDE or _is_full(reply, stage):
        return Result.DEFERRED
    return Result.REFUSED


def _scope(reply: Reply, stage: Stage) -> Scope:
    if stage is Stage.CONNECT or (reply.code in OUTSIDE and stage is not Stage.DOT):
        return Scope.SERVER
    return Scope.RECIPIENT if stage is Stage.RCPT or _is_full(reply, stage) else Scope.MAIL


def _is_full(reply: Reply, stage: Stage) -> bool:
    if reply.enhanced:
        return reply.enhanced[1:] in _MAILBOX_FULL
    return reply.code == STORAGE_EXCEEDED and stage is not Stage.MAIL  # to MAIL it answers SIZE: the mail is too large
