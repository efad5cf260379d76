"""Makes all checks of one installation, in the order of the page. What is added is added here."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from pathlib import Path

from common.config import MANAGED_BY_FILE, Config, load_config
from common.counted import counted
from common.failures import PpsError, UsageError
from common.ledger.recorded import LASTING
from common.log import open_log
from manager.doctor.check import Check, ok, problem
from manager.doctor.here import blobs_checks, clock_check, key_check, ledger_file_checks, lock_check, log_check
from manager.doctor.loops import loop_checks
from manager.doctor.mailboxes import profile_checks
from manager.doctor.rabbitmq import broker_checks
from manager.doctor.servers import ledger_checks, store_checks
from manager.doctor.targets import target_check
from manager.profiles import Known, known_profiles


async def examine(path: Path) -> list[Check]:
    """Return what all checks of this configuration found; where it can't be read, that alone. Raises nothing."""
    try:
        config = load_config(path)
    except UsageError as error:
        return [problem("config", str(error))]
    log = open_log("-", config.base, level="critical")  # each trouble is told by its check
    found = [
        ok("config", f"{path}: {counted(len(config.profiles), 'profile')}, {counted(len(config.targets), 'target')}"),
        await key_check(config),
        log_check(config),
        *blobs_checks(config),
        *ledger_file_checks(config),
        clock_check(config),
        lock_check(config),
    ]
    profiles = await _profiles(config)
    slow: tuple[Awaitable[Iterable[Check]], ...] = (
        _all(ledger_checks(config)),
        _all(broker_checks(config, log)),
        _all(store_checks(config)),
        asyncio.gather(*(target_check(name, settings, config, log) for name, settings in config.targets.items())),
        profile_checks(profiles, config),
    )
    for checks in await asyncio.gather(*slow):
        found += checks
    return [*found, *loop_checks((known.profile for known in profiles), config.targets)]


async def _profiles(config: Config) -> Iterable[Known]:
    """Return all that are polled by themselves: the file's and the manager's; of a ledger that is away, the file's."""
    try:
        return [known for known in await known_profiles(config) if known.managed_by in LASTING]
    except PpsError:  # told by the ledger's own check
        return [Known(profile=one, managed_by=MANAGED_BY_FILE, stored=None) for one in config.profiles]


async def _all(checks: AsyncIterator[Check]) -> list[Check]:
    return [check async for check in checks]
