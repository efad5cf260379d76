"""`pps profile`: profiles added, changed and removed beside a running service, and passwords that are typed."""

import json
import os
from pathlib import Path

import pytest

from common.secrets import make_key
from tests.bad_input.calls import called
from tests.command import Ended, pps, tree
from tests.integration.service import Installation, install, profile, traces, wait_until
from tests.mails import mail
from tests.servers.certificates import issue
from tests.servers.fixtures_dovecot import Mailbox
from tests.terminal import Terminal

CANARY = "canary-5e7a"


def installation(folder: Path, *profiles: dict[str, object]) -> Installation:
    """Write a pps.toml with a target, and the key that seals passwords."""
    key = folder / "pps.key"
    key.write_text(make_key() + "\n")
    key.chmod(0o600)
    return install(folder, *profiles)


def add(there: Installation, mailbox: Mailbox, *more: str, name: str = "added", password: str | None = None) -> Ended:
    """Add a profile, its password from stdin."""
    account = ["--server", mailbox.server, "--user", mailbox.user, "--password-stdin", "--local-user", "ann"]
    secret = f"{password or mailbox.password}\n".encode()
    return pps("profile", "add", name, *account, *more, folder=there.folder, stdin=secret)


def listed(there: Installation) -> dict[str, dict[str, object]]:
    """Return what `pps profile list --json` prints, by name."""
    return {one["name"]: one for one in json.loads(there.pps("profile", "list", "--json").out)["profiles"]}


def answer_again(terminal: Terminal, server: str, user: str, *, password: str | None = None) -> None:
    """Answer as before, but for the password where it is given."""
    terminal.answer(f"[{server}]: ", "")
    terminal.answer(f"[{user}]: ", "")
    terminal.answer("Another password? [y/N]", "y" if password else "")
    if password:
        terminal.answer("Password", password)
    terminal.answer("Local domains", "")
    terminal.answer("Local user who gets the mail [ann]: ", "")


def only_line(ended: Ended, code: int, line: str) -> None:
    """Assert that a command printed this one line as its error."""
    assert (ended.code, ended.err, ended.out) == (code, f"pps: {line}\n", "")


def test_a_profile_added_beside_a_service_flows_and_its_password_is_nowhere(mailbox: Mailbox, tmp_path: Path) -> None:
    """No restart: the next look at the schedule polls it. The typed password is in no file that was written."""
    user = mailbox.dovecot.add_user(f"{mailbox.user}-typed", CANARY)
    mailbox.dovecot.plant(user, [mail(), mail()])
    there = installation(tmp_path)
    account = ["--server", mailbox.server, "--user", user, "--password-stdin", "--local-user", "ann"]

    with there.running("run"):
        added = pps("profile", "add", "typed", *account, folder=tmp_path, stdin=f"{CANARY}\n".encode())
        wait_until(lambda: len(there.inbox("ann")) == 2)
        disabled = there.pps("profile", "disable", "typed")
        shown = there.pps("profile", "list").out + there.pps("profile", "list", "--json").out

    assert (added.code, added.out) == (0, "typed: added; `pps pull typed` polls it now\n")
    assert (disabled.code, disabled.out) == (0, "typed: disabled\n")
    assert mailbox.dovecot.remaining(user) == []
    assert CANARY not in shown + added.out + added.err
    assert traces(tmp_path, CANARY.encode()) == []


def test_add_asks_for_what_is_not_given(mailbox: Mailbox, tmp_path: Path) -> None:
    """A wrong answer is told what the file's check says, and asked again; the password doesn't show."""
    there = installation(tmp_path)
    mailbox.plant(mail(to="bob@local.example"))

    with Terminal(tmp_path, "profile", "add") as terminal:
        terminal.answer("Name of the profile: ", "of fice")
        terminal.answer("a name is letters, digits and dashes, at most 64", "office")
        terminal.answer("Server", "127.0.0.1")
        terminal.answer('is not "HOST PORT"', mailbox.server)
        terminal.answer("Account: ", mailbox.user)
        terminal.answer("Password", "")
        terminal.answer("the password: is empty\r\nPassword", mailbox.password)  # what is typed before is dropped
        terminal.answer("Local domains", "local.example")
        terminal.answer("Local user who gets what names nobody: ", "boss")
        terminal.answer("Try it now, before it is saved? No mail is touched. [Y/n]", "")
        code = terminal.end()

    assert "No mail was fetched or deleted." in terminal.shown
    assert (code, mailbox.password in terminal.shown) == (0, False), terminal.shown
    found = listed(there)["office"]
    assert (found["password"], found["distribute"], found["local_domain"]) == ("stored", True, ["local.example"])
    assert there.pps("pull", "office").out == "1 mail: 1 delivered and deleted\n"
    assert there.counts() == {"bob": 1}


