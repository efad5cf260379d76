"""A ledger that a newer PPS has used: nobody works on it, changes it, or guesses what its rows mean; both databases."""

import asyncio
from pathlib import Path

import pytest
import structlog

from common.ledger import Ledger, migrate_database
from common.ledger.schema import HEAD
from tests.bad_input.calls import called
from tests.integration.service import install
from tests.ledger import change

COMMANDS = ("run", "pull", "migrate", "status", "mails", "queues", "quarantine list", "profile list")

OFFICE = {
    "name": "office",
    "server": "127.0.0.1 110",
    "user": "u",
    "password": "env:NONE",
    "local_user": "ann@x.example",
}


async def made_newer(url: str, folder: Path) -> None:
    """Make a ledger that says it is of schema 9999."""
    await migrate_database(url, base=folder)
    ledger = await Ledger.open(url, base=folder, log=structlog.get_logger())
    await change(ledger, "UPDATE alembic_version SET version_num = '9999'")
    await ledger.close()


@pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])
def test_every_command_refuses_it_in_one_line(
    request: pytest.FixtureRequest, tmp_path: Path, database_kind: str
) -> None:
    """Exit 1, and the mend; to migrate it would be to go back. The doctor says the same."""
    url = "sqlite:///pps.db" if database_kind == "sqlite" else str(request.getfixturevalue("database"))
    asyncio.run(made_newer(url, tmp_path))
    install(tmp_path, OFFICE, ledger=url)

    ended = {command: called(command.split(), tmp_path) for command in COMMANDS}
    doctor = called(["doctor"], tmp_path)

    said = f"the ledger is of a newer PPS (schema 9999, this one knows {HEAD}): upgrade PPS"
    assert {command: (one.code, one.out) for command, one in ended.items()} == dict.fromkeys(COMMANDS, (1, ""))
    for one in ended.values():
        assert one.err in {f"pps: {said}\n", f"pps: pps.toml: {said}\n"}
    assert said in doctor.out
    assert doctor.code == 1
