"""The log: one line an event whoever wrote the text, no secret, and no line lost when files are rotated."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common import log as log_module
from common.failures import UsageError
from common.log import log_files, open_log
from common.secrets import Secret

WRITER = """
import sys
from pathlib import Path
from common import log as log_module
log_module.MAX_FILE = int(sys.argv[2])
log_module.FILES = 40
log = log_module.open_log("pop3.log", Path(sys.argv[1]))
for number in range(int(sys.argv[4])):
    log.info("numbered", writer=sys.argv[3], number=number)
"""


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the events of all log files, the oldest first."""
    texts = [path.read_text().splitlines() for path in log_files("pop3.log", folder)]
    return [json.loads(line) for text in texts for line in text]


def test_an_event_is_one_line_of_json(tmp_path: Path) -> None:
    """Time, level and event come first; bound ids follow."""
    open_log("pop3.log", tmp_path).bind(mail_id="m1").info("mail_fetched", size=8192)

    event = lines(tmp_path)[0]
    assert list(event)[:3] == ["timestamp", "level", "event"]
    assert event["timestamp"].endswith("Z")
    assert (event["level"], event["event"], event["mail_id"], event["size"]) == ("info", "mail_fetched", "m1", 8192)
    assert event["pid"] == os.getpid()


def test_text_from_outside_stays_one_printable_line(tmp_path: Path) -> None:
    """Line breaks, terminal escapes, NUL and broken encodings of a reply can't forge a line or move a cursor."""
    open_log("pop3.log", tmp_path).info("reply", said="a\r\nb\x1b[2J\0\udcff\u202e", raw=b"c\n\xff", rows=[("d\n",)])

    event = lines(tmp_path)[0]
    assert event["said"] == "a  b?[2J???"
    assert event["raw"] == "c \\xff"
    assert event["rows"] == [["d "]]


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    """A reply of a million octets does not fill the disk."""
    open_log("pop3.log", tmp_path).info("reply", said="x" * 1_000_000, deep=[[[[["y" * 1_000_000]]]]])

    event = lines(tmp_path)[0]
    assert len(event["said"]) == 512
    assert len(json.dumps(event)) < 2000


def test_a_secret_is_masked_wherever_it_is_put(tmp_path: Path) -> None:
    """As a value, inside a container, and as the event itself."""
    log = open_log("pop3.log", tmp_path)

    log.info("login", password=Secret("hunter2"), both=["a", {"p": Secret("hunter2")}])

    assert "hunter2" not in (tmp_path / "pop3.log").read_text()
    assert lines(tmp_path)[0]["both"] == ["a", {"p": "***"}]


def test_a_traceback_stays_inside_its_line(tmp_path: Path) -> None:
    """An unexpected error is logged whole, on one line of the file."""
    log = open_log("pop3.log", tmp_path)

    try:
        _ = os.environ["MISSING\nKEY"]
    except KeyError:
        log.exception("broke")

    assert "KeyError" in lines(tmp_path)[0]["exception"]


def test_levels_below_the_chosen_one_are_left_out(tmp_path: Path) -> None:
    """The level is the least that is written."""
    log = open_log("pop3.log", tmp_path, level="warning")

    log.info("quiet")
    log.warning("loud")

    assert [event["event"] for event in lines(tmp_path)] == ["loud"]


def test_a_dash_is_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Under systemd or in a container the log goes where stderr goes."""
    open_log("-", tmp_path).info("started")

    assert json.loads(capfd.readouterr().err)["event"] == "started"
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_for_owner_and_group(tmp_path: Path) -> None:
    """The log names users and addresses: others don't read it."""
    old = os.umask(0o022)
    try:
        open_log("pop3.log", tmp_path).info("started")
    finally:
        os.umask(old)

    assert stat.S_IMODE((tmp_path / "pop3.log").stat().st_mode) == 0o640


def test_a_log_that_can_not_be_written_is_a_config_error(tmp_path: Path) -> None:
    """The line names the key and the path."""
    with pytest.raises(UsageError) as caught:
        open_log("missing/pop3.log", tmp_path)

    assert str(caught.value) == (f"[service] log: can't write {tmp_path}/missing/pop3.log: No such file or directory")


def test_files_are_set_aside_by_size_and_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is over the limit, and there are never more than FILES."""
    monkeypatch.setattr(log_module, "MAX_FILE", 2000)
    log = open_log("pop3.log", tmp_path)

    for number in range(200):
        log.info("numbered", number=number)

    files = log_files("pop3.log", tmp_path)
    assert [path.name for path in files] == ["pop3.log.4", "pop3.log.3", "pop3.log.2", "pop3.log.1", "pop3.log"]
    assert all(path.stat().st_size <= 2000 for path in files)
    numbers = [event["number"] for event in lines(tmp_path)]
    assert numbers == list(range(numbers[0], 200))


def test_a_file_that_logrotate_took_is_opened_anew(tmp_path: Path) -> None:
    """Whoever renames or removes the file, the next line is in a new one of that name."""
    log = open_log("pop3.log", tmp_path)
    log.info("before")
    (tmp_path / "pop3.log").rename(tmp_path / "pop3.log.1")

    log.info("after")
    (tmp_path / "pop3.log").unlink()
    log.info("again")

    assert [event["event"] for event in lines(tmp_path)] == ["before", "again"]


def test_several_processes_lose_and_mix_no_line_while_rotating(tmp_path: Path) -> None:
    """Four processes write 8,000 lines through some thirty rotations: each line is there once and whole."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), "30000", name, "2000"]) for name in "abcd"
    ]

    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]

    aside = [path for number in range(39, 0, -1) if (path := tmp_path / f"pop3.log.{number}").exists()]
    events = [json.loads(line) for path in [*aside, tmp_path / "pop3.log"] for line in path.read_text().splitlines()]
    assert len(aside) > 10
    assert sorted((event["writer"], event["number"]) for event in events) == [
        (name, number) for name in "abcd" for number in range(2000)
    ]


def test_lines_that_a_full_disk_refused_are_counted(tmp_path: Path) -> None:
    """The log never stops the service; when there is room again it says how many lines are missing."""
    log = open_log("full.log", tmp_path)
    (tmp_path / "full.log").unlink()
    (tmp_path / "full.log").symlink_to("/dev/full")
    log.info("refused")
    log.info("refused")
    (tmp_path / "full.log").unlink()

    log.info("written")

    told = [json.loads(line) for line in (tmp_path / "full.log").read_text().splitlines()]
    assert told[0] == {"event": "log_lines_lost", "level": "error", "count": 2}
    assert told[1]["event"] == "written"