def test_what_does_not_work_is_answered_again(mailbox: Mailbox, tmp_path: Path) -> None:
    """A name that is taken is refused before all else is asked; a slip in the password costs only the password."""
    there = installation(tmp_path, profile(mailbox, name="office", enabled=False))

    with Terminal(tmp_path, "profile", "add", "--server", mailbox.server, "--user", mailbox.user) as terminal:
        terminal.answer("Name of the profile: ", "office")
        terminal.answer('there is a [[profile]] "office" in the file: take another name', "second")
        terminal.answer("Password", "slip")
        terminal.answer("Local domains", "")
        terminal.answer("Local user who gets the mail: ", "ann")
        terminal.answer("Try it now", "")
        terminal.answer("Change the answers, and try again? [Y/n]", "")
        answer_again(terminal, mailbox.server, mailbox.user, password=mailbox.password)
        code = terminal.end()

    assert (code, "No mail was fetched or deleted." in terminal.shown) == (0, True), terminal.shown
    assert listed(there)["second"]["local_user"] == "ann"
    taken = there.pps("profile", "add", "second", "--server", mailbox.server)
    only_line(taken, 2, 'there is a profile "second" already: `pps profile edit second`, or another name')


def test_a_certificate_that_nobody_vouches_for_is_trusted_on_a_person_s_word(mailbox: Mailbox, tmp_path: Path) -> None:
    """It is shown, and pinned after a yes: neither by itself nor by Enter."""
    there = installation(tmp_path)
    server = f"127.0.0.1 {mailbox.dovecot.pop3s_port}s"
    certificates = mailbox.dovecot.certificates
    assert certificates is not None

    with Terminal(tmp_path, "profile", "add", "office", "--server", server, "--user", mailbox.user) as terminal:
        terminal.answer("Password", mailbox.password)
        terminal.answer("Local domains", "")
        terminal.answer("Local user who gets the mail: ", "ann")
        terminal.answer("Try it now", "")
        terminal.answer("Trust this certificate from now on, and none but it? [y/N]", "")
        terminal.answer("Change the answers, and try again? [Y/n]", "")
        answer_again(terminal, server, mailbox.user)
        terminal.answer("Trust this certificate from now on, and none but it? [y/N]", "y")
        code = terminal.end()

    assert (code, "No mail was fetched or deleted." in terminal.shown) == (0, True), terminal.shown
    assert terminal.shown.count(certificates.fingerprint) == 2
    assert listed(there)["office"]["fingerprint"] == [certificates.fingerprint]


def test_no_pin_is_offered_where_an_authority_was_named(mailbox: Mailbox, tmp_path: Path) -> None:
    """With `ca` both must hold, so that a pin would mend nothing: the same question would come again."""
    there = installation(tmp_path)
    server = f"127.0.0.1 {mailbox.dovecot.pop3s_port}s"
    stranger = issue(tmp_path)
    account = ["--server", server, "--user", mailbox.user, "--local-user", "ann", "--local-domain", "local.example"]

    with Terminal(tmp_path, "profile", "add", "office", *account, "--ca", str(stranger.ca)) as terminal:
        terminal.answer("Password", mailbox.password)
        terminal.answer("Try it now", "")
        terminal.answer("Change the answers, and try again? [Y/n]", "n")
        terminal.answer("Save it nevertheless? [y/N]", "")
        code = terminal.end()

    assert (code, "its certificate is not trusted" in terminal.shown) == (1, True), terminal.shown
    assert "Trust this certificate" not in terminal.shown
    assert listed(there) == {}


def test_what_is_on_a_mailbox_of_the_file_is_not_enabled(mailbox: Mailbox, tmp_path: Path) -> None:
    """The file's profile may not be in the ledger yet: the next start would refuse the whole file."""
    there = installation(tmp_path)
    added = add(there, mailbox, "--set", "order=newest")
    there.pps("profile", "disable", "added")
    installation(tmp_path, profile(mailbox))

    enabled = there.pps("profile", "enable", "added")

    assert (added.code, enabled.code) == (0, 2)
    assert 'are those of [[profile]] "office" in pps.toml' in enabled.err


