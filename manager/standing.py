"""How all stands, read from the ledger beside whatever runs; nothing is made just to look into it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from common.config import Config
from common.failures import PpsError
from common.ledger.reader import Reader, open_reader
from common.ledger.standing import Standing, read_standing
from common.lock import is_held, is_single
from manager.trouble import Trouble, is_flowing, troubles_of

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What `pps status` tells."""

    standing: Standing
    running: bool | None  # whether a service works on this ledger; None: nobody can tell
    flowing: bool
    troubles: tuple[Trouble, ...]


@asynccontextmanager
async def reading(config: Config) -> AsyncIterator[Reader]:
    """Open the ledger to read; raises PpsError that names the file where there is none yet, or it doesn't answer."""
    try:
        async with open_reader(config.service.ledger, base=config.base, log=_silent()) as reader:
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


class _Silent:
    """A logger for who only reads: what goes wrong is raised, and nothing else is worth a line."""

    def __getattr__(self, _level: str) -> object:
        return lambda *_told, **_more: None


def _silent() -> "FilteringBoundLogger":
    return cast("FilteringBoundLogger", _Silent())
