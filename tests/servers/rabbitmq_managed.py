"""A RabbitMQ node with its management API and an administrator, for tests that need them: they cost memory and time."""

import os
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.servers.process import free_port
from tests.servers.rabbitmq import VHOST, RabbitMQ, scripts

ADMIN: Final = "boss"
ADMIN_PASSWORD: Final = "canary-administrator"

_TICK_MS: Final = 500
"""How often the API counts messages anew: by itself every 5 s."""


class ManagedRabbitMQ(RabbitMQ):
    """A node that its administrator can reach over HTTP. Has the vhost and user of any test node."""

    def __init__(self) -> None:
        super().__init__()
        self.api_port = free_port()

    @property
    def api(self) -> str:
        """Where the API is, as `[service] broker_api` has it."""
        return f"http://127.0.0.1:{self.api_port}"

    def ask(self, method: str, path: str, document: object = None) -> Any:  # noqa: ANN401 (JSON)
        """Do by hand what an administrator might: far quicker than rabbitmqctl."""
        account = (ADMIN, ADMIN_PASSWORD)
        answer = httpx.request(method, f"{self.api}/api/{path}", json=document, auth=account, trust_env=False)
        return answer.json() if answer.content else None

    def start(self) -> None:
        """Return once the node takes connections and the administrator is known."""
        if self._server is not None:
            return
        (self._folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (self._folder / "advanced.config").write_text(f"[{{rabbit, [{{quorum_tick_interval, {_TICK_MS}}}]}}].\n")
        with (self._folder / "rabbitmq.conf").open("a") as settings:
            settings.write(
                f"management.tcp.port = {self.api_port}\nmanagement.tcp.ip = 127.0.0.1\n"
                f"collect_statistics_interval = {_TICK_MS}\n"
            )
        super().start()
        own = "rabbit_auth_backend_internal"
        self.ctl(
            "eval",
            f'{own}:add_user(<<"{ADMIN}">>, <<"{ADMIN_PASSWORD}">>, <<"test">>), '
            f'{own}:set_tags(<<"{ADMIN}">>, [administrator], <<"test">>), '
            f'{own}:set_permissions(<<"{ADMIN}">>, <<"{VHOST}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>).',
        )


@pytest.fixture(scope="module")
def managed() -> Iterator[ManagedRabbitMQ]:
    """Run such a node; without the package the tests that need it are skipped, or with CI=true fail."""
    if scripts() is None:
        missing = "rabbitmq-server is not installed: apt-get install rabbitmq-server"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with ManagedRabbitMQ() as node:
        yield node
