"""`pps import`: another mail collector's files, made into a pps.toml."""

import getpass
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from common.counted import counted
from manager.cli.options import JsonOption

if TYPE_CHECKING:
    from manager.importing.document import Document


def import_(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="A .fetchmailrc, a getmailrc, or a folder of them.")
    ],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there, and passwords beside it.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Make a pps.toml of fetchmail's or getmail's files.

    What can't be carried over is listed on stderr.

    Typed passwords are never in it: with --output they go into passwords/, each in a file that only you may read.
    """
    from manager.importing.files import import_files, write

    made = import_files(files, with_files=output is not None, home=str(Path.home()), me=getpass.getuser())
    written = [] if output is None else write(made, output)
    if as_json:
        _print_json(made, written)
    else:
        _print(made, written)
    return 0 if made.profiles else 1


def _print(made: "Document", written: list[Path]) -> None:
    if not written:
        sys.stdout.write(made.text)
    for path in written:
        typer.echo(f"wrote {path}")
    for remark in made.remarks:
        typer.echo(str(remark), err=True)
    counts = f"{counted(made.profiles, 'profile')}, {counted(len(made.remarks), 'remark')}"
    typer.echo(f"{counts}: read both before you use them", err=True)


def _print_json(made: "Document", written: list[Path]) -> None:
    remarks = [
        {"file": one.path, "line": one.line, "what": one.what, "why": one.why, "instead": one.instead}
        for one in made.remarks
    ]
    found = {"profiles": made.profiles, "written": [str(path) for path in written], "remarks": remarks}
    typer.echo(json.dumps(found if written else {"config": made.text, **found}, ensure_ascii=False))
