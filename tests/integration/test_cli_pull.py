"""`pps pull`: one real mailbox pulled until settled, from options and from a file, and what it tells."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command import ROOT, pps, started, tree
from tests.maildir import messages
from tests.mails import mail
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.process import free_port

CANARY = "canary-7f3a"

CATCH_ALL = ["--distribute", "--local-domain", "local.example", "--local-user", "boss"]


def options(mailbox: Mailbox, *more: str, to: str = "maildir:mail/{user}?create=yes") -> list[str]:
    """Return the options that pull a mailbox without a file."""
    account = ["--server", mailbox.server, "--user", mailbox.user, "--password", "env:SECRET"]
    return ["pull", *account, "--to", to, *CATCH_ALL, *more]


def plant_three(mailbox: Mailbox) -> None:
    """Put in a mail for one user, one for two and one for nobody here."""
    mailbox.plant(
        mail(to="ann@local.example"), mail(to="bob@local.example, ann@local.example"), mail(to="x@other.example")
    )


def inbox_sizes(folder: Path) -> dict[str, int]:
    """Return how many mails each Maildir holds."""
    return {path.name: len(messages(path)) for path in sorted((folder / "mail").glob("*"))}


def test_a_catch_all_is_distributed_and_emptied(mailbox: Mailbox, tmp_path: Path) -> None:
    """In a pipe only the closing line is printed; a second pull finds nothing to do."""
    plant_three(mailbox)

    first = pps(*options(mailbox), folder=tmp_path, environment={"SECRET": mailbox.password})
    second = pps(*options(mailbox), folder=tmp_path, environment={"SECRET": mailbox.password})

    assert (first.code, first.out, first.err) == (0, "3 mails: 3 delivered and deleted\n", "")
    assert (second.code, second.out, second.err) == (0, "no mail\n", "")
    assert inbox_sizes(tmp_path) == {"ann": 2, "bob": 1, "boss": 1}
    assert mailbox.remaining() == []


def test_json_tells_who_got_how_many(mailbox: Mailbox, tmp_path: Path) -> None:
    """One document; kept mail stays on the server and is not delivered again."""
    plant_three(mailbox)
    secret = {"SECRET": mailbox.password}

    first = pps(*options(mailbox, "--keep", "--json"), folder=tmp_path, environment=secret)
    again = pps(*options(mailbox, "--keep"), folder=tmp_path, environment=secret)

    found = json.loads(first.out)
    assert (found["done"], found["errors"]) == (True, [])
    assert found["recipients"] == {"ann@local.example": 2, "bob@local.example": 1, "boss@local.example": 1}
    assert found["profiles"][0]["kept"] == 3
    assert (again.code, again.out) == (0, "no mail\n")
    assert len(mailbox.remaining()) == 3
    assert inbox_sizes(tmp_path) == {"ann": 2, "bob": 1, "boss": 1}


def test_a_wrong_password_is_one_line_and_shown_nowhere(mailbox: Mailbox, tmp_path: Path) -> None:
    """The profile is named, the mail stays, and no file that was written holds what was tried."""
    plant_three(mailbox)

    ended = pps(*options(mailbox), folder=tmp_path, environment={"SECRET": CANARY})

    assert ended.code == 1
    assert ended.err.startswith("pps: pull-")
    assert ended.err.count("\n") == 1
    assert len(mailbox.remaining()) == 3
    assert CANARY not in ended.out + ended.err
    assert not [name for name, content in tree(tmp_path).items() if CANARY.encode() in content]


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """Host and port are named."""
    port = free_port()
    arguments = ["pull", "--server", f"127.0.0.1 {port}", "--user", "u", "--password", "env:SECRET"]

    ended = pps(
        *arguments, "--to", "maildir:mail", "--local-user", "ann", folder=tmp_path, environment={"SECRET": CANARY}
    )

    assert ended.code == 1
    assert ended.err.startswith("pps: pull-")
    assert str(port) in ended.err
    assert ended.err.count("\n") == 1


def test_a_password_that_can_not_be_found_is_one_line(mailbox: Mailbox, tmp_path: Path) -> None:
    """The variable to set is named."""
    ended = pps(*options(mailbox), folder=tmp_path)

    assert ended.code == 1
    assert "the environment variable SECRET isn't set" in ended.err
    assert ended.err.count("\n") == 1


def test_mail_stays_while_its_target_is_down(mailbox: Mailbox, tmp_path: Path) -> None:
    """Exit 1, the target is named with its words, and the mail is still on the server."""
    plant_three(mailbox)
    arguments = options(mailbox, to=f"lmtp://127.0.0.1:{free_port()}")

    ended = pps(*arguments, folder=tmp_path, environment={"SECRET": mailbox.password})

    assert (ended.code, ended.out) == (1, "3 mails: 3 not done yet\n")
    assert ended.err.startswith("pps: target pull-")
    assert len(mailbox.remaining()) == 3


def test_what_one_mailbox_left_undone_is_not_another_s(dovecot: Dovecot, mailbox: Mailbox, tmp_path: Path) -> None:
    """The exit code and the closing line tell of the mailbox that was asked for."""
    other = dovecot.add_user(f"{mailbox.user}-other")
    dovecot.plant(other, [mail()])
    plant_three(mailbox)
    secret = {"SECRET": mailbox.password}
    pps(*options(mailbox, to=f"lmtp://127.0.0.1:{free_port()}"), folder=tmp_path, environment=secret)

    ended = pps(*options(replace(mailbox, user=other)), folder=tmp_path, environment=secret)

    assert (ended.code, ended.out, ended.err) == (0, "1 mail: 1 delivered and deleted\n", "")


def test_profiles_of_a_file_are_pulled_by_name(mailbox: Mailbox, tmp_path: Path) -> None:
    """All enabled ones, or the named; paths start at the file."""
    plant_three(mailbox)
    (tmp_path / "secret").write_text(mailbox.password)
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "pps.toml").write_text(f"""
[target.local]
url = "maildir:mail/{{user}}?create=yes"
[[profile]]
name = "office"
server = "{mailbox.server}"
user = "{mailbox.user}"
password = "file:secret"
local_domain = ["local.example"]
local_user = "boss"
distribute = true
""")

    ended = pps("pull", "office", folder=tmp_path)

    assert (ended.code, ended.out, ended.err) == (0, "3 mails: 3 delivered and deleted\n", "")
    assert inbox_sizes(tmp_path) == {"ann": 2, "bob": 1, "boss": 1}
    assert pps("status", folder=tmp_path).code == 0
    assert "office" in pps("log", folder=tmp_path).out


def test_a_terminal_gets_a_table_of_recipients(mailbox: Mailbox, tmp_path: Path) -> None:
    """Who got how many, then the closing line."""
    plant_three(mailbox)
    ours, theirs = pty.openpty()
    environment = {
        "SECRET": mailbox.password,
        "XDG_STATE_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
    }

    with subprocess.Popen(
        [sys.executable, "-m", "manager.cli.main", *options(mailbox)],
        cwd=tmp_path,
        env={**os.environ, **environment},
        stdout=theirs,
        stderr=theirs,
    ) as command:
        os.close(theirs)
        shown = b"".join(iter(lambda: _read(ours), b"")).decode()
        assert command.wait(timeout=60) == 0
    os.close(ours)

    assert "3/3 mails, " in shown
    lines = [line.split() for line in shown.splitlines()]
    assert ["ann@local.example", "2"] in lines
    assert lines[-1] == ["3", "mails:", "3", "delivered", "and", "deleted"]


def test_an_interrupted_pull_says_that_nothing_is_lost(tmp_path: Path) -> None:
    """Ctrl-C is one line and exit 1, whatever the server is at."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"127.0.0.1 {silent.getsockname()[1]}"
        account = ["--server", server, "--user", "u", "--password", "env:SECRET", "--to", "maildir:mail"]
        with started("pull", *account, *CATCH_ALL, folder=tmp_path, environment={"SECRET": CANARY}) as command:
            connected, _ = silent.accept()
            command.send_signal(signal.SIGINT)
            said, complained = command.communicate(timeout=60)
        connected.close()

    assert (command.returncode, said) == (1, b"")
    assert complained.startswith(b"pps: interrupted: nothing is lost")
    assert complained.count(b"\n") == 1


def _read(descriptor: int) -> bytes:
    """Read of a terminal, whose end is an error."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--server", "h 110"],
            "pull: --server without a file needs --user, --password, --to, --local-user too",
        ),
        (
            ["--state", "x.db"],
            "pull: --state without a file needs --server, --user, --password, --to, --local-user too",
        ),
        (["office", "--keep"], "pull: either NAMEs of the file's profiles, or --server and its options"),
        (["ofice"], 'pps.toml: no profile "ofice": did you mean "office"?'),
        (["office"], 'pps.toml: profile "office" is disabled: set enabled = true to pull it'),
        ([], "pps.toml: there is no enabled [[profile]] to pull: `pps profile add` asks for one"),
    ],
)
def test_wrong_use_is_one_line_and_touches_nothing(tmp_path: Path, arguments: list[str], line: str) -> None:
    """Exit 2, no ledger, no log."""
    pps("init", folder=tmp_path)
    before = tree(tmp_path)

    ended = pps("pull", *arguments, folder=tmp_path)

    assert (ended.code, ended.err, ended.out) == (2, f"pps: {line}\n", "")
    assert tree(tmp_path) == before
