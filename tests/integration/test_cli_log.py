"""`pps log`: the log of a service as a person reads it."""

import json
import signal
from itertools import islice
from pathlib import Path

import pytest

from common import log as log_module
from common.log import open_log
from manager.cli.log import lines_of
from manager.cli.log_view import Shown, Wanted, parsed, readable
from tests.command import pps, started

MAIL = "0192e7a4-0000-7000-8000-000000000001"
OTHER = "0192e7a4-0000-7000-8000-000000000002"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a configuration and a log of four events in two files."""
    (tmp_path / "pps.toml").touch()
    log = open_log("pop3.log", tmp_path)
    log.info("mail_fetched", mail_id=MAIL, size=812)
    (tmp_path / "pop3.log").rename(tmp_path / "pop3.log.1")
    log.info("mail_fetched", mail_id=OTHER, size=813)
    log.warning("delivery_deferred", mail_id=MAIL, recipient="ann@local.example", reply="452 4.2.2 mailbox full")
    log.info("worker_stopped")
    return tmp_path


def test_the_log_is_shown_oldest_first_in_readable_lines(folder: Path) -> None:
    """Over all files that rotation left; a text with blanks stands in quotes."""
    ended = pps("log", folder=folder)

    assert ended.code == 0
    lines = [line.split(" ", 2)[2] for line in ended.out.splitlines()]
    assert lines == [
        f"info    mail_fetched mail_id={MAIL} size=812",
        f"info    mail_fetched mail_id={OTHER} size=813",
        f'warning delivery_deferred mail_id={MAIL} recipient=ann@local.example reply="452 4.2.2 mailbox full"',
        "info    worker_stopped",
    ]


@pytest.mark.parametrize(("wanted", "count"), [(MAIL, 2), (MAIL[:-1], 3), ("ann@local.example", 1), ("info", 0)])
def test_the_log_of_one_mail_is_found_by_id_or_address(folder: Path, wanted: str, count: int) -> None:
    """Whole or its beginning; what every line has, as the level, is no name of a mail."""
    assert len(pps("log", wanted, folder=folder).out.splitlines()) == count


def test_json_lines_are_the_file_s_own(folder: Path) -> None:
    """For scripts, filtered alike."""
    ended = pps("log", OTHER, "--json", folder=folder)

    assert json.loads(ended.out)["size"] == 813


def test_a_log_on_stderr_is_named(folder: Path) -> None:
    """There is no file to show."""
    (folder / "pps.toml").write_text('[service]\nlog = "-"\n')

    ended = pps("log", folder=folder)

    assert (ended.code, ended.err) == (
        1,
        'pps: pps.toml: [service] log is "-": the log is where the stderr of the service goes\n',
    )


def test_a_log_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    """Nothing was logged, nothing is wrong."""
    (tmp_path / "pps.toml").touch()

    ended = pps("log", folder=tmp_path)

    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_following_goes_on_over_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line once, in order, whichever file it is in by the time it is read; half a line waits for its end."""
    monkeypatch.setattr(log_module, "MAX_FILE", 600)
    log = open_log("pop3.log", tmp_path)
    numbers = iter(range(12))

    def more() -> None:
        log.info("numbered", number=next(numbers))

    more()
    followed = lines_of(tmp_path / "pop3.log", follow=True, wait=more)
    events = [json.loads(line)["number"] for line in islice(followed, 12)]

    assert events == list(range(12))
    assert (tmp_path / "pop3.log.1").exists()


def test_following_waits_for_a_file_and_for_the_end_of_a_line(tmp_path: Path) -> None:
    """The service may start later; a line is shown when it is whole."""
    path = tmp_path / "pop3.log"
    steps = iter([b"", b'{"event":"one', b'"}\n{"event":', b'"two"}\n'])

    def step() -> None:
        with path.open("ab") as file:
            file.write(next(steps))

    assert list(islice(lines_of(path, follow=True, wait=step), 2)) == [b'{"event":"one"}', b'{"event":"two"}']


def test_damaged_lines_are_left_out(folder: Path) -> None:
    """A line that a full disk cut, or that is no event, stops nobody."""
    with (folder / "pop3.log").open("ab") as file:
        file.write(b'{"event":"cu\n[1]\n\xff\n')

    assert len(pps("log", folder=folder).out.splitlines()) == 4


def test_a_traceback_follows_its_line() -> None:
    """Indented, so that events begin where lines begin."""
    event = parsed(b'{"event":"broke","level":"error","exception":"Traceback\\n  File x","timestamp":"?"}')

    assert event is not None
    assert readable(event) == "? error   broke\n    Traceback\n      File x"


def test_times_are_local(tmp_path: Path) -> None:
    """As the reader's clock shows them."""
    (tmp_path / "pps.toml").touch()
    (tmp_path / "pop3.log").write_text('{"timestamp":"2026-11-23T23:41:31.5Z","level":"info","event":"started"}\n')

    ended = pps("log", folder=tmp_path, environment={"TZ": "Etc/GMT-2"})

    assert ended.out == "2026-11-24 01:41:31 info    started\n"


def test_following_begins_with_the_last_lines_and_ends_well(tmp_path: Path) -> None:
    """A log of 80 MiB is not poured out before what is new; Ctrl-C is how it ends."""
    (tmp_path / "pps.toml").touch()
    log = open_log("pop3.log", tmp_path)
    for number in range(100):
        log.info("numbered", number=number)

    with started("log", "-f", folder=tmp_path) as command:
        assert command.stdout is not None
        old = [command.stdout.readline() for _ in range(20)]
        log.info("numbered", number=100)
        new = command.stdout.readline()
        command.send_signal(signal.SIGINT)
        assert (command.wait(timeout=30), command.stdout.read()) == (0, b"")

    assert old[0].endswith(b"number=80\n")
    assert new.endswith(b"number=100\n")


def test_the_log_is_narrowed_by_level_time_profile_and_number(folder: Path) -> None:
    """Each alone, and what can't be meant is one line."""
    open_log("pop3.log", folder).info("poll_started", profile="office")

    assert len(pps("log", "--level", "warning", folder=folder).out.splitlines()) == 1
    assert len(pps("log", "--since", "1h", "-n", "2", folder=folder).out.splitlines()) == 2
    assert pps("log", "--since", "2999-01-01", folder=folder).out == ""
    assert len(pps("log", "--profile", "office", folder=folder).out.splitlines()) == 1
    wrong = pps("log", "--level", "warn", folder=folder)
    assert (wrong.code, wrong.err) == (2, "pps: --level: no level 'warn': did you mean \"warning\"?\n")


def test_nothing_but_text_reaches_a_terminal() -> None:
    """Neither from a value, nor from a traceback, nor as raw JSON; colours are ours alone."""
    line = b'{"event":"e\\u001b[2J","level":"error","reply":"\\u009b31m","exception":"x\\u001b]0;y\\u0007"}'
    event = parsed(line)
    assert event is not None

    assert readable(event) == " error   e?[2J reply=?31m\n    x?]0;y?"
    assert "\x1b[31m" in readable(event, coloured=True)
    raw = b'{"event":"one\xc2\x9b31m"}'
    assert Shown(as_json=True).text(raw, {"event": "one\x9b31m"}) == '{"event": "one\\u009b31m"}'


def test_a_list_of_recipients_names_each() -> None:
    """Who looks for an address finds the line that names several."""
    assert Wanted(mail="bob@").matches({"event": "mail_routed", "recipients": ["ann@a.example", "bob@a.example"]})
