"""`pps mails`: which mails there are, and one mail's whole life. Nothing of a mail's content is on record."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from manager.cli.completion import complete_profile, complete_state
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from common.failures import PpsError
    from common.ledger.lives import Life, Listed, Wanted
    from manager.cli.tables import Block

STATES: Final = ("listed", "fetched", "routed", "deleted", "kept", "skipped", "quarantined", "lost", "removed")
"""Those of the ledger's `MailState`, and "removed": by somebody else, before they were fetched."""

LIMIT: Final = 50
MAX_LIMIT: Final = 100_000

mails: Final = typer.Typer(rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})


@mails.callback(invoke_without_command=True)
def list_mails(  # noqa: PLR0913 (one parameter an option)
    context: typer.Context,
    *,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of this profile.", autocompletion=complete_profile)
    ] = None,
    state: Annotated[
        str | None, typer.Option(metavar="|".join(STATES), help="In this state.", autocompletion=complete_state)
    ] = None,
    recipient: Annotated[str | None, typer.Option(metavar="ADDRESS", help="For this address or local user.")] = None,
    deferred: Annotated[bool, typer.Option("--deferred", help="That somebody's target put off.")] = False,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="That wait for a person.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help='Listed since then: "2h", "3d", "2026-11-23 19:00".')
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="At most so many, the newest.")] = LIMIT,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> int:
    """Show the newest mails and where each is.

    `pps mails show ID` tells one mail's whole life.
    """
    if context.invoked_subcommand is not None:
        return 0
    from common.ledger.lives import Wanted
    from manager.cli.mails_view import list_document, table_of
    from manager.cli.moments import moment_of
    from manager.cli.tables import is_narrow

    wanted = Wanted(
        limit=limit,
        profile=profile,
        state=_state(state),
        recipient=recipient,
        deferred=deferred,
        quarantined=quarantined,
        since=None if since is None else moment_of(since, "--since"),
    )
    found = asyncio.run(_list(config, wanted))
    _print(list_document(found) if as_json else table_of(found, narrow=is_narrow()))
    return 0


@mails.command()
def show(
    mail: Annotated[str, typer.Argument(metavar="ID", help="A mail's or delivery's id, or its beginning.")],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> int:
    """Show one mail's whole life: what happened when, who got it or hasn't yet, and what comes next."""
    from manager.cli.mails_view import life_blocks, life_document

    life, siblings, at = asyncio.run(_show(config, mail))
    _print(life_document(life, siblings, at) if as_json else life_blocks(life, siblings, at))
    return 0


def _state(state: str | None) -> str | None:
    from common.config_errors import nearest
    from common.failures import UsageError

    if state is not None and state not in STATES:
        raise UsageError(f"--state: no state {state!r}: {nearest(state, STATES)}")
    return state


async def _list(path: "Path", wanted: "Wanted") -> "Listed":
    from common.config import load_config
    from common.ledger.lives import list_mails as listed_mails
    from common.ledger.standing import require_profile
    from manager.standing import reading

    async with reading(load_config(path)) as reader:
        if wanted.profile is not None:
            await require_profile(reader, wanted.profile)
        return await listed_mails(reader, wanted)


async def _show(path: "Path", beginning: str) -> "tuple[Life, tuple[Life, ...], int]":
    from common.config import load_config
    from common.ledger.lives import find_mails, life_of, siblings_of
    from common.ledger.standing import read_clock
    from manager.standing import reading

    checked = load_config(path)
    wanted = _id(beginning)
    async with reading(checked) as reader:
        found = await find_mails(reader, wanted)
        if len(found) == 1:
            life = await life_of(reader, found[0])
            return life, await siblings_of(reader, life), await read_clock(reader)
    raise _not_one(wanted, found)


def _id(beginning: str) -> str:
    from common.failures import UsageError

    wanted = beginning.strip().lower()
    if not wanted or not set(wanted) <= set("0123456789abcdef-"):
        raise UsageError(f"mails show: {beginning!r} is not an id or its beginning: `pps mails` shows them")
    return wanted


def _not_one(wanted: str, found: "Sequence[str]") -> "PpsError":
    from common.failures import PpsError

    if found:
        return PpsError(f"mails show: several ids begin with {wanted}: {', '.join(found)}")
    return PpsError(f"mails show: no mail has an id that begins with {wanted}: see `pps mails`")


def _print(told: "dict[str, object] | Iterable[Block]") -> None:
    from manager.cli.tables import print_blocks

    if isinstance(told, dict):
        typer.echo(json.dumps(told))
    else:
        print_blocks(told)
