"""Commands that prepare an installation: `pps init` and `pps migrate`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from manager.cli.options import DEFAULT_CONFIG, ConfigOption


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write them.", show_default=False)] = Path(),
) -> int:
    """Write a commented pps.toml and a secret key."""
    from manager.sample import write_sample  # noqa: PLC0415 (only this command needs it)

    written = write_sample(folder)
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(
        f"Now edit {written[0]}: set your server, account, users and target. Then: pps pull --config {written[0]}"
    )
    return 0


def migrate(config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Bring the ledger's database to this version's schema."""
    from common.config import load_config  # noqa: PLC0415 (slow)
    from common.ledger import migrate_database  # noqa: PLC0415 (slow)

    checked = load_config(config)
    asyncio.run(migrate_database(checked.service.ledger, base=checked.base))
    typer.echo("the ledger is at this version's schema")
    return 0
