"""What one attempt at one delivery led to: the value that every target answers with."""

from dataclasses import dataclass

from common.failures import Scope
from common.messages import Result, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How an attempt went. Deferred with server scope is no attempt at all: nothing is counted, the target waits."""

    result: Result
    stage: Stage
    scope: Scope
    reply: str  # the target's own words, one line of at most MAX_TEXT characters
    code: int = 0  # SMTP reply code; 0 where there was none
    enhanced: str = ""  # "4.2.2" (RFC 3463), or ""
    lost: bool = False  # the connection broke: three different mails in a row mean the server
    duration: float = 0.0  # seconds, connection set-up left out

    @property
    def is_outage(self) -> bool:
        """Whether the target as a whole is out of service."""
        return self.result is Result.DEFERRED and self.scope is Scope.SERVER
