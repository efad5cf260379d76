"""`pps verify`: every mail accounted for, against ledger, blobs, targets and servers."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from manager.cli.completion import complete_profile
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption


def verify(  # noqa: PLR0913 (one parameter an option)
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Only these profiles.", autocompletion=complete_profile),
    ] = None,
    *,
    remote: Annotated[bool, typer.Option(help="Sign in and list what is on the servers, too.")] = True,
    accept: Annotated[
        bool, typer.Option("--accept", help="You have read it: delete again, after the ledger was restored.")
    ] = False,
    restored: Annotated[
        bool, typer.Option("--restored", help="The ledger comes from a backup: delete nothing before --accept.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> int:
    """Account for every mail; nothing is fetched or deleted.

    Exit 0 if all is accounted for, 1 if something must not be so, or could not be looked at.
    """
    from common.config import load_config
    from manager.cli.tables import print_blocks
    from manager.cli.verify_view import blocks_of, document_of
    from manager.verify import verification

    checked = load_config(config)
    if accept:
        told = "mail is deleted again"
        return _decided(verification.accept(checked), names, told, withheld=False, as_json=as_json, other=restored)
    if restored:
        told = "nothing is deleted until you have read `pps verify`, and said so: pps verify --accept"
        return _decided(verification.say_restored(checked), names, told, withheld=True, as_json=as_json)
    report = asyncio.run(verification.verify(checked, names or (), remote=remote))
    if as_json:
        typer.echo(json.dumps(document_of(report)))
    else:
        print_blocks(blocks_of(report))
    return 1 if report.total or report.unlooked else 0


def _decided(  # noqa: PLR0913 (what is decided, and how it is told)
    decision: Coroutine[Any, Any, None],
    names: list[str] | None,
    told: str,
    *,
    withheld: bool,
    as_json: bool,
    other: bool = False,
) -> int:
    from common.failures import UsageError

    if names or other:
        decision.close()
        raise UsageError("verify: --accept and --restored are about the whole ledger: give one of them, and no name")
    asyncio.run(decision)
    typer.echo(json.dumps({"withheld": withheld}) if as_json else told)
    return 0
