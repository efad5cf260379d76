"""`pps broker`: RabbitMQ as PPS needs it."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from manager.cli.asking import ask_password, on_terminal
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.broker_keys import ApiAddress
    from common.config import Config
    from common.rabbitmq.address import Address
    from common.secrets import Secret
    from manager.rabbitmq.setup import Done, Wish

FOLDER: Final = Path("broker")

broker: Final = typer.Typer(
    help="Set RabbitMQ up for PPS.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@broker.callback()
def _group() -> None:
    """Keep `setup` a command of its own, although it is the only one."""


@broker.command()
def setup(  # noqa: PLR0913 (one parameter an option)
    *,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="An administrator of RabbitMQ; else the user in --api.")
    ] = None,
    password: Annotated[
        str | None, typer.Option(metavar="REF", help="Its password: env:NAME, file:PATH…; else it is asked for.")
    ] = None,
    api: Annotated[
        str | None, typer.Option(metavar="URL", help="The management API; else [service] broker_api.")
    ] = None,
    nodes: Annotated[
        str | None,
        typer.Option(metavar="URL", help='"amqp://HOST[:PORT][,HOST…]/VHOST"; else those of [service] broker.'),
    ] = None,
    account: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=REF", help="A role's password; else one is made.")
    ] = None,
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="Where URLs with passwords made here are kept, a file a role.")
    ] = FOLDER,
    one_user: Annotated[bool, typer.Option("--one-user", help="One user for all roles, as `pps run` needs.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, say what would change.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> int:
    """Make vhost, policies, and a user with just its rights for each role.

    A second run changes nothing. It talks to RabbitMQ's management API.
    """
    from common.config import load_config
    from manager.rabbitmq.setup import set_up

    checked = load_config(config)
    wish = asyncio.run(
        _wish(
            checked,
            user=user,
            password=password,
            api=api,
            nodes=nodes,
            accounts=account or (),
            one_user=one_user,
            to=to,
        )
    )
    done = asyncio.run(set_up(checked, wish, dry_run=dry_run))
    if as_json:
        typer.echo(json.dumps(_document(done, dry_run=dry_run)))
    else:
        _print(done, dry_run=dry_run)
    return 0


async def _wish(  # noqa: PLR0913 (one parameter an option)
    config: "Config",
    *,
    user: str | None,
    password: str | None,
    api: str | None,
    nodes: str | None,
    accounts: "Sequence[str]",
    one_user: bool,
    to: Path,
) -> "Wish":
    from common.failures import UsageError
    from common.rabbitmq.layout import ACCOUNTS, RUN
    from manager.rabbitmq.setup import Wish

    place = await _place(config, nodes)
    addresses = await _addresses(config, api, place)
    name = user or addresses[0].user
    if name is None:
        raise UsageError("broker setup: --user names an administrator of RabbitMQ: `rabbitmqctl list_users` shows them")
    roles = (RUN,) if one_user else ACCOUNTS
    return Wish(
        place=place,
        api=[_without_account(one) for one in addresses] if user else addresses,
        user=name,
        password=await _password(config, password, name, known=user is None),
        roles=roles,
        accounts=dict(_account(text, roles) for text in accounts),
        folder=config.base / to,
    )


async def _place(config: "Config", nodes: str | None) -> "Address":
    """Return nodes and vhost; the account in `[service] broker` may not be there yet, so --nodes needs none."""
    from common.connect import broker_url
    from common.failures import UsageError
    from common.rabbitmq.address import parse_address, parse_nodes

    if nodes is not None:
        return parse_nodes(nodes, "--nodes")
    if config.service.broker == "memory:":
        raise UsageError(
            "[service] broker: memory: needs no setup: write where RabbitMQ is, or name it with --nodes amqp://HOST/VHOST"
        )
    return parse_address(await broker_url(config.service, config.base))


async def _addresses(config: "Config", api: str | None, place: "Address") -> "tuple[ApiAddress, ...]":
    from common.broker_keys import parse_api
    from common.failures import UsageError
    from manager.rabbitmq.api import addresses_beside, api_addresses

    if api is None:
        return await api_addresses(config, place) or addresses_beside(place)
    try:
        return (parse_api(api),)
    except ValueError:
        raise UsageError("--api: is http[s]://[USER:PASSWORD@]HOST[:PORT]") from None


def _without_account(address: "ApiAddress") -> "ApiAddress":
    from dataclasses import replace

    return replace(address, user=None, password=None)


async def _password(config: "Config", reference: str | None, user: str, *, known: bool) -> "Secret":
    from common.failures import PpsError, UsageError
    from common.secrets import Secret, resolve

    if reference is not None:
        try:
            return await resolve(reference, base=config.base)
        except PpsError as error:
            raise UsageError(f"--password: {error}") from error.__cause__
    if known:  # it stands in the API's URL
        return Secret("")
    if not on_terminal():
        raise UsageError("broker setup: --password says where the administrator's is: no terminal to ask on")
    return ask_password(f"Password of {user}")


def _account(text: str, roles: "Sequence[str]") -> tuple[str, str]:
    from common.config_errors import nearest
    from common.failures import UsageError
    from common.secrets import KINDS, is_reference

    role, _, reference = text.partition("=")
    if role not in roles:
        raise UsageError(f"--account: there is no role {role!r}: {nearest(role, roles)}")
    if not is_reference(reference):
        raise UsageError(f"--account {role}: a password is given as a reference: {KINDS}")
    return role, reference


def _print(done: "Done", *, dry_run: bool) -> None:
    for change in done.changes:
        typer.echo(f"{'would change: ' if dry_run else ''}{change.what}: {change.does}")
    for role, path in done.files.items():
        typer.echo(f"{'would write' if dry_run else 'wrote'} {path}: the URL of the {role}, with its new password")
    if not done.changes:
        typer.echo("nothing to change")


def _document(done: "Done", *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "changes": [{"what": change.what, "does": change.does} for change in done.changes],
        "files": {role: str(path) for role, path in done.files.items()},
    }
