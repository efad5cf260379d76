"""`pps oauth`: signing mailboxes in whose providers take tokens instead of passwords."""

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from manager.cli.completion import complete_profile
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from fetcher.oauth_answers import DeviceCode

oauth: Final = typer.Typer(
    help="Sign in with OAuth 2 tokens instead of passwords.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@oauth.command()
def login(  # noqa: PLR0913 (one parameter an option)
    name: Annotated[str, typer.Argument(metavar="NAME", help="The profile.", autocompletion=complete_profile)],
    *,
    config: ConfigOption = DEFAULT_CONFIG,
    browser: Annotated[bool, typer.Option("--browser", help="In a browser on this machine, not by code.")] = False,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="The port that the browser comes back to; 0: any.")
    ] = 0,
    refresh_token: Annotated[
        str | None, typer.Option(metavar="REF", help="A refresh token that you have: env:NAME, file:PATH…")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Sign a mailbox in: shows an address and a code, and waits until you have allowed it there."""
    from common.config import load_config
    from manager.oauth_login import Ways, log_in

    ways = Ways(
        show_code=_print_code_json if as_json else _print_code,
        show_address=_print_address_json if as_json else _print_address,
        browser=browser,
        port=port,
        refresh_token=refresh_token,
    )
    asyncio.run(log_in(load_config(config), name, ways))
    typer.echo(
        json.dumps({"profile": name, "signed_in": True}) if as_json else f"{name} is signed in, and polled next."
    )
    return 0


@oauth.command("list")
def list_(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> int:
    """Show how the grants stand; exit 1 if a person must sign in, now or soon."""
    from common.config import load_config
    from manager.oauth_login import signed

    found = asyncio.run(signed(load_config(config)))
    if as_json:
        typer.echo(json.dumps({"grants": [one.document() for one in found]}))
    else:
        from manager.cli.tables import print_table

        rows = [
            [one.profile.name, one.profile.user, one.state, _mend(one.profile.name, one.wants_login)] for one in found
        ]
        print_table(["profile", "user", "grant", "what to do"], rows)
    return 1 if any(one.wants_login for one in found) else 0


def _mend(name: str, wants_login: bool) -> str:  # noqa: FBT001 (a table's column)
    return f"pps oauth login {name}" if wants_login else ""


def _print_code(code: "DeviceCode") -> None:
    typer.echo(f"Open {code.uri} and enter {code.user_code}")
    if code.uri_complete is not None:
        typer.echo(f"or open {code.uri_complete}")
    _flush(f"Waiting until you have allowed it there (at most {max(1, code.expires_in // 60)} min) …")


def _print_code_json(code: "DeviceCode") -> None:
    _flush(
        json.dumps(
            {
                "verification_uri": code.uri,
                "verification_uri_complete": code.uri_complete,
                "user_code": code.user_code,
                "expires_in": code.expires_in,
            }
        )
    )


def _print_address(address: str) -> None:
    _flush(f"Open this in a browser on this machine:\n{address}\nWaiting until it comes back (at most 10 min) …")


def _print_address_json(address: str) -> None:
    _flush(json.dumps({"authorization_uri": address}))


def _flush(text: str) -> None:
    typer.echo(text)
    sys.stdout.flush()
