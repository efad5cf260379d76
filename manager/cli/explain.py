"""`pps explain`: where each mail would go and why."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from manager.cli.completion import complete_profile
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from common.routing_policy import RoutingPolicy
    from manager.explanation import Explanation

STDIN: Final = "-"


def explain(  # noqa: PLR0913 (one parameter an option)
    files: Annotated[list[str], typer.Argument(metavar="FILE", help='Raw mails; "-" is stdin.')],
    *,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="As this profile of the file would.", autocompletion=complete_profile),
    ] = None,
    local_domain: Annotated[list[str] | None, typer.Option(metavar="D", help="A local domain; repeatable.")] = None,
    local_user: Annotated[str | None, typer.Option(metavar="U", help="Who gets what names no local user.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> int:
    """Show where each mail would go and why."""
    policy = _policy(profile, local_domain or [], local_user, config)
    failed = False
    for name in files:
        try:
            explanation = _explained(name, policy)
        except OSError as error:
            failed = True
            typer.echo(f"pps: {_shown(name)}: {error.strerror}", err=True)
            continue
        if as_json:
            typer.echo(json.dumps(explanation.document(name)))
        else:
            _print(name, explanation)
    return int(failed)


def _policy(profile: str | None, local_domain: list[str], local_user: str | None, config: Path) -> "RoutingPolicy":
    from common.config import load_config  # noqa: PLC0415 (slow)
    from common.failures import UsageError  # noqa: PLC0415
    from manager.adhoc import routing_policy  # noqa: PLC0415

    if local_user is not None and profile is None:
        return routing_policy(local_user, local_domain)
    if local_user is not None or local_domain:
        raise UsageError(
            "explain: --profile brings its own local users: leave out --local-domain and --local-user"
            if profile is not None
            else "explain: --local-domain needs --local-user, who gets mail that names no local user"
        )
    checked = load_config(config)
    if profile is not None:
        return checked.profile(profile).policy
    if len(checked.profiles) != 1:
        raise UsageError(f"explain: {config} has {len(checked.profiles)} profiles: choose with --profile NAME")
    return checked.profiles[0].policy


def _explained(name: str, policy: "RoutingPolicy") -> "Explanation":
    from manager.explanation import explain_mail  # noqa: PLC0415 (slow)

    if name == STDIN:
        return explain_mail(_stdin(), policy)
    with Path(name).open("rb") as file:
        return explain_mail(file, policy)


def _stdin() -> BinaryIO:
    return sys.stdin.buffer


def _print(name: str, explanation: "Explanation") -> None:
    found = explanation.recipients
    typer.echo(_shown(name))
    if explanation.loop is not None:
        typer.echo(f"  set aside    {explanation.loop}")
    for recipient in found.recipients:
        typer.echo(f"  {recipient.address}    {recipient.reason}")


def _shown(name: str) -> str:
    from common.messages import one_line  # noqa: PLC0415 (slow)

    return one_line(name)
