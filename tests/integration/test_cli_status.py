"""`pps status`: how all stands, read from a real ledger."""

import json
from pathlib import Path

import pytest

from common.config import load_config
from common.ledger import Ledger
from common.log import open_log
from tests.command import pps, tree

CONFIG = """
[target.local]
url = "lmtp://127.0.0.1:24"
[[profile]]
name = "office"
server = "mail.example.com 995s"
user = "default@example.com"
password = "env:OFFICE_PASSWORD"
local_user = "user1"
[[profile]]
name = "old"
server = "old.example.com 110"
user = "default@example.com"
password = "env:OFFICE_PASSWORD"
local_user = "user1"
enabled = false
"""


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A folder with a configuration whose ledger knows its profiles and a target that takes nothing."""
    (tmp_path / "pps.toml").write_text(CONFIG)
    config = load_config(tmp_path / "pps.toml")
    ledger = await Ledger.open(config.service.ledger, base=config.base, log=open_log("-", tmp_path, level="error"))
    await ledger.sync_profiles(config.profiles, managed_by="file")
    await ledger.pause_target("local", "127.0.0.1:24: connection refused [is it up?]", 600)
    await ledger.close()
    return tmp_path


def test_status_shows_profiles_and_paused_targets(folder: Path) -> None:
    """One row a profile; text from outside is no markup."""
    ended = pps("status", folder=folder)

    assert (ended.code, ended.err) == (0, "")
    lines = [line.split() for line in ended.out.splitlines()]
    assert lines[1] == ["office", "mail.example.com", "995s", "new", "never", "now"]
    assert lines[2] == ["old", "old.example.com", "110", "disabled", "never", "never"]
    assert lines[-1][:4] == ["target", "local", "takes", "nothing"]
    assert ended.out.endswith(": 127.0.0.1:24: connection refused [is it up?]\n")


def test_status_as_json_has_the_same(folder: Path) -> None:
    """One document for scripts."""
    found = json.loads(pps("status", "--json", folder=folder).out)

    assert [profile["name"] for profile in found["profiles"]] == ["office", "old"]
    assert found["targets"][0]["name"] == "local"
    assert found["quarantined"] == []


def test_status_makes_no_ledger(tmp_path: Path) -> None:
    """To look is not to begin."""
    (tmp_path / "pps.toml").write_text(CONFIG)
    before = tree(tmp_path)

    ended = pps("status", folder=tmp_path)

    assert (ended.code, ended.err) == (
        1,
        "pps: pps.toml: nothing ran yet: `pps run` or `pps pull` makes the ledger\n",
    )
    assert tree(tmp_path) == before


def test_migrate_makes_the_ledger(tmp_path: Path) -> None:
    """After it, status has something to read."""
    (tmp_path / "pps.toml").write_text(CONFIG)

    assert pps("migrate", folder=tmp_path).code == 0
    assert pps("status", folder=tmp_path).code == 0
