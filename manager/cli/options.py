"""Options that several commands take."""

from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_CONFIG: Final = Path("pps.toml")

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", envvar="PPS_CONFIG", metavar="FILE", help="The configuration file.")
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
