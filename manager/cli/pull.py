"""`pps pull`: poll now until settled, for the profiles of a file or for one mailbox given by options."""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from manager.cli.completion import complete_profile
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from common.config import Config
    from common.failures import PpsError
    from common.ledger.standing import Standing

_NEEDED: Final = ("server", "user", "password", "to", "local_user")


def pull(  # noqa: PLR0913 (one parameter an option)
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Profiles; all enabled ones if none.", autocompletion=complete_profile),
    ] = None,
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    server: Annotated[str | None, typer.Option(metavar='"HOST PORT[s]"', help="Without a file: the server.")] = None,
    user: Annotated[str | None, typer.Option(metavar="U", help="The account.")] = None,
    password: Annotated[str | None, typer.Option(metavar="REF", help="env:NAME, file:PATH or command:COMMAND.")] = None,
    to: Annotated[str | None, typer.Option(metavar="URL", help="The target: lmtp://, smtp://, maildir:…")] = None,
    local_user: Annotated[str | None, typer.Option(metavar="U", help="Who gets what names no local user.")] = None,
    local_domain: Annotated[list[str] | None, typer.Option(metavar="D", help="A local domain; repeatable.")] = None,
    distribute: Annotated[bool, typer.Option("--distribute", help="Distribute by To and Cc.")] = False,
    state: Annotated[str | None, typer.Option(metavar="URL", help="The ledger to keep between pulls.")] = None,
    tls: Annotated[str | None, typer.Option(metavar="auto|implicit|starttls|none", help="How to encrypt.")] = None,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificates to trust.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave mail on the server.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Poll now until settled; exit 0 if nothing is left to do."""
    adhoc = {
        "server": server,
        "user": user,
        "password": password,
        "local_user": local_user,
        "local_domain": local_domain or None,
        "distribute": distribute or None,
        "tls": tls,
        "ca": None if ca is None else str(ca),
        "keep": keep or None,
    }
    given = {key: value for key, value in adhoc.items() if value is not None}
    checked, managed_by = _config(names or [], config, given, to=to, state=state)
    try:
        return asyncio.run(_pull(checked, names or [], managed_by=managed_by, as_json=as_json))
    except KeyboardInterrupt:
        raise _interrupted() from None


def _config(
    names: list[str], path: Path, given: dict[str, Any], *, to: str | None, state: str | None
) -> tuple["Config", str]:
    """Return what to pull, and as whose profiles: those of options must not disable those of a file in one ledger."""
    from common.config import load_config
    from common.failures import UsageError
    from manager.adhoc import adhoc_config

    options = given | ({} if to is None else {"to": to})
    if not options and state is None:
        return load_config(path), "file"
    if names:
        raise UsageError("pull: either NAMEs of the file's profiles, or --server and its options")
    missing = [key for key in _NEEDED if key not in options]
    if missing or to is None:
        given_now = ", ".join(_option(key) for key in options) or "--state"
        raise UsageError(f"pull: {given_now} without a file needs {', '.join(_option(key) for key in missing)} too")
    return adhoc_config(given, to=to, state=state, current=Path.cwd()), "options"


def _interrupted() -> "PpsError":
    from common.failures import PpsError

    return PpsError("interrupted: nothing is lost, mail that not everybody has is still on the server: pull again")


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


async def _pull(config: "Config", names: list[str], *, managed_by: str, as_json: bool) -> int:
    from manager.cli import accounting
    from manager.cli.progress import shown_progress
    from manager.pull import pull as pull_profiles

    with shown_progress(shown=sys.stderr.isatty() and not as_json) as progress:
        report = await pull_profiles(config, names, progress=progress, managed_by=managed_by)
    complaints = [] if report.done else accounting.complaints(report, await _standing(config), config.targets)
    if as_json:
        typer.echo(json.dumps(accounting.document(report, complaints)))
    else:
        _tell(accounting.recipients_of(report), complaints, accounting.closing_line(report))
    return 0 if report.done else 1


async def _standing(config: "Config") -> "Standing":
    from common.ledger.standing import read_standing
    from manager.standing import reading

    async with reading(config) as reader:
        return await read_standing(reader)


def _tell(recipients: dict[str, int], complaints: list[str], closing_line: str) -> None:
    from common.messages import one_line
    from manager.cli.tables import print_table

    if sys.stdout.isatty() and recipients:
        print_table(["recipient", "mails"], [[address, str(count)] for address, count in recipients.items()])
    for complaint in complaints:
        typer.echo(f"pps: {one_line(complaint)}", err=True)
    typer.echo(closing_line)
