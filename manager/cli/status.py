"""`pps status`: is mail flowing, what stands still, since when, whose, and what to do; read beside whatever runs."""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from common.config import Config
    from common.ledger.reader import Reader
    from manager.standing import Overview

WATCH_SECONDS: Final = 2.0
"""How often `--watch` looks: soon for a person, nothing for the database."""


def status(
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every two seconds, until Ctrl-C.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="On a terminal: show profiles without trouble too.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Show whether mail flows, what stands still, and the mend."""
    from common.config import load_config

    try:
        asyncio.run(_status(load_config(config), watch=watch, everything=everything, as_json=as_json))
    except KeyboardInterrupt:
        if not watch:
            raise
    return 0


async def _status(config: "Config", *, watch: bool, everything: bool, as_json: bool) -> None:
    from manager.cli.status_view import blocks_of, document_of
    from manager.cli.tables import print_blocks
    from manager.standing import overview_with_queues, reading

    async with reading(config) as reader:
        if watch and sys.stdout.isatty() and not as_json:
            await _watched(config, reader, everything=everything)
            return
        while True:
            found = await overview_with_queues(config, reader)
            if as_json:
                typer.echo(json.dumps(document_of(found)))
            else:
                print_blocks(blocks_of(found, short=sys.stdout.isatty() and not everything))
            sys.stdout.flush()
            if not watch:
                return
            await _until_next_look()


async def _watched(config: "Config", reader: "Reader", *, everything: bool) -> None:
    """Keep a terminal's screen up to date; what was on it before comes back afterwards."""
    from rich.live import Live

    from manager.cli.status_view import blocks_of
    from manager.cli.tables import console, rendered
    from manager.standing import overview_with_queues

    with Live(console=console(), screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            found: Overview = await overview_with_queues(config, reader)
            live.update(rendered(blocks_of(found, short=not everything)), refresh=True)
            await _until_next_look()


async def _until_next_look() -> None:
    await asyncio.sleep(WATCH_SECONDS)