def test_what_does_not_work_is_not_saved_unless_somebody_says_so(mailbox: Mailbox, tmp_path: Path) -> None:
    """With --test and nobody there, the trial's error is the command's."""
    there = installation(tmp_path)

    ended = add(there, mailbox, "--test", password="wrong")

    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "user and password" in ended.err
    assert listed(there) == {}
    assert add(there, mailbox, "--test").code == 0


def test_without_a_terminal_what_is_missing_is_named(tmp_path: Path) -> None:
    """One line, exit 2, and no ledger is made."""
    there = installation(tmp_path)
    before = tree(tmp_path)

    only_line(
        there.pps("profile", "add", "--server", "h 995s"),
        2,
        "profile add: needs NAME, --user, --password (or --password-stdin), --local-user too: no terminal to ask on",
    )
    assert tree(tmp_path) == before


ADD = ["profile", "add", "x", "--server", "h 995s", "--user", "u", "--local-user", "ann"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([*ADD, "--password", "hunter2"], "--password: is a reference, never the secret itself: "),
        ([*ADD, "--password", "stored"], "profile add: --password stored needs --password-stdin: "),
        (
            [*ADD, "--password", "env:X", "--target", "locl"],
            '--target: pps.toml has no [target.locl]: did you mean "loc',
        ),
        ([*ADD, "--password", "env:X", "--interval", "1s"], "--interval: 1s is not between 10s and 7d"),
        ([*ADD, "--password", "env:X", "--set", "custdy=blob"], '--set: unknown key "custdy": did you mean "custody"?'),
        ([*ADD, "--password", "env:X", "--set", "custody=x"], '--set custody: "x" is not auto, remote or blob'),
        ([*ADD, "--password", "env:X", "--set", "hunter2"], "--set: write KEY=VALUE, as in pps.toml"),
        ([*ADD, "--password", "env:X", "--set", "name=y"], "--set name: a profile keeps its name"),
        (["profile", "edit", "ofice"], 'pps.toml: no profile "ofice": did you mean "office"?'),
        (
            ["profile", "edit", "office"],
            'pps.toml: profile "office" is the file\'s: change it there, then `pps profile',
        ),
        (["profile", "enable", "office"], 'pps.toml: profile "office" is the file\'s: set enabled = true there, then '),
        (["profile", "remove", "office"], 'pps.toml: profile "office" is the file\'s: remove its [[profile]] section '),
        (["profile", "password", "office"], "office: its password is found at file:"),
        (["profile", "sync", "--same-mailbox", "ofice"], 'pps.toml: no profile "ofice": did you mean "office"?'),
    ],
)
def test_wrong_use_is_one_line(tmp_path: Path, mailbox: Mailbox, arguments: list[str], line: str) -> None:
    """Exit 2, the option and the mend; a typed secret isn't shown back, and nothing is saved."""
    installation(tmp_path, profile(mailbox))

    ended = called(arguments, tmp_path)

    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert ended.err.startswith(f"pps: {line}"), ended.err
    assert "hunter2" not in ended.err
    assert [one["name"] for one in json.loads(called(["profile", "list", "--json"], tmp_path).out)["profiles"]] == [
        "office"
    ]


def test_the_password_of_a_profile_of_the_file_is_typed_once(mailbox: Mailbox, tmp_path: Path) -> None:
    """Password = "stored" in the file; until it is typed, the line says how, and a lost key names its setting."""
    there = installation(tmp_path, profile(mailbox, password="stored"))
    mailbox.plant(mail())

    before = there.pps("pull")
    typed = pps("profile", "password", "office", "--password-stdin", folder=tmp_path, stdin=b"correct horse\n")
    (tmp_path / "pps.key").rename(tmp_path / "away")
    keyless = there.pps("pull")
    (tmp_path / "pps.key").write_text(make_key())
    (tmp_path / "pps.key").chmod(0o600)
    wrong = there.pps("pull")
    (tmp_path / "away").rename(tmp_path / "pps.key")
    there.pps("profile", "sync")
    after = there.pps("pull")

    assert before.err == "pps: office: password: none is stored: `pps profile password office` asks for it\n"
    assert (typed.code, typed.out) == (0, "office: the password is stored, encrypted under [service] key\n")
    assert keyless.err.startswith("pps: office: password: [service] key: file:")
    assert "No such file or directory" in keyless.err
    assert "[service] key: opens no stored password: put the key they were sealed with back" in wrong.err
    assert (after.code, after.out) == (0, "1 mail: 1 delivered and deleted\n")


