"""`pps pull`: poll some profiles now until they are settled, and account for every mail.

Alone, it runs every role itself; beside a running service, it sets the profiles due and watches the ledger.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.config import MANAGED_BY_FILE, Config
from common.failures import PpsError, UsageError
from common.ledger import Ledger
from common.ledger.pulling import Pulling, discarded_since, read_pulling, recipients_since
from common.ledger.reader import LedgerReader
from common.ledger.recorded import MANAGER
from common.ledger.standing import read_clock
from common.lock import alone, is_single
from common.log import open_log
from common.profile import Profile
from common.worker import Worker, opened, run_in_order
from manager.profiles import known_profiles
from manager.service import compose

LOOK_SECONDS: Final = 0.2
"""How often it is looked how the profiles stand; at first ten times as often, for a pull that takes a moment."""

SETTLE_SECONDS: Final = 60.0
"""How long deliveries that are under way may take after the session closed."""

UNNOTICED_SECONDS: Final = 30.0
"""How long a poll that is due may wait for somebody to begin it; a fetcher looks every second."""

MAX_ROUNDS: Final = 100
"""Polls of one profile in one pull; each must have got something done to earn another."""

GOOD: Final = frozenset({"ok", "empty"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """How the pull of one profile ended. Counts are of this pull but for `left`, `quarantined` and `skipped`."""

    name: str
    result: str
    error: str | None
    recipients: dict[str, int]  # deliveries accepted, by recipient
    deleted: int
    kept: int
    discarded: int  # by a person, for everybody; deleted or kept all the same
    left: int  # on their way: deferred, or not fetched yet
    quarantined: int
    skipped: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PullReport:
    """How a pull ended."""

    profiles: tuple[Pulled, ...]

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return all(p.result in GOOD and not p.left and not p.quarantined and not p.lost for p in self.profiles)


Progress = Callable[[Mapping[str, Pulling]], None]
"""Is shown how the pulled profiles stand, by name, a few times a second."""


async def pull(
    config: Config, names: Sequence[str], *, progress: Progress | None = None, managed_by: str = MANAGED_BY_FILE
) -> PullReport:
    """Pull these profiles, or all enabled ones, until settled; raises PpsError."""
    targets = {profile.name: profile.target for profile in _chosen(config, names, await _added(config, managed_by))}
    chosen = list(targets)
    async with _working(config, frozenset(chosen), managed_by) as ledger:
        watch = Watch(ledger, chosen, progress, since=await read_clock(LedgerReader(ledger)))
        ends = await asyncio.gather(*(_pull_one(watch, name, targets[name]) for name in chosen))
        return PullReport(profiles=tuple([await _report(watch, end) for end in ends]))


class Watch:
    """Looks at the pulled profiles, for all who wait for them together: one look serves all for `pace` seconds."""

    def __init__(self, ledger: Ledger, names: Sequence[str], progress: Progress | None, *, since: int) -> None:
        self.ledger = ledger
        self.since = since  # when the pull began, by the database's clock
        self._names = names
        self._progress = progress
        self._looking = asyncio.Lock()
        self._seen: dict[str, Pulling] = {}
        self._seen_at = 0.0
        self._began = time.monotonic()

    @property
    def pace(self) -> float:
        """Seconds between two looks."""
        return min(LOOK_SECONDS, max(LOOK_SECONDS / 10, (time.monotonic() - self._began) / 10))

    async def look(self, name: str) -> Pulling:
        """Return how a profile stands, at most `pace` seconds ago."""
        async with self._looking:
            if time.monotonic() - self._seen_at >= self.pace:
                await self._look()
        return self._seen[name]

    async def _look(self) -> None:
        found = await read_pulling(LedgerReader(self.ledger), self.since)
        self._seen = {name: found[name] for name in self._names if name in found}
        self._seen_at = time.monotonic()
        if self._progress is not None:
            self._progress(self._seen)


async def _added(config: Config, managed_by: str) -> list[Profile]:
    """Return the profiles that `pps profile add` made: they are pulled as the file's are."""
    if managed_by != MANAGED_BY_FILE:
        return []
    return [known.profile for known in await known_profiles(config) if known.managed_by == MANAGER]


def _chosen(config: Config, names: Sequence[str], added: Sequence[Profile]) -> list[Profile]:
    every = {profile.name: profile for profile in (*config.profiles, *added)}
    chosen = [every.get(name) or config.profile(name) for name in names] or [
        one for one in every.values() if one.enabled
    ]
    for profile in chosen:
        if not profile.enabled:
            mend = f"`pps profile enable {profile.name}`" if profile in added else "set enabled = true to pull it"
            raise UsageError(f'{config.path}: profile "{profile.name}" is disabled: {mend}')
    if not chosen:
        raise UsageError(f"{config.path}: there is no enabled [[profile]] to pull: `pps profile add` asks for one")
    return chosen


