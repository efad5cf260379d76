"""How `[service] broker` is read."""

import pytest
import structlog

from common.connect import connect_broker
from common.failures import UsageError
from common.rabbitmq.address import Node, parse_address


def test_several_nodes_and_escapes_are_read() -> None:
    """Any of the hosts will do; each may have its port, else the scheme's."""
    address = parse_address("amqps://pps:p%40ss%2Fw@one.example,two.example:5673,[::1]:5674/my%2Fvhost")
    assert address.nodes == (
        Node(host="one.example", port=5671),
        Node(host="two.example", port=5673),
        Node(host="::1", port=5674),
    )
    assert (address.user, address.password, address.vhost, address.tls) == ("pps", "p@ss/w", "my/vhost", True)


@pytest.mark.parametrize(("path", "vhost"), [("", "/"), ("/", "/"), ("/%2F", "/"), ("/pps", "pps")])
def test_the_vhost_is_the_path(path: str, vhost: str) -> None:
    """No path means RabbitMQ's default vhost."""
    assert parse_address(f"amqp://u:p@host{path}").vhost == vhost


def test_an_address_never_shows_its_password() -> None:
    """A repr ends in logs and tracebacks."""
    assert "canary" not in repr(parse_address("amqp://u:canary@host"))


@pytest.mark.parametrize(
    "url",
    [
        "amqp://host/vhost",
        "amqp://user@host",
        "amqp://user:@host",
        "amqp://user:canary@",
        "amqp://user:canary@host:x",
        "amqp://user:canary@host:0",
        "amqp://user:canary@host:65536",
        "amqp://user:canary@one,,two",
        "amqp://user:canary@[::1",
        "amqp://user:canary@host/a/b",
        "amqp://user:canary@host/v?heartbeat=1",
        "amqp://user:canary#1@host/v",
        "amqp:user:canary",
        "amqpx://user:canary@host",
        "rabbit.example",
        "memory",
        "",
    ],
)
async def test_a_wrong_url_names_its_key_and_never_the_password(url: str) -> None:
    """One line that a user can mend the config by."""
    with pytest.raises(UsageError, match=r"^\[service\] broker: .*amqp://") as failure:
        await connect_broker(url, role="test", log=structlog.get_logger())
    assert "canary" not in str(failure.value)
    assert "\n" not in str(failure.value)
