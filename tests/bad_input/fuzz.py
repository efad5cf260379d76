"""Command lines and configurations that no person would write; `python -m tests.bad_input.fuzz 2000` tries so many."""

import sys
import tempfile
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manager.cli.app import build
from tests.bad_input.calls import called
from tests.bad_input.case import CONFIG
from tests.command import Ended

COMMANDS: Final = sorted(
    command.name or command.callback.__name__ for command in build().registered_commands if command.callback
)

_OPTIONS: Final = st.sampled_from(
    [
        "--config",
        "-c",
        "--json",
        "--all",
        "--server",
        "--user",
        "--password",
        "--to",
        "--local-user",
        "--local-domain",
        "--distribute",
        "--state",
        "--tls",
        "--ca",
        "--keep",
        "--profile",
        "-h",
        "--",
        "-",
        "--=",
        "-f",
        "--confg",
        "-x",
    ]
)
_VALUES: Final = st.sampled_from(
    [
        "office",
        "pps.toml",
        ".",
        "127.0.0.1",
        "env:hunter2",
        "maildir:m/{user}",
        "lmpt://x",
        "0",
        "{",
        "%s",
        "show",
        "list",
        "add",
        "000",
        "none.eml",
        "é",
    ]
) | st.sampled_from(["", " ", "a b", "127.0.0.1 1", "\udcff", "a\nb", "\x1b[2J", "x" * 5000])
_WORDS: Final = _OPTIONS | _VALUES | st.text(st.characters(exclude_characters="/\\.\0"), max_size=8)
LINES: Final = st.tuples(st.sampled_from(COMMANDS), st.lists(_WORDS, max_size=6)).map(lambda line: [line[0], *line[1]])

CONFIGS: Final = st.tuples(st.integers(0, len(CONFIG)), st.integers(0, 40), st.binary(max_size=12)).map(
    lambda cut: CONFIG.encode()[: cut[0]] + cut[2] + CONFIG.encode()[cut[0] + cut[1] :]
)

BROKEN: Final = CONFIG.replace("local_user", "lokal_user")
"""What every command line meets: nothing is begun that would not end."""


def complaint_of(ended: Ended) -> str:
    """Return what is wrong with how a command ended: a user is told in lines, without a traceback or a secret."""
    if ended.code not in {0, 1, 2}:
        return f"exit code {ended.code}"
    if "Traceback" in ended.out + ended.err or "pps: unexpected " in ended.err:
        return "an error that nobody foresaw"
    strays = [line for line in ended.err.splitlines() if not line.startswith("pps: ")]
    return f"not a line of ours: {strays[0]!r}" if ended.code == 2 and strays else ""


def assert_line_is_taken(arguments: list[str]) -> None:
    """Call a command line in a folder with a broken configuration."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pps.toml").write_text(BROKEN)
        ended = called(arguments, Path(folder), {"HOME": folder})
        assert complaint_of(ended) == "", (arguments, ended)


def assert_config_is_taken(content: bytes) -> None:
    """Have a configuration read."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pps.toml").write_bytes(content)
        ended = called(["status"], Path(folder), {"HOME": folder})
        assert complaint_of(ended) == "", (content, ended)


def fuzz(count: int) -> None:
    """Try so many of each kind."""
    tried = settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    tried(given(LINES)(assert_line_is_taken))()
    tried(given(CONFIGS)(assert_config_is_taken))()


if __name__ == "__main__":
    fuzz(int(sys.argv[1]))
