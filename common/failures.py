"""How failures are told apart: whose they are (scope), and how a user reads them."""

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """Whose failure it is, apart from how bad it is."""

    SERVER = "server"  # the far end as a whole: everything for it waits
    MAIL = "mail"  # this mail, for whoever it is
    RECIPIENT = "recipient"  # this recipient alone


class PollResult(StrEnum):
    """How a poll ended, as it is counted, stored and shown."""

    OK = "ok"
    EMPTY = "empty"
    AUTH = "auth"  # the account or password was refused
    GRANT = "grant"  # the provider gives no access token until a person signs in
    IN_USE = "in_use"  # another session holds the mailbox
    THROTTLED = "throttled"  # the server asks for patience
    NETWORK = "network"  # unknown host, closed port, lost connection, silence
    PROTOCOL = "protocol"  # what answers doesn't speak POP3, or broke its rules
    TLS = "tls"  # certificate or handshake, or no encryption offered
    PAUSED = "paused"  # something about the mailbox is for a person to decide
    LOCAL = "local"  # a password that can't be resolved, a full disk: our side


class PpsError(Exception):
    """Something a user can mend, as one line that says what is wrong and how to mend it. Exit code 1: did not work."""

    exit_code = 1


class UsageError(PpsError):
    """A wrong option, config key or value, named in the line. Exit code 2."""

    exit_code = 2


class PollError(PpsError):
    """A poll that failed: its class, and one line that names the server and the mend. Never holds a secret."""

    def __init__(self, result: PollResult, text: str) -> None:
        super().__init__(text)
        self.result = result


_NO_USER: Final = frozenset({"5.1.1", "5.1.6", "5.2.1"})  # RFC 3463: bad mailbox, moved, disabled
_NO_USER_BARE: Final = frozenset({550, 551, 553})  # RFC 5321, section 4.2.3, from servers without enhanced codes


def names_no_user(code: int, enhanced: str, stage: str) -> bool:
    """Whether a refusal means that the target has no such user, rather than that it dislikes the mail."""
    if stage != "rcpt":
        return False
    return enhanced in _NO_USER or (not enhanced and code in _NO_USER_BARE)
