"""`pps status`: how all stands, read from a real ledger."""

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.config import load_config
from common.ledger import Ledger
from common.lock import alone, lock_path
from common.log import open_log
from tests.command import pps, started, tree

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


def test_status_says_what_stands_still_and_what_to_do(folder: Path) -> None:
    """Whether mail flows first, then each trouble with its mend; text from outside is no markup."""
    ended = pps("status", folder=folder)

    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("mail does not flow: 0 mails done in 24 h")
    assert "! service: nothing works on this ledger: no mail is fetched or delivered" in lines
    assert lines[lines.index("  -> pps run") + 2].endswith(
        ": takes nothing: 127.0.0.1:24: connection refused [is it up?]"
    )


def test_status_shows_a_row_a_profile_and_target(folder: Path) -> None:
    """In a pipe: columns under their headings, nothing cut."""
    rows = [line.split() for line in pps("status", folder=folder).out.splitlines()]

    assert ["office", "mail.example.com", "995s", "active", "now", "never"] in rows
    assert ["old", "old.example.com", "110", "disabled", "never", "never"] in rows
    assert rows[-1][:2] == ["local", "paused"]


def test_status_as_json_has_the_same(folder: Path) -> None:
    """One document for scripts, times in UTC."""
    ended = pps("status", "--json", folder=folder)
    found = json.loads(ended.out)

    assert (ended.err, found["flowing"], found["running"]) == ("", False, False)
    assert datetime.fromisoformat(found["at"]).tzinfo is UTC
    assert [(one["name"], one["state"]) for one in found["profiles"]] == [("office", "active"), ("old", "disabled")]
    assert found["targets"][0]["reason"].startswith("127.0.0.1:24")
    assert [one["what"] for one in found["troubles"]] == ["service", "target"]
    assert found["quarantined"] == []


def test_status_sees_a_service_without_disturbing_it(folder: Path) -> None:
    """Who holds the lock is at work; asking takes it from nobody, and makes no file."""
    config = load_config(folder / "pps.toml")
    assert not lock_path(config).exists()

    with alone(config):
        assert json.loads(pps("status", "--json", folder=folder).out)["running"] is True

    assert json.loads(pps("status", "--json", folder=folder).out)["running"] is False


def test_watching_looks_again_until_it_is_interrupted(folder: Path) -> None:
    """In a pipe, a document a look; Ctrl-C is its only end, and no failure."""
    with started("status", "--watch", "--json", folder=folder) as command:
        assert command.stdout is not None
        first, second = (json.loads(command.stdout.readline()) for _ in range(2))
        command.send_signal(signal.SIGINT)
        assert command.wait(timeout=30) == 0

    assert first["at"] < second["at"]


@pytest.mark.parametrize("command", [["status"], ["profile", "list"]])
def test_who_only_looks_waits_for_neither_sqlalchemy_nor_rich(folder: Path, command: list[str]) -> None:
    """On SQLite, neither is imported, which alone would take longer than all the rest."""
    script = (
        f"import sys; from manager.cli.app import run; code = run({command})\n"
        "print(code, 'sqlalchemy' in sys.modules, 'rich.console' in sys.modules, 'structlog' in sys.modules)"
    )

    printed = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)

    assert printed.stdout.splitlines()[-1] == "0 False False False"


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
