"""The command line's manners: exit codes, one line an error, nothing touched when something is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import __version__
from common.failures import PpsError
from manager.cli import app
from tests.bad_input.calls import called
from tests.command import pps, tree
from tests.terminal import Terminal

WRONG = '[service]\nlogg = "x"\n'
CONFIGURED = (["run"], ["fetcher"], ["router"], ["deliverer"], ["pull"], ["status"], ["log"], ["migrate"])


def test_version_is_answered_before_anything_is_imported() -> None:
    """Scripts ask for it often: neither typer nor pydantic is paid for."""
    script = (
        "import sys; sys.argv[1:] = ['--version']; from manager.cli.main import main; main();"
        "print('typer' in sys.modules, 'pydantic' in sys.modules)"
    )

    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert printed.splitlines() == [f"pps {__version__}", "False False"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nosuch"], "pps: No such command 'nosuch': see pps --help"),
        (["run", "--confg", "x"], "pps: run: No such option: --confg (Possible options: --config): see pps run --help"),
        (["pull", "--ca"], "pps: Option '--ca' requires an argument: see pps --help"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(tmp_path: Path, arguments: list[str], line: str) -> None:
    """The command, what is wrong with it, and where to look."""
    ended = called(arguments, tmp_path)

    assert (ended.code, ended.err, ended.out) == (2, line + "\n", "")


@pytest.mark.parametrize("arguments", CONFIGURED, ids=lambda arguments: arguments[0])
def test_a_wrong_config_is_one_line_exit_2_and_nothing_is_touched(tmp_path: Path, arguments: list[str]) -> None:
    """Every command that reads the file refuses it alike."""
    (tmp_path / "pps.toml").write_text(WRONG)
    before = tree(tmp_path)

    ended = called(arguments, tmp_path)

    assert ended.code == 2
    assert ended.err == 'pps: pps.toml: [service] unknown key "logg": did you mean "log"?\n'
    assert tree(tmp_path) == before


def test_a_service_on_a_terminal_says_that_it_works(tmp_path: Path) -> None:
    """Its log goes into a file: a person would see nothing, and not know where to look."""
    (tmp_path / "pps.toml").write_text('[target.local]\nurl = "maildir:mail/{user}?create=yes"\n')

    with Terminal(tmp_path, "run") as terminal:
        terminal.await_line("`pps log -f` what happens")


def test_no_command_shows_the_help_and_is_wrong_use(tmp_path: Path) -> None:
    """The commands are listed."""
    ended = pps(folder=tmp_path)

    assert ended.code == 2
    assert all(f"\n  {command[0]} " in ended.out for command in CONFIGURED)


def test_the_config_may_be_named_by_the_environment(tmp_path: Path) -> None:
    """PPS_CONFIG stands for --config."""
    ended = pps("status", folder=tmp_path, environment={"PPS_CONFIG": "/nowhere/pps.toml"})

    assert ended.err.startswith("pps: /nowhere/pps.toml: there is no such file")


def test_a_shell_completes_commands(tmp_path: Path) -> None:
    """The completion that `--install-completion` sets up asks the command itself."""
    asked = {"_PPS_COMPLETE": "complete_bash", "COMP_WORDS": "pps ex", "COMP_CWORD": "1"}

    assert pps(folder=tmp_path, environment=asked).out.split() == ["explain"]


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """`pps log | head -1` ends without a complaint."""
    (tmp_path / "pps.toml").touch()
    (tmp_path / "pop3.log").write_text('{"event":"numbered"}\n' * 50_000)
    reading, writing = os.pipe()
    os.close(reading)

    with subprocess.Popen(
        [sys.executable, "-m", "manager.cli.main", "log"], cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE
    ) as command:
        os.close(writing)
        _, complaints = command.communicate(timeout=60)

    assert complaints == b""


def test_an_unexpected_error_is_one_line_with_the_traceback_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line shows the kind only, for the text may hold a secret; the file is private."""

    def broken() -> int:
        """Fail in a way that nobody foresaw."""
        raise KeyError("hunter2")

    monkeypatch.setattr(app, "_PLACES", {"broken": ""})
    monkeypatch.setattr(app, "_at", lambda _place: broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert app.run(["broken"]) == 1

    (kept,) = tmp_path.iterdir()
    assert capsys.readouterr().err == f"pps: unexpected KeyError: the traceback is in {kept}\n"
    assert "in broken" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PpsError("two\nlines"), "pps: two lines\n"),
        (KeyboardInterrupt(), "pps: interrupted\n"),
        (
            ImportError("No module named 'x'"),
            "pps: can't start: No module named 'x': install PPS again, with all that it needs\n",
        ),
        (PermissionError(13, "Permission denied", "/var/lib/pps"), "pps: /var/lib/pps: Permission denied\n"),
    ],
)
def test_foreseen_errors_are_one_line(
    error: BaseException, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever its text, a failure is one line and exit 1."""

    def failing() -> int:
        """Fail."""
        raise error

    monkeypatch.setattr(app, "_PLACES", {"failing": ""})
    monkeypatch.setattr(app, "_at", lambda _place: failing)

    assert app.run(["failing"]) == 1
    assert capsys.readouterr().err == line
