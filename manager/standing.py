"""How all stands, read from the ledger beside whatever runs; nothing is made just to look into it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from common.config import Config
from common.failures import PpsError
from common.ledger.reader import Reader, open_reader
from common.ledger.standing import Standing, read_standing
from common.lock import is_held, is_single
from manager.queue_troubles import broker_trouble, queue_troubles
from manager.queues import Queues, read_queues
from manager.trouble import Trouble, is_flowing, troubles_of

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

BROKER_SECONDS: Final = 30.0
"""How long RabbitMQ may take to tell of its queues: two silent nodes of a cluster, and the third."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What `pps status` tells."""

    standing: Standing
    running: bool | None  # whether a service works on this ledger; None: nobody can tell
    flowing: bool
    troubles: tuple[Trouble, ...]
    queues: Queues | None = None  # None: nobody looked, or the broker can't be reached


@asynccontextmanager
async def reading(config: Config) -> AsyncIterator[Reader]:
    """Open the ledger to read; raises PpsError that names the file where there is none yet, or it doesn't answer."""
    try:
        async with open_reader(config.service.ledger, base=config.base, log=silent()) as reader:
            yield reader
    except PpsError as error:
        raise type(error)(f"{config.path}: {error}") from error.__cause__


async def overview_of(config: Config, reader: Reader) -> Overview:
    """Return how all stands, and what to do about it."""
    standing = await read_standing(reader)
    running = _is_running(config, standing)
    return Overview(
        standing=standing,
        running=running,
        flowing=is_flowing(standing, running=running),
        troubles=troubles_of(standing, running=running),
    )


def _is_running(config: Config, standing: Standing) -> bool | None:
    """With many processes, a lease that is held tells of a fetcher at work; without one, nobody knows."""
    if is_single(config):
        return is_held(config)
    return True if any(one.polling for one in standing.profiles) else None


async def overview_with_queues(config: Config, reader: Reader) -> Overview:
    """Return how all stands, the queues too: where RabbitMQ is away, no mail flows, and that is the first trouble."""
    found = await overview_of(config, reader)
    paused = {target.name for target in found.standing.targets if target.paused_since is not None}
    try:
        async with asyncio.timeout(BROKER_SECONDS):
            queues = await read_queues(config, reader, quick=True)
    except PpsError as error:
        return replace(found, flowing=False, troubles=(broker_trouble(str(error)), *found.troubles))
    except TimeoutError:
        complaint = f"[service] broker: no answer within {BROKER_SECONDS:.0f} s"
        return replace(found, flowing=False, troubles=(broker_trouble(complaint), *found.troubles))
    troubles = tuple(queue_troubles(queues, paused=paused, targets=config.targets))
    return replace(found, queues=queues, troubles=(*found.troubles, *troubles))


class _Silent:
    """A logger for who only reads: what goes wrong is raised, and nothing else is worth a line."""

    def __getattr__(self, _level: str) -> object:
        return lambda *_told, **_more: None


def silent() -> "FilteringBoundLogger":
    """Return the logger of who only reads."""
    return cast("FilteringBoundLogger", _Silent())
