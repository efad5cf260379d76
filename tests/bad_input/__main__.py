"""`python -m tests.bad_input`: the table of what is wrong and what was printed."""

import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.bad_input.calls import called, printed
from tests.bad_input.case import BadInput
from tests.bad_input.command_lines import COMMAND_LINES
from tests.bad_input.disks import DISKS
from tests.bad_input.refusals import refusals
from tests.bad_input.surroundings import SURROUNDINGS
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ

BROKEN: Final = sorted((Path(__file__).parent.parent / "bad_configs").glob("*.toml"))


def rows() -> Iterator[tuple[str, str, int, str]]:
    """Yield name, command, exit code and what was printed, of each bad input."""
    for path in BROKEN:
        ended = called(["status", "--config", path.name], path.parent)
        yield path.stem, f"pps status --config {path.name}", ended.code, ended.err
    with Postgres() as postgres, RabbitMQ() as rabbitmq:
        yield from _printed((*COMMAND_LINES, *SURROUNDINGS, *DISKS, *refusals(postgres, rabbitmq)))


def _printed(cases: Iterable[BadInput]) -> Iterator[tuple[str, str, int, str]]:
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            ended, _ = printed(case, Path(folder))
            yield case.name, f"pps {' '.join(case.arguments)}", ended.code, ended.err.replace(folder, "/etc/pps")


def main() -> None:
    """Print the table as Markdown."""
    sys.stdout.write("| what is wrong | command | exit | printed |\n| --- | --- | --- | --- |\n")
    for row in rows():
        cells = (str(cell).strip().replace("|", "\\|").replace("\n", " ").replace("\x1b", "?") for cell in row)
        sys.stdout.write(f"| {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
