"""Tells when a target as a whole is out of service, from how attempts at it went. No I/O."""

import asyncio
from typing import Final

from deliverer.attempt import Attempt

MAX_LOST: Final = 3
"""Different mails in a row that lost the connection: one mail may crash a server, three don't by themselves."""


class Breaker:
    """`tripped` is set while the target is out of service; `reason` says why."""

    def __init__(self) -> None:
        self.tripped = asyncio.Event()
        self.reason = ""
        self.failures = 0  # in a row, of probes and of what came after good ones
        self._lost: set[str] = set()

    def saw(self, mail_id: str, attempt: Attempt) -> None:
        """Take note of an attempt."""
        if attempt.is_outage:
            self._trip(attempt.reply)
        elif attempt.lost:
            self._lost.add(mail_id)
            if len(self._lost) >= MAX_LOST:
                self._trip(f"{MAX_LOST} mails in a row lost the connection: {attempt.reply}")
        else:
            self._lost.clear()
            self.failures = 0

    def hold(self, reason: str) -> None:
        """Take note that the ledger holds the target: it wants no attempts now."""
        self.reason = reason
        self.tripped.set()

    def probe_failed(self, attempt: Attempt) -> None:
        """Take note that the target is still out of service."""
        self.failures += 1
        self.reason = attempt.reply

    def reset(self) -> None:
        """Give the target another chance; the failures are forgotten only when an attempt goes well."""
        self._lost.clear()
        self.tripped.clear()

    def _trip(self, reason: str) -> None:
        if not self.tripped.is_set():
            self.failures += 1
            self.reason = reason
            self.tripped.set()
