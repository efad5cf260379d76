"""Users of a RabbitMQ node: added, given other rights, thrown out; several in one call, for each costs seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from common.rabbitmq.layout import Rights
from tests.servers.rabbitmq import VHOST, RabbitMQ

_OWN: Final = "rabbit_auth_backend_internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user as a test wants it; without rights, it may not even use the vhost."""

    name: str
    password: str
    rights: Rights | None = None

    def url(self, server: RabbitMQ) -> str:
        """Return what `[service] broker` would hold for it."""
        return f"amqp://{self.name}:{self.password}@127.0.0.1:{server.port}/{VHOST}"


def put_users(server: RabbitMQ, *users: User) -> None:
    """Add users, in the vhost of the tests."""
    calls = [f'{_OWN}:add_user(<<"{user.name}">>, <<"{user.password}">>, <<"test">>)' for user in users]
    rights = [_granted(user.name, user.rights) for user in users if user.rights is not None]
    server.ctl("eval", ", ".join([*calls, *rights]) + ".")


def change_rights(server: RabbitMQ, rights: Mapping[str, Rights]) -> None:
    """Give users these rights instead of those they have, and close their connections: they come back with the new."""
    changes = [_granted(name, given) for name, given in rights.items()]
    ends = [f'rabbit_networking:close_all_user_connections(<<"{name}">>, <<"test">>)' for name in rights]
    server.ctl("eval", ", ".join([*changes, *ends]) + ".")


def _granted(name: str, rights: Rights) -> str:
    patterns = ", ".join(
        f'<<"{pattern}">>'.replace("\\", "\\\\") for pattern in (rights.configure, rights.write, rights.read)
    )
    return f'{_OWN}:set_permissions(<<"{name}">>, <<"{VHOST}">>, {patterns}, <<"test">>)'
