"""How messages are handled, whichever broker brought them: at most so many at once, each settled exactly once."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.broker import FETCHED, OUTCOMES, Ack, Dead, Handler, InHand, Requeue, Settlement
from common.metrics import NO_METRICS, Metrics
from common.metrics.definitions import WORK_SECONDS

PAUSE_SECONDS: Final = 1.0
"""How long a message rests whose handler raised: a fault that stays must not spin."""


_WORD: Final[dict[type[Settlement], str]] = {Ack: "ack", Requeue: "requeue", Dead: "dead"}


class Delivery(ABC):
    """One message in a consumer's hands, and the ways to settle it. Settling what the broker took back does nothing."""

    body: bytes

    @abstractmethod
    def ack(self) -> None:
        """Have the broker forget the message."""

    @abstractmethod
    def requeue(self) -> None:
        """Give the message back to its queue."""

    @abstractmethod
    async def bury(self, reason: str) -> None:
        """Have a copy in pps.dead, confirmed: only then is the message acked."""


class Handling:
    """The handlers of one consumption: begins what is offered, at most `prefetch` at once, the rest in order."""

    def __init__(  # noqa: PLR0913 (wired by each broker, once)
        self,
        handler: Handler,
        *,
        prefetch: int,
        log: FilteringBoundLogger,
        freed: Callable[[], None] = lambda: None,
        metrics: Metrics = NO_METRICS,
        queue: str = "",
    ) -> None:
        if prefetch < 1:
            raise ValueError("prefetch counts from 1")
        self._handler = handler
        self._prefetch = prefetch
        self._log = log
        self._freed = freed  # told when a handler has ended, for a broker that hands out messages itself
        self._waiting: deque[Delivery] = deque()
        self._metrics = metrics
        self._stage = {FETCHED: "route", OUTCOMES: "settle"}.get(queue, "deliver")
        self._running: dict[asyncio.Task[None], float] = {}  # and since when, the oldest first
        self._stopping = asyncio.Event()

    @property
    def free(self) -> bool:
        """Whether a message that is offered now is begun at once."""
        return not self._stopping.is_set() and len(self._running) + len(self._waiting) < self._prefetch

    @property
    def in_hand(self) -> InHand:
        """What was offered and is not settled."""
        began = next(iter(self._running.values()), None)
        oldest = 0.0 if began is None else time.monotonic() - began
        return InHand(count=len(self._running) + len(self._waiting), oldest=oldest)

    def offer(self, delivery: Delivery) -> None:
        """Begin this message, or keep it until a handler is free; once stopping, give it back."""
        if self._stopping.is_set():
            delivery.requeue()
            return
        self._waiting.append(delivery)
        self._begin()

    def give_back(self) -> None:
        """Begin nothing more; what was not begun goes back to the queue."""
        self._stopping.set()
        while self._waiting:
            self._waiting.popleft().requeue()

    async def stop(self) -> None:
        """Give back what was not begun and wait for the handlers that run; if cancelled, cancel them first."""
        self.give_back()
        try:
            while self._running:
                await asyncio.wait(self._running)
        except asyncio.CancelledError:
            await self.abandon()
            raise

    async def abandon(self) -> None:
        """Give back everything, what was begun too."""
        self.give_back()
        for task in self._running:
            task.cancel()
        while self._running:
            await asyncio.wait(self._running)

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self._prefetch:
            delivery = self._waiting.popleft()
            task = asyncio.create_task(self._handle(delivery))
            self._running[task] = time.monotonic()
            task.add_done_callback(lambda task, delivery=delivery: self._ended(task, delivery))  # type: ignore[misc]

    async def _handle(self, delivery: Delivery) -> None:
        match await self._settlement(delivery.body):
            case Ack():
                delivery.ack()
            case Requeue():
                delivery.requeue()
            case Dead(reason):
                self._log.error("message_dead", reason=reason, octets=len(delivery.body))
                # A crash between the copy's confirmation and the ack costs a second copy in pps.dead, never a loss.
                await delivery.bury(reason)
                delivery.ack()

    async def _settlement(self, body: bytes) -> Settlement:
        began = time.monotonic()
        try:
            settlement = await self._handler(body)
        except Exception as error:  # noqa: BLE001 (whatever it is, the message goes back: see Handler)
            self._log.error("handler_failed", error=type(error).__name__, where=_where(error))
            self._metrics.observe(WORK_SECONDS, time.monotonic() - began, self._stage, "failed")
            await self._pause()
            return Requeue()
        self._metrics.observe(WORK_SECONDS, time.monotonic() - began, self._stage, _WORD[type(settlement)])
        return settlement

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(PAUSE_SECONDS):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _ended(self, task: asyncio.Task[None], delivery: Delivery) -> None:
        self._running.pop(task, None)
        if task.cancelled():  # in time, or before its first step
            delivery.requeue()
        elif (error := task.exception()) is not None:
            self._log.error("settling_failed", error=type(error).__name__, where=_where(error))
            delivery.requeue()
        self._begin()
        self._freed()


def _where(error: BaseException) -> str:
    """Return file and line of the fault: enough to mend it, and unlike its text it can't hold a mail's content."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
