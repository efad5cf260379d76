"""`pps mails` and `pps mails show`: read from a real ledger as a person or a script reads them."""

import json
from pathlib import Path

import pytest

from common.ledger import Ledger
from common.log import open_log
from common.messages import Result
from tests.command import pps
from tests.ledger import Scene, outcome

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    """A folder whose ledger has a mail for two, of which one was put off, and one that nobody fetched yet."""
    (tmp_path / "pps.toml").touch()
    ledger = await Ledger.open("sqlite:///pps.db", base=tmp_path, log=open_log("-", tmp_path, level="error"))
    scene = await Scene.begin(ledger, b"u1" + ESCAPE.encode(), b"u2")
    await scene.fetch(b"u1" + ESCAPE.encode())
    first, second = (await scene.route(b"u1" + ESCAPE.encode(), "ann@example.com", "bob@example.com")).deliveries
    await ledger.settle(outcome(first.delivery_id, first.mail_id, reply="250 saved"))
    await ledger.settle(
        outcome(second.delivery_id, second.mail_id, result=Result.DEFERRED, code=452, reply="452 4.2.2 full")
    )
    await ledger.close()
    return scene


def test_mails_are_a_table_with_the_newest_last(scene: Scene, tmp_path: Path) -> None:
    """Where each is in a word, and who has it; ids are whole, so that they can be pasted."""
    ended = pps("mails", folder=tmp_path)

    assert (ended.code, ended.err) == (0, "")
    rows = [line.split() for line in ended.out.splitlines()]
    assert rows[0] == ["listed", "profile", "octets", "state", "recipients", "mail"]
    first, second = (mail.mail_id for mail in scene.known.values())
    assert rows[1][2:] == ["office", "100", "deferred", "ann@example.com,", "bob@example.com", "(deferred)", first]
    assert rows[2][2:] == ["office", "100", "listed", second]


def test_one_mail_s_life_is_told_in_order(scene: Scene, tmp_path: Path) -> None:
    """What happened, who waits for what, and what comes next; the beginning of an id is enough where it is the only."""
    mail_id = next(iter(scene.known.values())).mail_id

    ended = pps("mails", "show", mail_id, folder=tmp_path)

    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    told = [line[21:] for line in lines if line[:2] == "20"]
    assert told == [
        "listed on the server",
        "fetched",
        "routed to ann@example.com (To), bob@example.com (To)",
        "delivered to ann@example.com at local: 250 saved",
        "deferred for bob@example.com at local, attempt 1: 452 4.2.2 full",
    ]
    assert any(line.startswith("next: it waits for 1 of 2 deliveries, the next attempt in ") for line in lines)
    assert f"more of it, as long as the log goes back: pps log {mail_id}" in lines
    (bob,) = [line.split() for line in lines if line.startswith("bob@example.com ")]
    assert bob[1:4] == ["deferred", "1", "in"]


def test_what_a_server_said_never_reaches_a_terminal_raw(scene: Scene, tmp_path: Path) -> None:
    """A UIDL is octets of the server's choice: an escape sequence in it stays text."""
    mail_id = next(iter(scene.known.values())).mail_id

    ended = pps("mails", "show", mail_id, folder=tmp_path)

    assert "UIDL u1?]0;owned??[2J" in ended.out.replace("\\x1b", "?").replace("\\x07", "?")
    assert not set("\x1b\x07") & set(ended.out)


def test_json_has_every_time_in_utc(scene: Scene, tmp_path: Path) -> None:
    """One document, listed and shown alike."""
    mail_id = next(iter(scene.known.values())).mail_id

    listed = json.loads(pps("mails", "--json", "--deferred", folder=tmp_path).out)
    shown = json.loads(pps("mails", "show", mail_id, "--json", folder=tmp_path).out)

    assert listed["more"] is False
    (one,) = listed["mails"]
    assert {key: shown[key] for key in one} == one
    assert one["listed_at"].endswith("Z")
    assert (one["state"], one["stage"], one["deleted_at"]) == ("routed", "deferred", None)
    assert [(event["result"], event["code"]) for event in shown["events"]][-2:] == [
        ("delivered", 250),
        ("deferred", 452),
    ]


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["mails", "--state", "delete"], 2, "--state: no state 'delete': did you mean \"deleted\"?"),
        (
            ["mails", "--profile", "ofice"],
            2,
            'pps.toml: the ledger knows no profile "ofice": did you mean "office"?',
        ),
        (
            ["mails", "--since", "yesterday"],
            2,
            '--since: \'yesterday\' is not a time such as "90s", "2h", "3d", "2026-11-23" or "2026-11-23 19:00"',
        ),
        (["mails", "show", "xyz"], 2, "mails show: 'xyz' is not an id or its beginning: `pps mails` shows them"),
        (
            ["mails", "show", "ffff"],
            1,
            "mails show: no mail has an id that begins with ffff: see `pps mails`",
        ),
    ],
)
def test_what_can_not_be_found_is_one_line(tmp_path: Path, arguments: list[str], code: int, line: str) -> None:
    """With the nearest word, or where to look."""
    ended = pps(*arguments, folder=tmp_path)

    assert (ended.code, ended.out, ended.err) == (code, "", f"pps: {line}\n")


def test_an_id_s_beginning_that_fits_several_names_them(scene: Scene, tmp_path: Path) -> None:
    """So that one of them can be chosen."""
    first, second = (mail.mail_id for mail in scene.known.values())

    ended = pps("mails", "show", first[:4], folder=tmp_path)

    assert ended.code == 1
    assert ended.err == f"pps: mails show: several ids begin with {first[:4]}: {first}, {second}\n"


@pytest.mark.usefixtures("scene")
def test_a_shell_completes_profiles_and_states(tmp_path: Path) -> None:
    """From the file and the ledger, without a word where neither can be read."""

    def completed(line: str) -> list[str]:
        asked = {"_PPS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        ended = pps(folder=tmp_path, environment=asked)
        assert ended.err == ""
        return ended.out.split()

    assert completed("pps mails --profile o") == ["office"]
    assert completed("pps mails --state lo") == ["lost"]
    assert completed("pps pull of") == ["office"]
    assert completed("pps explain --profile of") == ["office"]
    assert completed("pps profile disable of") == ["office"]
    (tmp_path / "pps.toml").write_text("[[profile\n")
    assert completed("pps pull of") == []
