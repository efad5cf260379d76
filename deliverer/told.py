"""What was delivered, was told, and is not on record yet: told again if the queue was lost that told it.

An SMTP or LMTP server can't be asked whether it has a mail. Without this, a lost `pps.outcomes` (wiped, or deleted
because it had no leader) would leave claims that run out: doubt, and a second delivery. Ours is only a memory: what it
forgets when the process ends is doubted as before.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.typing import FilteringBoundLogger

from common.broker import OUTCOMES, Broker
from common.failures import PpsError
from common.ledger import Ledger
from common.ledger.records import DeliveryState
from common.ledger.rows import chunks
from common.ledger.schema import deliveries

LOOK_SECONDS: Final = 30.0
"""Between two looks; a delivery whose outcome was lost is tried again 6 minutes after its claim, at the earliest."""

SETTLED_SECONDS: Final = 60.0
"""How long an outcome may take to be settled before anybody asks for it: nearly all take less than one."""

MOST: Final = 20_000
"""Outcomes that are remembered, some 10 MB; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    body: bytes
    told_at: float


class Told:
    """Remembers outcomes from their confirmation until the ledger has them."""

    def __init__(self, *, broker: Broker, ledger: Ledger, log: FilteringBoundLogger) -> None:
        self._broker = broker
        self._ledger = ledger
        self._log = log
        self._outcomes: OrderedDict[str, _Outcome] = OrderedDict()  # by delivery, the one told last comes last

    @property
    def unsettled(self) -> int:
        """How many are remembered."""
        return len(self._outcomes)

    def remember(self, delivery_id: str, body: bytes) -> None:
        """Note that a mail was delivered, which the broker has confirmed to know."""
        if self._broker.volatile:
            return  # it confirms what is settled
        self._outcomes[delivery_id] = _Outcome(body=body, told_at=asyncio.get_running_loop().time())
        self._outcomes.move_to_end(delivery_id)
        if len(self._outcomes) > MOST:
            self._outcomes.popitem(last=False)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except (PpsError, OSError) as error:
                self._log.debug("outcomes_not_looked_after", error=str(error))
            except Exception:  # noqa: BLE001 (what makes doubts rarer must not end deliveries)
                self._log.exception("outcomes_not_looked_after")

    async def look(self) -> None:
        """Forget what is settled, and tell the rest again, unless it may still wait to be read."""
        before = asyncio.get_running_loop().time() - SETTLED_SECONDS
        late = [key for key, outcome in self._outcomes.items() if outcome.told_at <= before]
        if not late:
            return
        undone = await self._ledger.read(lambda connection: _undelivered(connection, late))
        for key in late:
            if key not in undone:
                self._outcomes.pop(key, None)
        if not undone or (await self._broker.depth(OUTCOMES)).ready:
            return
        self._log.warning("outcomes_told_again", outcomes=len(undone))
        for key in undone:
            outcome = self._outcomes.get(key)
            if outcome is not None:
                await self._broker.publish(OUTCOMES, outcome.body, message_id=key)
                self.remember(key, outcome.body)


async def _undelivered(connection: AsyncConnection, ids: list[str]) -> list[str]:
    """Return those of these deliveries that are on record as anything but delivered."""
    found: list[str] = []
    for part in chunks(ids):
        query = select(deliveries.c.id).where(deliveries.c.id.in_(part), deliveries.c.state != DeliveryState.DELIVERED)
        found += (await connection.execute(query)).scalars()
    return found
