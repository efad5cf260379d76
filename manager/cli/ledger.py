"""`pps ledger`: what keeps the ledger's size in bounds."""

import asyncio
import json
from typing import Annotated, Final

import typer

from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

ledger: Final = typer.Typer(
    help="Look after the ledger's database.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@ledger.callback()
def _group() -> None:
    """Look after the ledger's database."""


@ledger.command()
def prune(
    *,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="TIME", help="How long ago they left: 90d; else [service] retention."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only count what would be forgotten.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> int:
    """Forget delivered mails that left their server long ago."""
    from common.config import load_config
    from manager import pruning

    checked = load_config(config)
    seconds = checked.service.retention if older_than is None else _seconds(older_than)
    mails = asyncio.run((pruning.count if dry_run else pruning.prune)(checked, seconds))
    if as_json:
        typer.echo(json.dumps({"mails": mails, "older_than": seconds, "dry_run": dry_run}))
    else:
        verb = "would be forgotten" if dry_run else "were forgotten"
        typer.echo(f"{mails} mails {verb}: they left their server more than {seconds // 86400} days ago")
    return 0


def _seconds(text: str) -> int:
    from common.failures import UsageError
    from common.retention import parse_retention

    try:
        return parse_retention(text)
    except ValueError as error:
        raise UsageError(f"--older-than: {error}") from error