def test_a_key_is_changed_without_typing_anything_again(mailbox: Mailbox, tmp_path: Path) -> None:
    """The new one in front of the old, `pps profile reseal`, and the old one may go."""
    there = installation(tmp_path)
    add(there, mailbox)
    new = make_key()
    key = tmp_path / "pps.key"
    key.write_text(f"{new},{key.read_text()}")

    resealed = there.pps("profile", "reseal")
    key.write_text(new)

    assert (resealed.code, resealed.out.partition(":")[0]) == (0, "1 stored secret encrypted under the newest key")
    assert there.pps("pull").out == "no mail\n"


def test_another_server_needs_a_word_where_nobody_can_be_asked(mailbox: Mailbox, tmp_path: Path) -> None:
    """The same mailbox under a new name: what was kept on the server isn't delivered again."""
    there = installation(tmp_path)
    mailbox.plant(mail(), mail())
    add(there, mailbox, "--keep")
    there.pps("pull")
    renamed = ["profile", "edit", "added", "--server", mailbox.server.replace("127.0.0.1", "localhost")]

    asked = there.pps(*renamed)
    same = there.pps(*renamed, "--same-mailbox")
    pulled = there.pps("pull")

    assert (asked.code, asked.err.count("\n")) == (2, 1)
    assert "--same-mailbox if it is the same mailbox under a new name" in asked.err
    assert (same.code, same.out) == (0, "added: saved; `pps pull added` polls it now\n")
    assert (pulled.out, there.counts()) == ("no mail\n", {"ann": 2})


def test_edit_asks_whether_it_is_the_same_mailbox(mailbox: Mailbox, tmp_path: Path) -> None:
    """Every setting has its present value as the default; another mailbox leaves the old one's mails visible."""
    there = installation(tmp_path)
    mailbox.plant(mail())
    add(there, mailbox, "--keep")
    there.pps("pull")

    with Terminal(tmp_path, "profile", "edit", "added") as terminal:
        terminal.answer(f"[{mailbox.server}]: ", "")
        terminal.answer(f"Account [{mailbox.user}]: ", "other")
        terminal.answer("Another password? [y/N]", "")
        terminal.answer("Local domains", "")
        terminal.answer("Local user who gets the mail [ann]", "bob")
        terminal.answer("Time from one poll to the next [600s]", "1h")
        terminal.answer("Is that the same mailbox under a new name", "n")
        code = terminal.end()

    assert code == 0, terminal.shown
    assert "added: is on another mailbox now; the mails of the old one stay as they are, under added-" in terminal.shown
    found = listed(there)["added"]
    assert (found["user"], found["local_user"], found["interval"]) == ("other", "bob", 3600)
    assert [one["name"].partition("-")[0] for one in there.status()["profiles"]] == ["added", "added"]


def test_remove_asks_and_tells_what_is_under_way(mailbox: Mailbox, tmp_path: Path) -> None:
    """Exit 1 where the answer is no; with --yes nobody is asked. The name is free again."""
    there = installation(tmp_path)
    add(there, mailbox)

    with Terminal(tmp_path, "profile", "remove", "added") as terminal:
        terminal.answer(f"Remove added ({mailbox.server}, {mailbox.user})? [y/N]", "n")
        refused = terminal.end()
    removed = there.pps("profile", "remove", "added", "--yes")

    assert (refused, removed.code, removed.out) == (1, 0, "added: removed\n")
    assert listed(there) == {}
    assert add(there, mailbox).code == 0


def test_a_key_that_others_may_read_is_refused(mailbox: Mailbox, tmp_path: Path) -> None:
    """Before anything is sealed with it, with the command that mends it."""
    there = installation(tmp_path)
    os.chmod(tmp_path / "pps.key", 0o644)  # noqa: PTH101 (nothing else in this test needs the path)

    ended = add(there, mailbox)

    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert ended.err.startswith("pps: [service] key: file:")
    assert "chmod 600" in ended.err
    assert listed(there) == {}
