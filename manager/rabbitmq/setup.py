"""`pps broker setup`: brings a RabbitMQ to what PPS asks of it, and does nothing where it is that already."""

import asyncio
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from common.broker_keys import ApiAddress
from common.config import Config
from common.failures import PpsError, UsageError
from common.rabbitmq.address import Address, parse_address
from common.rabbitmq.layout import user_of
from common.secrets import Secret, resolve
from manager.rabbitmq.api import Api, open_api
from manager.rabbitmq.plan import Change, Present, changes_for

_OCTETS: Final = 24
"""Of chance in a password that is made here."""

ADMINISTRATOR: Final = "administrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be set up: where, as whom, for which roles, and their passwords."""

    place: Address  # nodes and vhost; its account is nobody's here
    api: Sequence[ApiAddress]
    user: str
    password: Secret
    roles: Sequence[str]
    accounts: Mapping[str, str]  # references to the passwords of some roles
    folder: Path  # where URLs with made-up passwords are kept, one file a role


@dataclass(slots=True, kw_only=True)
class Done:
    """What was changed, or would be, and which files hold URLs that were made here."""

    changes: list[Change]
    files: dict[str, Path] = field(default_factory=dict)  # by role: those that are new


async def set_up(config: Config, wish: Wish, *, dry_run: bool) -> Done:
    """Compare, and change what differs; raises PpsError that names the address and the mend."""
    given = {role: await _given(config, wish, role) for role in wish.roles}
    async with open_api(wish.api, wish.user, wish.password) as api:
        if ADMINISTRATOR not in await api.tags():
            raise PpsError(
                f"{api.base}: user {api.user!r} is no administrator: rabbitmqctl set_user_tags {api.user} administrator"
            )
        present = await _present(api, wish.place.vhost)
        made = {
            role: secrets.token_urlsafe(_OCTETS)
            for role in wish.roles
            if given[role] is None and user_of(role, wish.place.vhost) not in present.users
        }
        done = Done(changes=list(changes_for(wish.place.vhost, given | made, present)))
        done.files = {role: url_file(wish.folder, role) for role in made}
        if dry_run:
            return done
        for role, password in made.items():  # first: a password that nobody knows would be worth nothing
            await asyncio.to_thread(_keep, done.files[role], _url(wish, role, password))
        for change in done.changes:
            await api.put(*change.path, document=dict(change.document))
    return done


def url_file(folder: Path, role: str) -> Path:
    """Return the file of a role's URL."""
    return folder / f"{role}.url"


async def _given(config: Config, wish: Wish, role: str) -> str | None:
    """Return the password that a role is to have: by its reference, or of a file that was written here before."""
    if role in wish.accounts:
        try:
            return (await resolve(wish.accounts[role], base=config.base)).reveal()
        except PpsError as error:
            raise PpsError(f"--account {role}: {error}") from error.__cause__
    path = url_file(wish.folder, role)
    if not path.exists():
        return None
    url = (await resolve(f"file:{path}", base=config.base)).reveal()
    return _password_in(url, path, role, wish.place.vhost)


def _password_in(url: str, path: Path, role: str, vhost: str) -> str:
    """Return the password in a file that was written here, unless it is another installation's."""
    try:
        found = parse_address(url)
    except UsageError:
        raise PpsError(f"{path}: holds no URL of a broker: remove the file, and a password is made anew") from None
    if (found.user, found.vhost) != (user_of(role, vhost), vhost):
        raise PpsError(f"{path}: is of user {found.user!r} in vhost {found.vhost!r}: name another folder with --to")
    return found.password


async def _present(api: Api, vhost: str) -> Present:
    there = await api.find("vhosts", vhost) is not None
    policies = await api.get("policies", vhost) if there else []
    permissions = await api.get("vhosts", vhost, "permissions") if there else []
    return Present(
        vhost=there,
        policies={policy["name"]: policy for policy in policies},
        users={user["name"]: user for user in await api.get("users")},
        permissions={row["user"]: row for row in permissions},
    )


def _url(wish: Wish, role: str, password: str) -> str:
    """Return what `[service] broker` would hold."""
    place, user = wish.place, quote(user_of(role, wish.place.vhost), safe="")
    scheme = "amqps" if place.tls else "amqp"
    return f"{scheme}://{user}:{password}@{','.join(map(str, place.nodes))}/{quote(place.vhost, safe='')}"


def _keep(path: Path, url: str) -> None:
    """Write a URL for its owner alone; a crash before RabbitMQ has the password is mended by the next run."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(url + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise PpsError(f"{path}: can't write it: {error.strerror}: name another folder with --to") from error
