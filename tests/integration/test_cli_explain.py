"""`pps explain`: where mail would go and why, by the very rule that routes it."""

import json
from pathlib import Path

import pytest

from tests.command import pps

CONFIG = """
[target.local]
url = "lmtp://127.0.0.1:24"
[[profile]]
name = "office"
server = "mail.example.com 995s"
user = "default@example.com"
password = "env:OFFICE_PASSWORD"
local_domain = ["example.com"]
local_user = "user1"
distribute = true
"""
TO_ANN = b"To: Ann <Ann@example.com>, bob@other.example\r\nCc: carol@example.com\r\n\r\nTo: dave@example.com\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a configuration and two mails."""
    (tmp_path / "pps.toml").write_text(CONFIG)
    (tmp_path / "ann.eml").write_bytes(TO_ANN)
    (tmp_path / "nobody.eml").write_bytes(b"To: bob@other.example\n\nbody\n")
    return tmp_path


def test_explain_names_each_recipient_with_field_and_rule(folder: Path) -> None:
    """The only profile of a file need not be named."""
    ended = pps("explain", "ann.eml", folder=folder)

    assert ended.code == 0
    assert ended.out.splitlines() == [
        "ann.eml",
        "  ann@example.com    to-cc: To names ann@example.com",
        "  carol@example.com    to-cc: Cc names carol@example.com",
    ]


def test_explain_prints_one_line_of_json_a_file(folder: Path) -> None:
    """Scripts read the fields apart."""
    ended = pps("explain", "ann.eml", "nobody.eml", "--profile", "office", "--json", folder=folder)

    ann, nobody = (json.loads(line) for line in ended.out.splitlines())
    assert ann["file"] == "ann.eml"
    assert [(one["address"], one["field"], one["rule"]) for one in ann["recipients"]] == [
        ("ann@example.com", "To", "to-cc"),
        ("carol@example.com", "Cc", "to-cc"),
    ]
    assert (ann["fallback"], ann["why"]) == (False, None)
    assert [(one["address"], one["field"]) for one in nobody["recipients"]] == [("user1@example.com", None)]
    assert (nobody["fallback"], nobody["why"]) == (True, "To and Cc name no local user")


def test_explain_works_without_a_file_by_options(tmp_path: Path) -> None:
    """Local domains mean distribution; a dash is stdin."""
    options = ["--local-domain", "EXAMPLE.com", "--local-domain", "other.example", "--local-user", "boss"]

    ended = pps("explain", "-", *options, "--json", folder=tmp_path, stdin=TO_ANN)

    addresses = [one["address"] for one in json.loads(ended.out)["recipients"]]
    assert addresses == ["ann@example.com", "bob@other.example", "carol@example.com"]


def test_without_a_domain_all_mail_goes_to_the_one_user(tmp_path: Path) -> None:
    """As a mailbox that is not distributed."""
    ended = pps("explain", "-", "--local-user", "boss", folder=tmp_path, stdin=TO_ANN)

    assert ended.out == "-\n  boss    all: all mail of this mailbox goes to one user\n"


def test_a_file_that_is_not_there_does_not_hide_the_others(folder: Path) -> None:
    """It is named on stderr, and the exit code tells."""
    ended = pps("explain", "missing.eml", "ann.eml", folder=folder)

    assert (ended.code, ended.err) == (1, "pps: missing.eml: No such file or directory\n")
    assert ended.out.startswith("ann.eml\n")


def test_a_header_too_long_to_be_read_goes_to_the_fallback(folder: Path) -> None:
    """The limit is the router's own."""
    raw = b"To: ann@example.com\r\n" + b"X-Filler: " + b"x" * 300_000 + b"\r\n\r\nbody"

    ended = pps("explain", "-", "--json", folder=folder, stdin=raw)

    assert json.loads(ended.out)["why"] == "the header is too long to be read"


def test_a_mail_in_a_circle_is_told(folder: Path) -> None:
    """It would be set aside instead of delivered."""
    ended = pps("explain", "-", folder=folder, stdin=b"Received: x\r\n" * 60 + TO_ANN)

    assert ended.out.splitlines()[1] == "  set aside    loop: more than 50 Received fields"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--local-domain", "a b", "--local-user", "u"], "--local-domain: 'a b' is not a domain"),
        (["--local-user", "a b"], "--local-user: 'a b' is not a user or user@domain"),
        (
            ["--local-domain", "example.com"],
            "explain: --local-domain needs --local-user, who gets mail that names no local user",
        ),
        (
            ["--profile", "office", "--local-user", "u"],
            "explain: --profile brings its own local users: leave out --local-domain and --local-user",
        ),
        (["--profile", "ofice"], 'pps.toml: no profile "ofice": did you mean "office"?'),
    ],
)
def test_wrong_options_are_named(folder: Path, options: list[str], line: str) -> None:
    """One line, exit 2."""
    ended = pps("explain", "ann.eml", *options, folder=folder)

    assert (ended.code, ended.err, ended.out) == (2, f"pps: {line}\n", "")
