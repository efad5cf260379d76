"""`[service] broker_api`: where RabbitMQ's management API is asked, and as whom."""

from pathlib import Path

import pytest

from common.broker_keys import parse_api
from common.config import Config, load_config
from common.failures import PpsError
from common.rabbitmq.address import parse_address
from manager.rabbitmq.api import api_addresses

BROKER = parse_address("amqp://pps-router:secret@mq1:5672,[::1]/pps")


def configured(folder: Path, api: str) -> Config:
    """Return a configuration with this `broker_api`."""
    (folder / "pps.toml").write_text(f'[service]\nbroker_api = "{api}"\n')
    return load_config(folder / "pps.toml")


async def test_by_itself_it_is_on_the_brokers_hosts(tmp_path: Path) -> None:
    """At the plugin's own port, encrypted if AMQP is; as the broker's user, which stands in its URL."""
    found = await api_addresses(configured(tmp_path, "auto"), BROKER)
    encrypted = await api_addresses(configured(tmp_path, "auto"), parse_address("amqps://u:p@mq1/pps"))

    assert [(one.base, one.user) for one in found] == [("http://mq1:15672", None), ("http://[::1]:15672", None)]
    assert [one.base for one in encrypted] == ["https://mq1:15671"]
    assert await api_addresses(configured(tmp_path, "off"), BROKER) == ()


async def test_the_file_of_who_monitors_names_hosts_and_account(tmp_path: Path) -> None:
    """`pps broker setup` writes it as the broker's URL: its hosts and user are the API's."""
    (tmp_path / "monitor.url").write_text("amqp://pps-monitor:canary@mq1,mq2/pps\n")
    (tmp_path / "monitor.url").chmod(0o600)

    found = await api_addresses(configured(tmp_path, "file:monitor.url"), BROKER)

    assert [one.base for one in found] == ["http://mq1:15672", "http://mq2:15672"]
    assert {(one.user, one.password) for one in found} == {("pps-monitor", "canary")}
    assert "canary" not in repr(found)


@pytest.mark.parametrize("text", ["amqp://canary", "canary", "http://canary@", "https://u:canary@h/?x=1"])
async def test_a_reference_to_nonsense_shows_nothing_of_it(tmp_path: Path, text: str) -> None:
    """One line that names the key."""
    (tmp_path / "api.url").write_text(text)
    (tmp_path / "api.url").chmod(0o600)

    with pytest.raises(PpsError, match=r"^\[service\] broker_api: ") as failure:
        await api_addresses(configured(tmp_path, "file:api.url"), BROKER)

    assert "canary" not in str(failure.value)


@pytest.mark.parametrize(
    ("url", "base", "user"),
    [
        ("http://mq", "http://mq:15672", None),
        ("https://u%40x:p%2F@mq", "https://mq:15671", "u@x"),
        ("http://[::1]:8080/rabbit/", "http://[::1]:8080/rabbit", None),
    ],
)
def test_its_url_is_read(url: str, base: str, user: str | None) -> None:
    """With and without a port, an account, and the prefix that a proxy may have."""
    found = parse_api(url)

    assert (found.base, found.user) == (base, user)
    assert "p/" not in repr(found)
