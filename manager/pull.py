"""`pps pull`: poll some profiles now until they are settled, and account for every mail.

Alone, it runs every role itself; beside a running service, it sets the profiles due and watches the ledger.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.config import MANAGED_BY_FILE, Config
from common.failures import PpsError, UsageError
from common.ledger import Ledger, reading
from common.ledger.records import ProfileStatus, Status
from common.lock import alone, is_single
from common.log import open_log
from common.worker import Worker, opened, run_in_order
from manager.service import compose

LOOK_SECONDS: Final = 0.2
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


Progress = Callable[[Sequence[ProfileStatus]], None]
"""Is shown how the pulled profiles stand, a few times a second."""


async def pull(
    config: Config, names: Sequence[str], *, progress: Progress | None = None, managed_by: str = MANAGED_BY_FILE
) -> PullReport:
    """Pull these profiles, or all enabled ones, until settled; raises PpsError."""
    chosen = _chosen(config, names)
    async with _working(config, frozenset(chosen), managed_by) as ledger:
        before = _by_name(await ledger.status())
        ends = await asyncio.gather(*(_pull_one(ledger, name, chosen, progress) for name in chosen))
        return PullReport(profiles=tuple([await _report(ledger, before.get(end.name), end) for end in ends]))


def _chosen(config: Config, names: Sequence[str]) -> list[str]:
    chosen = [config.profile(name) for name in names] or [one for one in config.profiles if one.enabled]
    for profile in chosen:
        if not profile.enabled:
            raise UsageError(f'{config.path}: profile "{profile.name}" is disabled: set enabled = true to pull it')
    if not chosen:
        raise UsageError(f"{config.path}: there is no enabled [[profile]] to pull")
    return [profile.name for profile in chosen]


@asynccontextmanager
async def _working(config: Config, names: frozenset[str], managed_by: str) -> AsyncIterator[Ledger]:
    """Have the roles at work meanwhile: those of a running service, else our own."""
    with contextlib.ExitStack() as stack:
        if is_single(config) and _is_ours(config, stack):
            async with opened(config, role="pull") as parts:
                await parts.ledger.sync_profiles(config.profiles, managed_by=managed_by)
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
    return await Ledger.open(config.service.ledger, base=config.base, log=log)


async def _pull_one(ledger: Ledger, name: str, names: Sequence[str], progress: Progress | None) -> ProfileStatus:
    """Poll one profile as long as each round gets something done."""
    last = _by_name(await ledger.status()).get(name)
    for _round in range(MAX_ROUNDS):
        if not await ledger.set_due(name):
            raise UsageError(
                f'the running service has no profile "{name}": `pps reload` (or SIGHUP) has it read the file'
            )
        began = (await ledger.status()).at
        end = await _polled(ledger, name, names, began, progress)
        end = await _settled(ledger, name, names, end, progress)
        if end.last_result not in GOOD or not end.left or (last is not None and _standing(end) == _standing(last)):
            return end
        last = end
    return end


async def _polled(
    ledger: Ledger, name: str, names: Sequence[str], began: int, progress: Progress | None
) -> ProfileStatus:
    while True:
        profile = await _look(ledger, name, names, progress)
        if profile.last_finished_at is not None and profile.last_finished_at >= began and not profile.polling:
            return profile
        if not profile.polling and profile.read_at > began + UNNOTICED_SECONDS * 1000:
            raise PpsError(f"{name} is due, but nobody polls it: is `pps run` or `pps fetcher` at work on this ledger?")
        await asyncio.sleep(LOOK_SECONDS)


async def _settled(
    ledger: Ledger, name: str, names: Sequence[str], profile: ProfileStatus, progress: Progress | None
) -> ProfileStatus:
    """Wait for deliveries that have not been tried yet; those deferred are a matter of hours."""
    until = asyncio.get_running_loop().time() + SETTLE_SECONDS
    while profile.mails.get("fetched", 0) or profile.deliveries.get("pending", 0):
        paused = (await ledger.status()).targets
        if paused or asyncio.get_running_loop().time() >= until:
            break
        await asyncio.sleep(LOOK_SECONDS)
        profile = await _look(ledger, name, names, progress)
    return profile


async def _look(ledger: Ledger, name: str, names: Sequence[str], progress: Progress | None) -> ProfileStatus:
    profiles = _by_name(await ledger.status())
    if progress is not None:
        progress([profiles[other] for other in names if other in profiles])
    return profiles[name]


def _by_name(status: Status) -> dict[str, ProfileStatus]:
    return {profile.name: profile for profile in status.profiles}


def _standing(profile: ProfileStatus) -> tuple[object, object]:
    return (profile.mails, profile.deliveries)


async def _report(ledger: Ledger, before: ProfileStatus | None, end: ProfileStatus) -> Pulled:
    since = 0 if before is None else before.read_at
    recipients = await ledger.read(lambda connection: reading.recipients_of_profile(connection, end.profile_id, since))
    earlier = {} if before is None else before.mails
    return Pulled(
        name=end.name,
        result=end.last_result or "",
        error=end.last_error,
        recipients=recipients,
        deleted=end.mails.get("deleted", 0) - earlier.get("deleted", 0),
        kept=end.mails.get("kept", 0) - earlier.get("kept", 0),
        left=end.left,
        quarantined=end.mails.get("quarantined", 0),
        skipped=end.mails.get("skipped", 0),
        lost=end.mails.get("lost", 0),
    )
