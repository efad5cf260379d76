"""`pps import` as a command: where its output goes, and how it ends."""

import json
from pathlib import Path
from typing import Final

from tests.command import pps, tree

FETCHMAILRC: Final = "poll pop.example.net proto pop3 user ann pass hunter2 is ann here flush\n"


def test_the_configuration_goes_to_stdout_and_remarks_to_stderr(tmp_path: Path) -> None:
    """So that `pps import FILE > pps.toml` gives a file that loads; nothing is written by us."""
    (tmp_path / ".fetchmailrc").write_text(FETCHMAILRC)

    ended = pps("import", ".fetchmailrc", folder=tmp_path)

    assert ended.code == 0
    assert "[[profile]]" in ended.out
    assert ended.err.splitlines() == [
        ".fetchmailrc: line 1: flush: PPS deletes only what it delivered itself: delete old mail by hand once",
        "1 profile, 1 remark: read both before you use them",
    ]
    assert "hunter2" not in ended.out + ended.err
    assert list(tree(tmp_path)) == [".fetchmailrc"]


def test_with_output_all_is_written_and_a_second_time_refused(tmp_path: Path) -> None:
    """The password has a file of its own; what is there already is a person's work."""
    (tmp_path / ".fetchmailrc").write_text(FETCHMAILRC)

    first = pps("import", ".fetchmailrc", "--output", "pps.toml", folder=tmp_path)
    before = tree(tmp_path)
    second = pps("import", ".fetchmailrc", "--output", "pps.toml", folder=tmp_path)

    assert first.out == "wrote pps.toml\nwrote passwords/ann-pop-example-net\n"
    assert before["passwords/ann-pop-example-net"] == b"hunter2\n"
    assert (second.code, second.out) == (2, "")
    assert second.err == "pps: pps.toml: is there already: move it away, or name another --output\n"
    assert tree(tmp_path) == before


def test_json_holds_all_of_it(tmp_path: Path) -> None:
    """Scripts get the configuration and each remark in its parts."""
    (tmp_path / "rc").write_text(FETCHMAILRC)

    found = json.loads(pps("import", "rc", "--json", folder=tmp_path).out)

    assert found["profiles"] == 1
    assert found["config"].startswith("# Made by `pps import`")
    assert found["remarks"][0] | {"why": "", "instead": ""} == {
        "file": "rc", "line": 1, "what": "flush", "why": "", "instead": "",
    }  # fmt: skip


def test_where_nothing_can_be_carried_over_it_did_not_work(tmp_path: Path) -> None:
    """An IMAP mailbox is no mailbox for PPS: exit 1, with the reason."""
    (tmp_path / "rc").write_text("poll imap.example.net proto imap user ann pass hunter2\n")

    ended = pps("import", "rc", folder=tmp_path)

    assert ended.code == 1
    assert "protocol imap: PPS speaks POP3 only" in ended.err
