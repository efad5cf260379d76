"""`pps profile test`: what a server shows to who signs in, told in plain words; no mail is touched."""

import asyncio
import json
from typing import TYPE_CHECKING

import typer

from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from manager.cli.profile import NameArgument

if TYPE_CHECKING:
    from manager.trial import Trial


def try_(name: NameArgument, *, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> int:
    """Connect, sign in and list, and tell what the server shows; no mail is fetched or deleted."""
    from common.config import load_config
    from common.failures import PpsError
    from manager.profiles import known_profiles, named
    from manager.trial import try_profile

    checked = load_config(config)
    known = named(asyncio.run(known_profiles(checked)), name, checked)
    try:
        trial = asyncio.run(try_profile(checked, known.profile, known=known, typed=None))
    except PpsError as error:
        if not as_json:
            raise
        typer.echo(json.dumps({"profile": name, "ok": False, "error": str(error)}))
        return 1
    if as_json:
        typer.echo(json.dumps({"profile": name, "ok": True, "error": None} | trial.document()))
    else:
        tell(trial)
    return 0


def tell(trial: "Trial", *, err: bool = False) -> None:
    """Say what was found, a line each."""
    from manager.trial import sentences

    for about, said in sentences(trial):
        typer.echo(f"{about:<12} {said}", err=err)
    typer.echo("No mail was fetched or deleted.", err=err)
