"""A configuration that changes while a process works: read again on SIGHUP, all of it put in force or nothing.

What can't change at run time is named and waits for a restart. Mail in flight goes on under the settings it began with.
"""

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from common.config import MANAGED_BY_FILE, Config, Service, load_config
from common.failures import PpsError
from common.ledger.reader import LedgerReader
from common.ledger.recorded import read_profiles
from common.lock import Reloads
from common.messages import one_line
from common.target_settings import TargetSettings
from common.worker import Parts, Reconfigurable, Worker, run_in_order

AT_ONCE: Final = frozenset({"log", "retention"})
"""Keys of [service] that take no restart."""


def hangups() -> asyncio.Event:
    """Return an event that each SIGHUP sets: from now on, the signal ends nothing."""
    came = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, came.set)
    return came


@dataclass(slots=True, kw_only=True)
class Reloader:
    """Brings a changed configuration to the workers of this process."""

    parts: Parts
    workers: Sequence[Worker]
    syncs: bool  # whether this process brings the file's profiles into the ledger
    told: Reloads = field(default_factory=lambda: Reloads(lambda _holder: None))  # of each reload
    _config: Config = field(init=False)  # in force now

    def __post_init__(self) -> None:
        self._config = self.parts.config

    async def run(self, wanted: asyncio.Event) -> None:
        """Reload whenever `wanted` is set, until cancelled; a fault of ours must not end what works."""
        while True:
            await wanted.wait()
            wanted.clear()
            self.told.begin()
            try:
                await self.reload()
            except PpsError as error:
                self._refuse(str(error))
            except Exception as error:
                self.parts.log.exception("config_reload_crashed")
                self.told.answer(f"unexpected {type(error).__name__}: see the log")

    async def reload(self) -> None:
        """Read the file again and put it in force; raises PpsError, one line, and then the old one stays in force."""
        old, parts = self._config, self.parts
        read = await asyncio.to_thread(load_config, old.path)
        service, fixed = _in_force(old.service, read.service)
        new = replace(read, service=service)
        put_in_force = [parts.destination.prepare(service.log, new.base)]
        put_in_force += [await one.prepare(new) for one in self.workers if isinstance(one, Reconfigurable)]
        if self.syncs:
            await parts.ledger.sync_profiles(new.profiles, managed_by=MANAGED_BY_FILE)
        for put in put_in_force:
            put()
        self._config = new
        parts.log.info("config_reloaded", profiles=len(new.profiles), **_changes(old.targets, new.targets))
        if fixed:
            parts.log.warning("config_needs_restart", keys=fixed)
        with contextlib.suppress(PpsError):  # the ledger is away: all is in force nevertheless
            await self._name_homeless()
        self.told.answer(
            f"[service] {', '.join(fixed)}: changed, which takes a restart; all else is in force" if fixed else ""
        )

    def _refuse(self, complaint: str) -> None:
        self.parts.log.error("config_refused", error=one_line(complaint), kept="the configuration in force")
        self.told.answer(one_line(complaint))

    async def _name_homeless(self) -> None:
        """Tell of profiles not from the file whose target is no more: their mail is not fetched."""
        if not self.syncs:
            return
        homeless = [
            one.profile.name
            for one in await read_profiles(LedgerReader(self.parts.ledger))
            if one.profile.enabled and one.profile.target not in self._config.targets
        ]
        if homeless:
            self.parts.log.warning("profiles_without_target", profiles=homeless)


async def run_reloading(reloader: Reloader, stop: asyncio.Event, changed: asyncio.Event) -> None:
    """Run a process's workers until `stop`, and reload meanwhile whenever `changed` is set; raises PpsError."""
    reloading = asyncio.create_task(reloader.run(changed))
    try:
        await run_in_order(reloader.workers, stop, reloader.parts.log)
    except PpsError:
        raise
    except Exception as error:
        reloader.parts.log.exception("worker_crashed")
        raise PpsError(f"unexpected {type(error).__name__}: the traceback is in the log, at worker_crashed") from error
    finally:
        reloading.cancel()
        await asyncio.gather(reloading, return_exceptions=True)


def _in_force(old: Service, new: Service) -> tuple[Service, list[str]]:
    """Return the section that can be in force now, and the keys that changed but take a restart: all but AT_ONCE."""
    fixed = [name for name in Service.model_fields if name not in AT_ONCE and getattr(old, name) != getattr(new, name)]
    return new.model_copy(update={name: getattr(old, name) for name in fixed}), fixed


def _changes(old: Mapping[str, TargetSettings], new: Mapping[str, TargetSettings]) -> dict[str, list[str]]:
    found = {
        "targets_added": sorted(new.keys() - old.keys()),
        "targets_changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
        "targets_removed": sorted(old.keys() - new.keys()),
    }
    return {name: targets for name, targets in found.items() if targets}
