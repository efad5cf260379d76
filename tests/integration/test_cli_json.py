"""`--json` everywhere: whatever command prints data prints JSON, and nothing else."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command

from common.ledger import Ledger
from common.log import open_log
from manager.cli.app import build
from tests.command import pps
from tests.ledger import Scene

ARGUMENTS: Final = {"mails show": ["{mail}"], "explain": ["mail.eml", "--local-user", "ann"], "log": []}
"""What commands need that can't do without."""

ELSEWHERE: Final = {"pull", "import"}
"""Commands that need a server, or a file of another program: their own tests read their JSON."""


def commands(command: Any = None, path: str = "") -> Iterator[str]:  # noqa: ANN401 (typer's own command has no public type)
    """Yield every command that takes --json and that can be asked without more than ARGUMENTS."""
    command = command or get_command(build())
    options = [name for parameter in command.params for name in parameter.opts]
    required = any(parameter.required for parameter in command.params)
    if "--json" in options and path not in ELSEWHERE and (path in ARGUMENTS or not required):
        yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{path} {name}".strip())


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A folder with a configuration, a ledger of one mail, a log and a mail."""
    (tmp_path / "pps.toml").touch()
    (tmp_path / "mail.eml").write_bytes(b"To: ann@example.com\r\n\r\nbody\r\n")
    log = open_log("pop3.log", tmp_path)
    ledger = await Ledger.open("sqlite:///pps.db", base=tmp_path, log=log)
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com"))
    log.info("mail_fetched", mail=scene.known[b"u1"].mail_id)
    await ledger.close()
    (tmp_path / "mail").write_text(scene.known[b"u1"].mail_id)
    return tmp_path


def test_every_command_that_prints_data_prints_json_and_nothing_else(folder: Path) -> None:
    """A document, or one a line; times are UTC; a command that fails may say so on stderr, in a line."""
    names = list(commands())
    assert {"status", "mails", "mails show", "log", "explain"} <= set(names)
    for name in names:
        more = [one.format(mail=(folder / "mail").read_text()) for one in ARGUMENTS.get(name, [])]
        ended = pps(*name.split(), *more, "--json", folder=folder)

        documents = [json.loads(line) for line in ended.out.splitlines()]
        assert documents or ended.code, name
        assert ended.code or ended.err == "", name
        for key, moment in moments(documents):
            assert datetime.fromisoformat(moment).tzinfo is UTC, (name, key)


def moments(value: Any, key: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401 (any JSON)
    """Yield every time in a document, by its key."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from moments(below, name)
    elif isinstance(value, list):
        for below in value:
            yield from moments(below, key)
    elif value is not None and (key in {"at", "since"} or key.endswith(("_at", "_since"))):
        yield key, value
