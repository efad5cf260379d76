"""Everything that a user gets wrong gives the line that the tables in tests/bad_input say, and no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bad_input.calls import printed
from tests.bad_input.case import CANARY, BadInput
from tests.bad_input.command_lines import COMMAND_LINES
from tests.bad_input.disks import DISKS
from tests.bad_input.fuzz import fuzz
from tests.bad_input.refusals import refusals
from tests.bad_input.surroundings import SURROUNDINGS
from tests.command import ROOT
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ


@pytest.mark.parametrize("case", [*COMMAND_LINES, *SURROUNDINGS, *DISKS], ids=lambda case: case.name.replace(" ", "-"))
def test_a_bad_use_gives_its_line(case: BadInput, tmp_path: Path) -> None:
    """Exit code and line; no secret is repeated."""
    assert_line(case, tmp_path)


def test_a_server_that_refuses_gives_its_line(tmp_path: Path, postgres: Postgres, rabbitmq: RabbitMQ) -> None:
    """PostgreSQL and RabbitMQ: user, password, database, vhost, and each right that is missing."""
    postgres.start()
    for number, case in enumerate(refusals(postgres, rabbitmq)):
        (tmp_path / str(number)).mkdir()
        assert_line(case, tmp_path / str(number))


def assert_line(case: BadInput, folder: Path) -> None:
    """Run a case, and see what it printed."""
    ended, line = printed(case, folder)

    told = [said for said in ended.err.splitlines(keepends=True) if said.startswith("pps: ")]
    assert (ended.code, told) == (case.code, [line]), (case.name, ended)
    assert CANARY not in ended.out + ended.err
    assert "Traceback" not in ended.err


def test_no_command_line_or_configuration_surprises_us() -> None:
    """A few hostile ones of each; `make fuzz-commands` tries thousands."""
    fuzz(25)


@pytest.mark.parametrize(
    ("arguments", "stream"), [(["--version"], "/dev/full"), (["--help"], "/dev/full"), (["--version"], "closed")]
)
def test_a_stdout_that_takes_nothing_gives_no_traceback(arguments: list[str], stream: str) -> None:
    """A full disk is one line and exit 1; who closes stdout wants nothing printed."""
    closing = "exec >&-" if stream == "closed" else f"exec >{stream}"
    script = f'{closing}; exec "$0" -m manager.cli.main "$@"'

    ended = subprocess.run(
        ["sh", "-c", script, sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert ended.returncode == (0 if stream == "closed" else 1)
    assert ended.stderr.count("\n") == ended.returncode
    assert "Traceback" not in ended.stderr
