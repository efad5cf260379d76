"""`pps queues`: how full each queue is, who takes from it, since when, and what nobody could read."""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from manager.cli.asking import agreed, on_terminal
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.config import Config
    from manager.cli.tables import Block

WATCH_SECONDS: Final = 2.0
"""How often `--watch` looks: soon for a person, nothing for RabbitMQ."""

queues: Final = typer.Typer(rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})


@queues.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every two seconds, until Ctrl-C.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> int:
    """Show each queue: what waits, who takes it, since when.

    And the messages that nobody could read, with the reasons.
    """
    if context.invoked_subcommand is not None:
        return 0
    from common.config import load_config

    checked = load_config(config)
    try:
        asyncio.run(_watched(checked, as_json=as_json) if watch else _once(checked, as_json=as_json))
    except KeyboardInterrupt:
        if not watch:
            raise
    return 0


@queues.command("purge-dead")
def purge(
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> int:
    """Forget the messages that nobody could read, once you have looked.

    No mail is lost by it: the ledger and the remote mailboxes have all of it.
    """
    from common.config import load_config
    from common.failures import UsageError
    from manager.queues import purge_dead

    checked = load_config(config)
    if not yes:
        if not on_terminal():
            raise UsageError("queues purge-dead: --yes says that they may go: no terminal to ask on")
        if not agreed("Forget all messages in pps.dead?", default=False):
            return 1
    count = asyncio.run(purge_dead(checked))
    typer.echo(json.dumps({"purged": count}) if as_json else f"{count} message{'s' * (count != 1)} forgotten")
    return 0


async def _once(config: "Config", *, as_json: bool) -> None:
    from manager.cli.queues_view import blocks_of, document_of
    from manager.cli.tables import print_blocks
    from manager.queues import read_queues
    from manager.standing import reading

    async with reading(config) as reader:
        found = await read_queues(config, reader)
    if as_json:
        typer.echo(json.dumps(document_of(found)))
    else:
        print_blocks(blocks_of(found))


async def _watched(config: "Config", *, as_json: bool) -> None:
    """Look again and again, also while RabbitMQ is away: then why is what there is to see."""
    from manager.cli.tables import print_blocks

    if as_json or not sys.stdout.isatty():
        while True:
            document, blocks = await _look(config)
            if as_json:
                typer.echo(json.dumps(document))
            else:
                print_blocks(blocks)
            sys.stdout.flush()
            await asyncio.sleep(WATCH_SECONDS)
    from rich.live import Live

    from manager.cli.tables import console, rendered

    with Live(console=console(), screen=True, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            _, blocks = await _look(config)
            live.update(rendered(blocks), refresh=True)
            await asyncio.sleep(WATCH_SECONDS)


async def _look(config: "Config") -> "tuple[dict[str, object], Sequence[Block]]":
    from common.failures import PpsError
    from manager.cli.queues_view import blocks_of, document_of
    from manager.cli.tables import Line
    from manager.queues import read_queues
    from manager.standing import reading

    try:
        async with reading(config) as reader:
            found = await read_queues(config, reader)
    except PpsError as error:
        return {"error": str(error)}, [Line(str(error), style="red")]
    return document_of(found), list(blocks_of(found))
