"""Values that nobody tells by himself, looked at before a page is shown: the ledger's, the broker's, the blob store's.

Each look has a deadline, and its answer serves all pages of the next seconds. What doesn't answer has no value: an old
one would look like a live one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from common.blobs import BlobStore
from common.broker import DEAD, FETCHED, OUTCOMES, Broker, BrokerState, Depth, jobs_queue
from common.failures import PpsError
from common.ledger import Ledger
from common.ledger.gauges import Gauges, read_gauges
from common.ledger.reader import LedgerReader
from common.ledger.verified import Verified
from common.metrics import definitions as known
from common.metrics.definitions import Metric
from common.metrics.metrics import Metrics, Values

LEDGER_SECONDS: Final = 15.0
BROKER_SECONDS: Final = 5.0
FREE_SECONDS: Final = 5.0
BLOBS_SECONDS: Final = 300.0
"""How long an answer is good. The ledger's takes a dozen queries, that of all blobs a look at each file."""

PATIENCE_SECONDS: Final = 4.0
"""How long each may take: Prometheus gives a page ten seconds, and two of them come one after the other."""


class Cached:
    """Has something done at most every so many seconds, for all who ask."""

    def __init__(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        self._seconds = seconds
        self._work = work
        self._done_at: float | None = None
        self._working = asyncio.Lock()

    async def look(self) -> None:
        """Look, unless somebody did just now."""
        async with self._working:
            if self._done_at is None or time.monotonic() - self._done_at >= self._seconds:
                await self._work()
                self._done_at = time.monotonic()


class LedgerLook:
    """Tells the ledger's numbers."""

    def __init__(
        self, ledger: Ledger, metrics: Metrics, *, most_profiles: int, targets: Callable[[], Collection[str]]
    ) -> None:
        self.pending_age: Mapping[str, float] = {}  # by queue, of what waits there
        self._reader = LedgerReader(ledger)
        self._metrics = metrics
        self._most_profiles = most_profiles
        self._targets = targets  # of the configuration: those that aren't paused have a 0

    async def look(self) -> None:
        """Ask the ledger, and tell; where it doesn't answer, its numbers are unknown."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                found = await read_gauges(self._reader, most_profiles=self._most_profiles)
        except (PpsError, TimeoutError):
            for metric in _OF_LEDGER:
                self._metrics.replace(metric, {})
            self.pending_age = {}
            return
        self.pending_age = {FETCHED: found.fetched_age}
        self.pending_age |= {jobs_queue(target): age for target, age in found.pending_age.items()}
        self._tell(found)

    def _tell(self, found: Gauges) -> None:
        tell = self._metrics.replace
        for metric, counts in (
            (known.LEDGER_MAILS, found.mails),
            (known.LEDGER_DELIVERIES, found.deliveries),
            (known.QUARANTINED, found.quarantined),
            (known.PROFILES, found.profiles),
        ):
            tell(metric, {(word,): counts.get(word, 0) for word in metric.labels[0].values})
        for metric, value in (
            (known.OLDEST_UNDELIVERED, found.undelivered_age),
            (known.OLDEST_UNDELETED, found.undeleted_age),
            (known.PROFILES_OVERDUE, found.overdue),
            (known.HOSTS_PAUSED, found.paused_hosts),
            (known.LEDGER_RESTORED, found.verified.restored_at is not None),
        ):
            tell(metric, {(): value})
        self._tell_verified(found.verified)
        targets = found.paused_targets.union(self._targets())
        tell(known.TARGET_PAUSED, {(name,): name in found.paused_targets for name in targets})
        tell(known.PROFILE_UP, {(one.name,): one.up for one in found.each_profile if one.up is not None})
        successes: Values = {
            (one.name,): one.last_success for one in found.each_profile if one.last_success is not None
        }
        tell(known.PROFILE_LAST_SUCCESS, successes)

    def _tell_verified(self, verified: Verified) -> None:
        """Tell what the last verification found; before the first one nobody knows."""
        found: Values = {}
        if verified.at is not None:
            others = verified.breaches - verified.undelivered
            found = {("undelivered",): verified.undelivered, ("other",): others}
        self._metrics.replace(known.VERIFY_BREACHES, found)
        self._metrics.replace(known.VERIFY_LAST, {} if verified.at is None else {(): verified.at / 1000})


_OF_LEDGER: Final[tuple[Metric, ...]] = (
    known.LEDGER_MAILS,
    known.LEDGER_DELIVERIES,
    known.QUARANTINED,
    known.PROFILES,
    known.OLDEST_UNDELIVERED,
    known.OLDEST_UNDELETED,
    known.PROFILES_OVERDUE,
    known.HOSTS_PAUSED,
    known.LEDGER_RESTORED,
    known.VERIFY_BREACHES,
    known.VERIFY_LAST,
    known.TARGET_PAUSED,
    known.PROFILE_UP,
    known.PROFILE_LAST_SUCCESS,
)


class BrokerLook:
    """Tells how full the queues are, and how this process stands with the broker."""

    def __init__(
        self, broker: Broker, metrics: Metrics, *, role: str, targets: Callable[[], Collection[str]], ledger: LedgerLook
    ) -> None:
        self._broker = broker
        self._metrics = metrics
        self._role = role
        self._targets = targets
        self._ledger = ledger
        self._depths: Mapping[str, Depth] = {}
        self._asked = Cached(BROKER_SECONDS, self._ask)

    async def look(self) -> None:
        """Tell how we stand with the broker now, and how full its queues were some seconds ago at most."""
        state = self._broker.state()
        self._metrics.set(known.BROKER_CONNECTED, state.connected, self._role)
        self._metrics.set(known.BROKER_BLOCKED, self._broker.blocked, self._role)
        self._metrics.set(known.PUBLISH_INFLIGHT, state.publishing)
        self._metrics.set(known.PUBLISH_INFLIGHT_BYTES, state.publishing_octets)
        if state.connected:
            await self._asked.look()
        self._tell(self._depths if state.connected else {}, state)

    async def _ask(self) -> None:
        names = [FETCHED, OUTCOMES, DEAD, *(jobs_queue(target) for target in sorted(self._targets()))]
        found: dict[str, Depth] = {}
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                for name in names:
                    found[name] = await self._broker.depth(name)
        except TimeoutError:  # what was found is as good as ever
            pass
        self._depths = found

    def _tell(self, depths: Mapping[str, Depth], state: BrokerState) -> None:
        ready: Values = {(queue, "ready"): float(depth.ready) for queue, depth in depths.items()}
        taken: Values = {(queue, "unacked"): float(hand.count) for queue, hand in state.in_hand.items()}
        self._metrics.replace(known.QUEUE_MESSAGES, {**ready, **taken})
        self._metrics.replace(known.CONSUMERS, {(queue,): float(depth.consumers) for queue, depth in depths.items()})
        waiting: Values = {(queue, "ready"): age for queue, age in self._ledger.pending_age.items()}
        working: Values = {(queue, "unacked"): hand.oldest for queue, hand in state.in_hand.items()}
        self._metrics.replace(known.QUEUE_OLDEST, {**waiting, **working})


class BlobLook:
    """Tells what the blob store holds, and what is free."""

    def __init__(self, blobs: BlobStore, metrics: Metrics) -> None:
        self._blobs = blobs
        self._metrics = metrics

    async def free(self) -> None:
        """Ask for what is free, and tell."""
        await self._tell(known.BLOB_FREE_BYTES, self._blobs.free())

    async def held(self) -> None:
        """Ask for what there is, and tell."""
        await self._tell(known.BLOB_BYTES, self._blobs.octets())

    async def _tell(self, metric: Metric, asked: Awaitable[int | None]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                found = await asked
        except (OSError, TimeoutError):
            found = None
        self._metrics.replace(metric, {} if found is None else {(): found})
