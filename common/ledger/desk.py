"""What a person sees of what waits, and decides about it: the ledger's face for commands."""

from common.ledger.deciding import DECIDE, Decision
from common.ledger.ledger import Ledger
from common.ledger.reader import LedgerReader
from common.ledger.standing import require_profile
from common.ledger.stuck import Stuck, StuckItem, find_stuck
from common.ledger.targets import END_HOLD


class Desk:
    """Where decisions are made. It works beside a running service."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def stuck(self, wanted: Stuck) -> list[StuckItem]:
        """Return what waits for a person, or for another attempt, and fits the filter; raises PpsError."""
        return await self._ledger.read(lambda connection: find_stuck(connection, wanted))

    async def require_profile(self, name: str) -> None:
        """Raise UsageError, with the nearest name, where the ledger knows no such profile."""
        await require_profile(LedgerReader(self._ledger), name)

    async def decide(self, decision: Decision) -> bool:
        """Carry out a person's decision; False: what was decided on waits no more."""
        return await self._ledger.write(DECIDE, decision)

    async def end_hold(self, target: str) -> None:
        """Believe a target again, on a person's word."""
        await self._ledger.write(END_HOLD, target)
