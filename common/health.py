"""Whether this process is alive, and whether it can work. Alive depends on nobody else: a restart mends no other."""

import asyncio
import time
from typing import Final

from common.broker import Broker
from common.ledger import Ledger
from common.ledger.rows import clock
from common.pulse import Pulse

PATIENCE_SECONDS: Final = 3.0
"""How long the ledger may take to answer."""

FRESH_SECONDS: Final = 2.0
"""How long an answer is good: any number of probes cost the ledger one question in so long."""


STUCK_SECONDS: Final = 300.0
"""How long a loop may take for one round; a second is usual."""

RECOVERY_SECONDS: Final = 60.0
"""How long it may go on so once all that it may wait for can be reached again."""


class Health:
    """Answers /live and /ready; "" is well, else one line without any secret."""

    def __init__(self, ledger: Ledger, broker: Broker, pulse: Pulse) -> None:
        self._pulse = pulse
        self._stuck_since: float | None = None
        self._ledger = ledger
        self._broker = broker
        self._asking = asyncio.Lock()
        self._asked_at = -FRESH_SECONDS
        self._unanswered = ""

    async def not_live(self) -> str:
        """Return why this process is of no use any more. That anything returns shows that the event loop advances."""
        if gone := self._broker.state().unconsumed:
            return f"not live: no consumer of {', '.join(gone)}"
        if stuck := await self._stuck():
            return f"not live: no round for {STUCK_SECONDS:.0f} s of {', '.join(stuck)}"
        return ""

    async def _stuck(self) -> list[str]:
        """Return the loops that don't come round although nothing that they may wait for is away."""
        silent = self._pulse.silent(STUCK_SECONDS)
        if not silent or await self.not_ready():
            self._stuck_since = None
            return []
        self._stuck_since = self._stuck_since or time.monotonic()
        return silent if time.monotonic() - self._stuck_since >= RECOVERY_SECONDS else []

    async def not_ready(self) -> str:
        """Return what this process can't reach."""
        reasons = [] if self._broker.state().connected else ["the broker is not connected"]
        if said := await self._ledger_silence():
            reasons.append(said)
        return f"not ready: {'; '.join(reasons)}" if reasons else ""

    async def _ledger_silence(self) -> str:
        async with self._asking:
            if time.monotonic() - self._asked_at >= FRESH_SECONDS:
                self._unanswered = await self._ask()
                self._asked_at = time.monotonic()
        return self._unanswered

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._ledger.read(clock)
        except TimeoutError:
            return f"the ledger gave no answer within {PATIENCE_SECONDS:.0f} s"
        except Exception:  # noqa: BLE001 (whatever it is, nobody can work with it; a page is read by anybody, so no more)
            return "the ledger doesn't answer"
        return ""
