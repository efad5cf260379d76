"""Outcomes on their way back: into the ledger, then to the sessions that wait, with the POP3 session still open.

Whoever consumes an outcome wakes its own sessions at once. Outcomes that another fetcher consumed, and mails whose copy
was delivered through another mail, are found by one query for all open sessions every POLL_SECONDS.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from structlog.typing import FilteringBoundLogger

from common import crashpoints
from common.broker import OUTCOMES, Ack, Broker, Dead, Settlement
from common.failures import PpsError
from common.ledger import Ledger, RowRejectedError
from common.ledger.records import DeliveryState, Settled
from common.messages import DeliveryOutcome, UndecodableError, decode

POLL_SECONDS: Final = 0.25
PREFETCH: Final = 500
DRAIN_LOOK_SECONDS: Final = 0.02


class Waiter:
    """What one session waits for: `pending` mails have no outcome yet, `ready` ones may be deleted."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.held_up = False  # the target takes nothing now: waiting longer helps nobody
        self.pending: set[str] = set()
        self.ready: set[str] = set()
        self.changed = asyncio.Event()

    def expect(self, mail_id: str) -> None:
        """Wait for this mail too."""
        if mail_id not in self.ready:
            self.pending.add(mail_id)

    def found(self, mail_ids: Iterable[str]) -> None:
        """These mails may be deleted."""
        for mail_id in mail_ids:
            if mail_id in self.pending:
                self.pending.discard(mail_id)
                self.ready.add(mail_id)
                self.changed.set()

    def hold_up(self) -> None:
        """What is pending stays so for long."""
        self.held_up = True
        self.changed.set()

    def give_up(self, mail_id: str) -> None:
        """This mail's outcome will not come soon: waiting longer helps nobody."""
        if mail_id in self.pending:
            self.pending.discard(mail_id)
            self.changed.set()


class Settler:
    """Consumes outcomes for all sessions of this process."""

    def __init__(self, *, broker: Broker, ledger: Ledger, log: FilteringBoundLogger) -> None:
        self.redirected = asyncio.Event()  # a delivery to the fallback user, or to the target for refused mail, is due
        self._broker = broker
        self._ledger = ledger
        self._log = log
        self._waiters: set[Waiter] = set()

    def open_waiter(self, target: str) -> Waiter:
        """Begin to wait on behalf of a session whose mail goes to `target`; it ends with `close_waiter`."""
        waiter = Waiter(target)
        self._waiters.add(waiter)
        return waiter

    def close_waiter(self, waiter: Waiter) -> None:
        """Wait no more for this session."""
        self._waiters.discard(waiter)

    async def run(self, stop: asyncio.Event) -> None:
        """Settle outcomes until `stop` is set; then those that only this process can know of."""
        consumption = await self._broker.consume(OUTCOMES, self.settle, prefetch=PREFETCH)
        watching = asyncio.create_task(self.watch())
        try:
            await stop.wait()
            if self._broker.volatile:
                await self._drain()
        finally:
            watching.cancel()
            await consumption.stop()
            await asyncio.gather(watching, return_exceptions=True)

    async def _drain(self) -> None:
        """Wait until no outcome is ready: the deliverers of this process have stopped, so none is added."""
        while (await self._broker.depth(OUTCOMES)).ready:  # noqa: ASYNC110 (no broker tells when a queue is empty)
            await asyncio.sleep(DRAIN_LOOK_SECONDS)

    async def settle(self, body: bytes) -> Settlement:
        """Settle one outcome: ledger, then ack; a crash between the two settles it again, which changes nothing."""
        try:
            outcome = decode(body, DeliveryOutcome)
        except UndecodableError as error:
            return Dead(str(error))
        try:
            settled = await self._ledger.settle(outcome)
        except RowRejectedError as error:
            await self._ledger.quarantine(outcome.mail_id, str(error))
            return Ack()
        crashpoints.reach("fetcher.after_settle")
        self._wake(settled)
        return Ack()

    async def watch(self) -> None:
        """Ask the ledger for all open sessions which mails became deletable; runs until it is cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            waiting = {mail_id for waiter in self._waiters for mail_id in waiter.pending}
            if not waiting:
                continue
            try:
                deletable = await self._ledger.deletable(sorted(waiting))
                paused = await self._ledger.paused_targets()
            except PpsError as error:
                self._log.warning("settle_unanswered", error=str(error))
                continue
            except Exception:  # noqa: BLE001 (without the watch, mail would only be deleted by later sessions)
                self._log.exception("settle_crashed")
                continue
            for waiter in tuple(self._waiters):
                waiter.found(deletable)
                if waiter.target in paused:
                    waiter.hold_up()

    def _wake(self, settled: Settled) -> None:
        outcome = settled.outcome
        self._log.info(
            "delivery_settled",
            mail=outcome.mail_id,
            delivery=outcome.delivery_id,
            result=outcome.result.value,
            state=settled.state,
            applied=settled.applied,
            next_attempt_in=settled.next_attempt_in,
        )
        if settled.applied and settled.state in {DeliveryState.REDIRECTED, DeliveryState.PENDING}:
            self.redirected.set()
        for waiter in self._waiters:
            waiter.found(settled.deletable)
            if settled.state in {DeliveryState.DEFERRED, DeliveryState.QUARANTINED}:
                waiter.give_up(outcome.mail_id)
