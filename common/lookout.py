"""What operators and systemd see of one process: its pages, whether it is ready, alive, or about to stop.

A worker like the others, which stops last: until then there is something to see.
"""

import asyncio
import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Self

from common.config import Config
from common.health import Health
from common.http_place import place_of
from common.metrics.looks import (
    BLOBS_SECONDS,
    FREE_SECONDS,
    LEDGER_SECONDS,
    BlobLook,
    BrokerLook,
    Cached,
    LedgerLook,
)
from common.pages import Answer, Pages
from common.systemd import ALIVE, READY, STOPPING, Systemd
from common.worker import Parts

METRICS_KIND: Final = "text/plain; version=0.0.4; charset=utf-8"

LOOK_SECONDS: Final = 0.5
"""How often it is looked whether the process has become ready."""

TIMES_A_WATCH: Final = 3
"""How often systemd hears that we are alive before it would lose patience."""


class Lookout:
    """Shows /metrics, /live and /ready, and tells systemd."""

    def __init__(self, parts: Parts, role: str, ending: asyncio.Event, systemd: Systemd) -> None:
        self._parts = parts
        self._ending = ending  # set as soon as the process is to stop
        self._systemd = systemd
        self._health = Health(parts.ledger, parts.broker, parts.pulse)
        self._targets = set(parts.config.targets)
        self._pages = Pages({"/metrics": self._metrics, "/live": self._live, "/ready": self._ready}, parts.log)
        self._look_before_pages(role)

    @classmethod
    async def open(cls, parts: Parts, *, role: str, ending: asyncio.Event) -> Self:
        """Listen where the configuration says, if it does; `role`: "run" for all. Raises UsageError."""
        lookout = cls(parts, role, ending, Systemd.around(os.environ))
        place = place_of(role, parts.config.service.http)
        if place is not None:
            parts.log.info("pages_shown", at=await lookout._pages.open(place))
        return lookout

    async def run(self, stop: asyncio.Event) -> None:
        """Serve and tell until `stop` is set."""
        telling = [asyncio.create_task(self._tell_ready()), asyncio.create_task(self._tell_stopping())]
        try:
            await stop.wait()
        finally:
            for task in telling:
                task.cancel()
            await asyncio.gather(*telling, return_exceptions=True)
            await self._pages.close()

    async def prepare(self, config: Config) -> Callable[[], None]:
        """See Reconfigurable: there may be other targets, and so other queues."""

        def put_in_force() -> None:
            self._targets.clear()
            self._targets.update(config.targets)

        return put_in_force

    def _look_before_pages(self, role: str) -> None:
        parts, metrics = self._parts, self._parts.metrics
        most, targets = parts.config.service.profile_metrics, self._targets
        ledger = LedgerLook(parts.ledger, metrics, most_profiles=most, targets=lambda: targets)
        broker = BrokerLook(parts.broker, metrics, role=role, targets=lambda: targets, ledger=ledger)
        blobs = BlobLook(parts.blobs, metrics)
        of_ledger = Cached(LEDGER_SECONDS, ledger.look)

        async def ledger_then_broker() -> None:  # whose queues' ages the ledger tells
            await of_ledger.look()
            await broker.look()

        metrics.before_page(ledger_then_broker)
        metrics.before_page(Cached(FREE_SECONDS, blobs.free).look)
        if role in {"run", "fetcher"}:  # who sweeps them counts them: one role is enough to look at each file
            metrics.before_page(Cached(BLOBS_SECONDS, blobs.held).look)

    async def _metrics(self) -> Answer:
        return Answer(body=await self._parts.metrics.page(), kind=METRICS_KIND)

    async def _live(self) -> Answer:
        return _verdict(await self._health.not_live(), "live")

    async def _ready(self) -> Answer:
        return _verdict("not ready: it stops" if self._ending.is_set() else await self._health.not_ready(), "ready")

    async def _tell_ready(self) -> None:
        """Tell systemd once that we are ready, and from then on that we live: from the loop that does the work."""
        if not self._systemd.address:
            return
        while await self._health.not_ready():  # noqa: ASYNC110 (no database tells when it is back)
            await asyncio.sleep(LOOK_SECONDS)
        self._systemd.tell(READY)
        while self._systemd.watchdog is not None:
            if not await self._health.not_live():
                self._systemd.tell(ALIVE)
            await asyncio.sleep(self._systemd.watchdog / TIMES_A_WATCH)

    async def _tell_stopping(self) -> None:
        await self._ending.wait()
        self._systemd.tell(STOPPING)


def _verdict(trouble: str, word: str) -> Answer:
    if trouble:
        return Answer(body=f"{trouble}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
    return Answer(body=f"{word}\n".encode())
