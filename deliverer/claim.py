"""One job's claim while it is worked on: taken, kept alive, confirmed before the step that can't be taken back."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from common.ledger import Ledger
from common.ledger.claiming import CLAIM_MS, HeldClaim
from common.ledger.records import Claim, ClaimRequest
from common.messages import DeliveryJob

RENEW_SECONDS: Final = 40.0
"""Twice in a claim's life, so that one renewal may be late."""

LEAST_SECONDS: Final = 30.0
"""What a claim must have left before the final dot: more than the dot takes to reach a server."""

GRACE_SECONDS: Final = 5.0
"""How long a step that must not be half done goes on after it was cancelled."""

T = TypeVar("T")


class JobClaim:
    """The right to make one attempt. Times are reckoned short, never long."""

    def __init__(self, ledger: Ledger, job: DeliveryJob, *, repeatable: bool) -> None:
        self.final = False  # the step that can't be taken back was allowed: how it went is for an outcome to say
        self._ledger = ledger
        self._request = ClaimRequest(delivery_id=job.delivery_id, attempt=job.attempt, repeatable=repeatable)
        self._held: HeldClaim | None = None
        self._until = 0.0

    async def take(self) -> Claim:
        """Return what may be done with the job. Cancelled midway, the claim is held if the ledger granted it."""
        return await to_the_end(self._take())

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renew the claim all along."""
        # A timer, not a task: hardly a mail takes so long.
        renewals: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        timer = loop.call_later(RENEW_SECONDS, lambda: renewals.append(asyncio.create_task(self._keep())))
        try:
            yield
        finally:
            timer.cancel()
            for renewal in renewals:
                renewal.cancel()
                await asyncio.wait({renewal})

    async def confirm(self) -> bool:
        """Say whether the claim is good for the final step, and from then on never give it back."""
        if _now() > self._until - LEAST_SECONDS and not await self._renew():
            return False
        self.final = True
        return True

    async def give_back(self) -> None:
        """Release the claim; where a mail may be delivered that can't be looked for, it runs out: doubt must show."""
        held, self._held = self._held, None
        if held is not None and (self._request.repeatable or not self.final):
            await to_the_end(self._ledger.release(held))

    async def _take(self) -> Claim:
        asked = _now()
        claimed = await self._ledger.claim(self._request)
        if claimed.claim in {Claim.FIRST, Claim.AGAIN}:
            self._held = HeldClaim(
                delivery_id=self._request.delivery_id, attempt=self._request.attempt, token=claimed.token
            )
            self._until = asked + CLAIM_MS / 1000
        return claimed.claim

    async def _keep(self) -> None:
        while True:
            if not await self._renew():
                return
            await asyncio.sleep(RENEW_SECONDS)

    async def _renew(self) -> bool:
        asked = _now()
        if self._held is None or not await self._ledger.renew(self._held):
            self._until = 0.0
            return False
        self._until = asked + CLAIM_MS / 1000
        return True


async def to_the_end(step: Coroutine[Any, Any, T]) -> T:
    """Await a step that must not be half done: a cancellation waits for it, up to GRACE_SECONDS, and then goes on."""
    task = asyncio.create_task(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=GRACE_SECONDS)
        if not task.cancel() and not task.cancelled():
            task.exception()  # nobody is left to hear it
        raise


def _now() -> float:
    """Return seconds by a clock that nobody sets, and that goes on while the machine sleeps, as the claim runs out."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
