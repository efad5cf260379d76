"""`[service] broker` as a reference: each process of a cluster takes its own account, and none stands in pps.toml."""

from pathlib import Path

import pytest

from common.config import Config, load_config, require_shared
from common.connect import broker_url
from common.failures import PpsError
from common.lock import is_single

URL = "amqp://pps-router:canary-5d1e@mq.example.com/pps"
SHARED = 'ledger = "postgresql://pps@db/pps"'


def configured(folder: Path, broker: str) -> Config:
    """Return a configuration with this `[service] broker`."""
    (folder / "pps.toml").write_text(f'[service]\n{SHARED}\nbroker = "{broker}"\n')
    return load_config(folder / "pps.toml")


def a_file(folder: Path, text: str, mode: int = 0o600) -> None:
    """Write the file that a reference names."""
    (folder / "router.url").write_text(text)
    (folder / "router.url").chmod(mode)


async def test_a_url_is_found_where_its_reference_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file beside pps.toml, in the environment, printed by a command, held by systemd; or it is the URL itself."""
    a_file(tmp_path, URL + "\n")
    monkeypatch.setenv("PPS_TEST_BROKER", URL)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    references = ["file:router.url", "env:PPS_TEST_BROKER", "command:cat router.url", "credential:router.url", URL]

    configs = [configured(tmp_path, reference) for reference in references]

    assert [await broker_url(one.service, one.base) for one in configs] == [URL] * 5
    assert not any(is_single(one) for one in configs)
    for one in configs:
        require_shared(one, "router")


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (URL, 0o644, "file:{}: others than its owner may use it: chmod 600 {}"),
        ("memory:", 0o600, "a reference leads to amqp://USER:PASSWORD@HOST/VHOST, and this one doesn't"),
        ("canary-5d1e", 0o600, "a reference leads to amqp://USER:PASSWORD@HOST/VHOST, and this one doesn't"),
        ("", 0o600, "file:{}: is empty"),
    ],
)
async def test_what_is_no_url_is_told_without_showing_it(tmp_path: Path, text: str, mode: int, said: str) -> None:
    """One line that names the key and the mend."""
    a_file(tmp_path, text, mode)
    config = configured(tmp_path, "file:router.url")

    with pytest.raises(PpsError) as failure:
        await broker_url(config.service, config.base)

    assert str(failure.value) == "[service] broker: " + said.replace("{}", str(tmp_path / "router.url"))
    assert "canary" not in str(failure.value)


async def test_a_reference_to_nothing_names_key_and_place(tmp_path: Path) -> None:
    """The file isn't there yet."""
    config = configured(tmp_path, "file:gone.url")

    with pytest.raises(PpsError, match=r"^\[service\] broker: file:.*gone.url: can't read it: No such file"):
        await broker_url(config.service, config.base)
