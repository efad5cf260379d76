"""`pps explain`: where mail would go and why, by the very rule that routes it."""

import json
from pathlib import Path

import pytest

from common.secrets import make_key
from tests.command import pps
from tests.integration.service import catch_all, install
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox

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
        "  ann@example.com    to-cc: To names ann@example.com (field 1)",
        "  carol@example.com    to-cc: Cc names carol@example.com (field 2)",
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


ENVELOPE = (
    b"Return-Path: <sender@far.example>\r\nDelivered-To: mailbox@provider.example\r\n"
    b"Received: from mx.provider.example by store.provider.example with LMTP id 2; Mon, 5 Jan 2026 10:00:01 +0000\r\n"
    b"X-Original-To: bob@example.com\r\n"
    b"Received: from mx.far.example by mx.provider.example with ESMTP id 1\r\n"
    b" for <bob@example.com>; Mon, 5 Jan 2026 10:00:00 +0000\r\n"
    b'To: list@lists.example, "a b"@example.com\r\n\r\n'
)


def test_explain_says_what_envelope_fields_would_give(folder: Path) -> None:
    """And why the mail is for the fallback user now, with what was passed over."""
    ended = pps("explain", "-", folder=folder, stdin=ENVELOPE)

    original = 'envelope = "X-Original-To", envelope_hops = 1'
    received = 'envelope = "Received", envelope_by = "mx.provider.example", envelope_hops = 1'
    assert ended.out.splitlines() == [
        "-",
        "  user1@example.com    fallback: To and Cc name no local user",
        "    passed over  list@lists.example in To (field 6): not a user of local_domain",
        '    passed over  "a b"@example.com in To (field 6): not a user of local_domain',
        "    Delivered-To: mailbox@provider.example (field 2): names no local user",
        f"    X-Original-To: bob@example.com (field 4): with {original} it would be for bob@example.com",
        f"    Received: bob@example.com (field 5): with {received} it would be for bob@example.com",
    ]


def test_explain_tells_envelope_fields_apart_for_scripts(folder: Path) -> None:
    """Each with its place, and whether the profile believes it."""
    config = folder / "pps.toml"
    config.write_text(config.read_text() + 'envelope = ["X-Original-To"]\nenvelope_hops = 1\n')

    told = json.loads(pps("explain", "-", "--json", folder=folder, stdin=ENVELOPE).out)

    assert [(one["address"], one["field"], one["position"], one["rule"]) for one in told["recipients"]] == [
        ("bob@example.com", "X-Original-To", 4, "envelope")
    ]
    assert [(one["field"], one["place"], one["hops"], one["believed"]) for one in told["envelope"]] == [
        ("Delivered-To", 1, 0, False),
        ("X-Original-To", 1, 1, True),
        ("Received", 2, 1, False),
    ]


def test_a_comparison_shows_whose_mail_would_change_hands(folder: Path) -> None:
    """A line for each mail that would, and how many there are."""
    (folder / "list.eml").write_bytes(ENVELOPE)

    ended = pps(
        "explain", "ann.eml", "list.eml", "--compare", "envelope=X-Original-To", "envelope_hops=1", folder=folder
    )

    header, row, count = ended.out.splitlines()
    assert header.split() == ["mail", "now", "then", "because"]
    assert row.split("  ")[0] == "list.eml"
    assert "user1@example.com  bob@example.com  envelope: X-Original-To names bob@example.com" in row
    assert count == "1 of 2 mails would change hands"


def test_a_comparison_for_scripts_holds_both(folder: Path) -> None:
    """Every mail, with both decisions."""
    ended = pps("explain", "nobody.eml", "--json", "--compare", 'local_domain=["other.example"]', folder=folder)

    told = json.loads(ended.out)
    assert told["differs"]
    assert [one["address"] for one in told["recipients"]] == ["user1@example.com"]
    assert [one["address"] for one in told["then"]["recipients"]] == ["bob@other.example"]


def test_explain_reads_the_headers_on_the_server(mailbox: Mailbox, tmp_path: Path) -> None:
    """With TOP: the mails stay, and stay unread."""
    planted = [mail(to="ann@local.example"), mail(to="x@far.example", extra="X-Original-To: bob@local.example\r\n")]
    mailbox.plant(*planted)
    there = install(tmp_path, catch_all(mailbox))

    ended = there.pps("explain", "--profile", "office", "--remote", "--json")
    compared = there.pps("explain", "--remote", "--limit", "1", "--compare", "envelope=X-Original-To")

    told = [json.loads(line) for line in ended.out.splitlines()]
    assert (ended.code, ended.err) == (0, "")
    assert [[one["address"] for one in mail["recipients"]] for mail in told] == [
        ["ann@local.example"],
        ["boss@local.example"],
    ]
    assert [mail["file"].split()[0] for mail in told] == ["1", "2"]
    assert compared.out.splitlines()[-1] == "1 of 1 mails would change hands"
    assert len(mailbox.remaining()) == len(planted)


def test_explain_knows_profiles_of_the_ledger(mailbox: Mailbox, tmp_path: Path) -> None:
    """One that `pps profile add` made, its password typed: by name, and without one since there is no other."""
    mailbox.plant(mail(to="ann@local.example"))
    there = install(tmp_path)
    (tmp_path / "pps.key").write_text(make_key())
    (tmp_path / "pps.key").chmod(0o600)
    keys = ["--server", mailbox.server, "--user", mailbox.user, "--local-user", "boss", "--password-stdin"]
    added = pps("profile", "add", "added", *keys, folder=tmp_path, stdin=mailbox.password.encode())

    by_name = there.pps("explain", "--profile", "added", "--remote")
    unnamed = there.pps("explain", "--remote")
    unknown = there.pps("explain", "--profile", "adde", "--remote")

    assert added.code == 0, added.err
    assert (by_name.code, by_name.err) == (0, "")
    assert "boss" in by_name.out
    assert unnamed.out == by_name.out
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert 'did you mean "added"?' in unknown.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], 'explain: name files, or "-" for stdin, or --remote for the mails on the server'),
        (["ann.eml", "--remote"], "explain: --remote reads from the server: leave out the files"),
        (
            ["--remote", "--local-user", "u"],
            "explain: --remote reads a profile's mailbox: name it with --profile",
        ),
        (["ann.eml", "--compare", "envelop=x"], '--compare: unknown key "envelop": did you mean "envelope"?'),
        (["ann.eml", "--compare", "envelope"], "--compare: 'envelope' is not KEY=VALUE"),
        (
            ["ann.eml", "--compare", "aliases={sales = 'x@far.example'}"],
            "--compare: aliases, lists: 'x@far.example' is not in local_domain, and mail is never relayed",
        ),
    ],
)
def test_wrong_comparisons_are_named(folder: Path, arguments: list[str], line: str) -> None:
    """One line, exit 2."""
    ended = pps("explain", *arguments, folder=folder)

    assert (ended.code, ended.err, ended.out) == (2, f"pps: {line}\n", "")
