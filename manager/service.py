"""Composes the workers: every role in one process for `pps run`, a single one for `pps fetcher` and its like."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from common.config import MANAGED_BY_FILE, Config
from common.http_place import place_of
from common.lock import Reloads, Tell, alone, is_single
from common.lookout import Lookout
from common.reload import Reloader, hangups, run_reloading
from common.worker import Parts, Worker, opened, stop_on_signals


async def run_service(config: Config, *, roles: set[str], began: Callable[[], None] = lambda: None) -> int:
    """Run these roles until SIGTERM or SIGINT; return 0. Raises PpsError for what a user can mend.

    `began` is called once all work.
    """
    stop = asyncio.Event()
    stop_on_signals(stop)
    changed = hangups()
    syncs = "fetcher" in roles
    with single(config) as tell:
        role = next(iter(roles)) if len(roles) == 1 else "run"
        async with opened(config, role=role, shown=place_of(role, config.service.http) is not None) as parts:
            lookout = await Lookout.open(parts, role=role, ending=stop)
            if syncs:
                await parts.ledger.sync_profiles(config.profiles, managed_by=MANAGED_BY_FILE)
            parts.log.info("worker_started", profiles=len(config.profiles))
            workers = [*await compose(parts, roles), lookout]
            began()
            reloader = Reloader(parts=parts, workers=workers, syncs=syncs, told=Reloads(tell))
            await run_reloading(reloader, stop, changed)
    return 0


def single(config: Config) -> AbstractContextManager[Tell]:
    """Hold the lock of a ledger or broker that belongs to one process, if these do."""
    return alone(config) if is_single(config) else contextlib.nullcontext(lambda _holder: None)


async def compose(parts: Parts, roles: set[str], *, names: frozenset[str] | None = None) -> Sequence[Worker]:
    """Return the roles' workers in the order in which they stop: polls first, the settling of outcomes last."""
    workers: list[Worker] = []
    last: list[Worker] = []
    if "fetcher" in roles:
        from fetcher.__main__ import build as build_fetcher  # noqa: PLC0415 (a role imports only its own worker)

        polling, settling = await build_fetcher(parts, names=names)
        workers.append(polling)
        last.append(settling)
    if "router" in roles:
        from router.__main__ import build as build_router  # noqa: PLC0415 (as above)

        workers += await build_router(parts)
    if "deliverer" in roles:
        from deliverer.__main__ import build as build_deliverer  # noqa: PLC0415 (as above)

        workers += await build_deliverer(parts)
    return [*workers, *last]