@asynccontextmanager
async def _working(config: Config, names: frozenset[str], managed_by: str) -> AsyncIterator[Ledger]:
    """Have the roles at work meanwhile: those of a running service, else our own."""
    with contextlib.ExitStack() as stack:
        if is_single(config) and _is_ours(config, stack):
            async with opened(config, role="pull") as parts:
                parts.ledger.hurried = True  # until mail is in our hands: from then on, every write is waited for
                await parts.ledger.sync_profiles(config.profiles, managed_by=managed_by)
                parts.ledger.hurried = False
                workers = await compose(parts, {"fetcher", "router", "deliverer"}, names=names)
                async with _running(workers, parts.log):
                    yield parts.ledger
        else:
            ledger = await _ledger_beside(config)
            try:
                yield ledger
            finally:
                await ledger.close()


def _is_ours(config: Config, stack: contextlib.ExitStack) -> bool:
    """Take the lock of the one worker process; False: a service runs."""
    try:
        stack.enter_context(alone(config))
    except UsageError:
        return False
    return True


@asynccontextmanager
async def _running(workers: Sequence[Worker], log: FilteringBoundLogger) -> AsyncIterator[None]:
    """Run workers in the background; if they fail, the foreground is ended by their error."""
    stop = asyncio.Event()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(run_in_order(workers, stop, log))
            try:
                yield
            finally:
                stop.set()
    except* PpsError as failures:
        raise failures.exceptions[0] from None


async def _ledger_beside(config: Config) -> Ledger:
    log = open_log(config.service.log, config.base).bind(role="pull")
    return await Ledger.open(config.service.ledger, base=config.base, log=log, hurried=True)


async def _pull_one(watch: Watch, name: str, target: str) -> Pulling:
    """Poll one profile as long as each round gets something done."""
    last: tuple[object, ...] | None = None
    for _round in range(MAX_ROUNDS):
        if not await watch.ledger.set_due(name):
            raise UsageError(
                f'the ledger has no profile "{name}" yet: `pps profile sync`, or `pps reload` of the service, takes'
                " the file in"
            )
        began = await read_clock(LedgerReader(watch.ledger))
        end = await _settled(watch, target, await _polled(watch, name, began))
        standing = (end.mails, end.deleted, end.kept, end.delivered, end.pending)
        if end.last_result not in GOOD or not end.left or standing == last:
            return end
        last = standing
    return end


async def _polled(watch: Watch, name: str, began: int) -> Pulling:
    while True:
        profile = await watch.look(name)
        if profile.last_finished_at is not None and profile.last_finished_at >= began and not profile.polling:
            return profile
        if profile.held_at is not None and profile.held_at >= began and not profile.polling:
            return replace(profile, last_result="held", last_error=f"not polled now: {profile.held}")
        if not profile.polling and profile.read_at > began + UNNOTICED_SECONDS * 1000:
            raise PpsError(f"{name} is due, but nobody polls it: is `pps run` or `pps fetcher` at work on this ledger?")
        await asyncio.sleep(watch.pace)


async def _settled(watch: Watch, target: str, profile: Pulling) -> Pulling:
    """Wait for deliveries that have not been tried yet; those deferred are a matter of hours."""
    until = asyncio.get_running_loop().time() + SETTLE_SECONDS
    while profile.mails.get("fetched", 0) or profile.pending:
        if target in await watch.ledger.paused_targets() or asyncio.get_running_loop().time() >= until:
            break
        await asyncio.sleep(watch.pace)
        profile = await watch.look(profile.name)
    return profile


async def _report(watch: Watch, end: Pulling) -> Pulled:
    reader = LedgerReader(watch.ledger)
    recipients = await recipients_since(reader, end.profile_id, watch.since)
    discarded = await discarded_since(reader, end.profile_id, watch.since)
    return Pulled(
        name=end.name,
        result=end.last_result or "",
        error=end.last_error,
        recipients=recipients,
        deleted=end.deleted - discarded.get("deleted", 0),
        kept=end.kept - discarded.get("kept", 0),
        discarded=sum(discarded.values()),
        left=end.left,
        quarantined=end.mails.get("quarantined", 0),
        skipped=end.mails.get("skipped", 0),
        lost=end.mails.get("lost", 0),
    )
