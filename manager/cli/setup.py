"""Commands that prepare an installation: `pps init` and `pps migrate`."""

import asyncio
import shlex
from pathlib import Path
from typing import Annotated, Final

import typer

from manager.cli.options import DEFAULT_CONFIG, ConfigOption

_NEXT: Final = """\
Next:
  1. In pps.toml, say in [target.local] where your mail server takes mail.
  2. `pps profile add` asks for a mailbox and tries it. (Or fill in the sample [[profile]], and remove enabled = false.)
  3. `pps pull` polls once, and tells who got what. `pps run` stays, and polls at intervals.
Keep a copy of pps.key, apart from the ledger's: it opens the passwords that you type."""


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write them.", show_default=False)] = Path(),
) -> int:
    """Write a commented pps.toml and a secret key."""
    from manager.sample import write_sample

    written = write_sample(folder)
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(_NEXT if folder == Path() else f"cd {shlex.quote(str(folder))}, and there:\n{_NEXT}")
    return 0


def migrate(config: ConfigOption = DEFAULT_CONFIG) -> int:
    """Bring the ledger's database to this version's schema."""
    from common.config import load_config
    from common.ledger import migrate_database

    checked = load_config(config)
    asyncio.run(migrate_database(checked.service.ledger, base=checked.base))
    typer.echo("the ledger is at this version's schema")
    return 0
