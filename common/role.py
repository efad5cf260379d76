"""The entry of one role as a process of its own: read the configuration, run, and end in an exit code and one line."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from common.config import Config, load_config, require_shared
from common.failures import PpsError
from common.http_place import place_of
from common.lookout import Lookout
from common.messages import one_line
from common.reload import Reloader, hangups, run_reloading
from common.unforeseen import keep_traceback
from common.worker import Parts, Worker, opened, stop_on_signals

Build = Callable[[Parts], Awaitable[Sequence[Worker]]]
"""Makes a role's workers from the opened parts, in the order in which they stop."""


def run_role(role: str, build: Build, arguments: Sequence[str]) -> int:
    """Run one role until a signal; return 0, 1 (did not work) or 2 (wrong use or config)."""
    parser = argparse.ArgumentParser(prog=f"python -m {role}")
    parser.add_argument("--config", type=Path, default=Path("pps.toml"), help="the configuration file")
    try:
        config = load_config(parser.parse_args(arguments).config)
        require_shared(config, role)
        asyncio.run(serve(config, role, build))
    except PpsError as error:
        sys.stderr.write(f"pps: {one_line(str(error), 1000)}\n")
        return error.exit_code
    except Exception as error:  # noqa: BLE001 (no user ever sees a traceback, and none is lost)
        sys.stderr.write(f"pps: {keep_traceback(error)}\n")
        return 1
    return 0


async def serve(config: Config, role: str, build: Build) -> None:
    """Run one role's workers until SIGTERM or SIGINT; raises PpsError."""
    stop = asyncio.Event()
    stop_on_signals(stop)
    changed = hangups()
    async with opened(config, role=role, shown=place_of(role, config.service.http) is not None) as parts:
        lookout = await Lookout.open(parts, role=role, ending=stop)
        parts.log.info("worker_started")
        workers = [*await build(parts), lookout]
        await run_reloading(Reloader(parts=parts, workers=workers, syncs=role == "fetcher"), stop, changed)
