"""Secrets: what they show, where references lead, and what a failure tells."""

import pickle
import sys
from pathlib import Path

import pytest

from common import secrets
from common.failures import PpsError
from common.secrets import Secret, make_key, resolve, seal, unseal

CANARY = "correct horse battery"


async def complaint(reference: str, base: Path) -> str:
    """Return the line of the error that resolving gives; it must hold no part of the secret."""
    with pytest.raises(PpsError) as caught:
        await resolve(reference, base=base)
    line = str(caught.value)
    assert "\n" not in line
    assert CANARY not in line
    return line


def private(path: Path, content: bytes) -> Path:
    """Write a file that only its owner may use."""
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def test_a_secret_shows_itself_only_to_reveal() -> None:
    """Neither repr, str, an f-string nor a container's repr holds it, and a pickle is refused."""
    secret = Secret(CANARY)

    shown = f"{secret} {secret!r} {[secret]} { ({'password': secret}) } {secret!s:>40}"

    assert CANARY not in shown
    assert secret.reveal() == CANARY
    with pytest.raises(TypeError):
        pickle.dumps(secret)


async def test_env_reads_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """env:NAME gives the variable's value."""
    monkeypatch.setenv("OFFICE_PASSWORD", CANARY)

    assert await resolve("env:OFFICE_PASSWORD", base=tmp_path) == Secret(CANARY)


async def test_a_missing_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says which variable to set."""
    monkeypatch.delenv("OFFICE_PASSWORD", raising=False)

    assert await complaint("env:OFFICE_PASSWORD", tmp_path) == (
        "env:OFFICE_PASSWORD: the environment variable OFFICE_PASSWORD isn't set: export it, or name another"
    )


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
async def test_a_file_gives_its_one_line(tmp_path: Path, ending: str) -> None:
    """The line end that editors add is no part of the password; blanks around it are."""
    private(tmp_path / "office", f" {CANARY} {ending}".encode())

    assert (await resolve("file:office", base=tmp_path)).reveal() == f" {CANARY} "


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
async def test_a_file_that_others_may_use_is_refused_with_the_mend(tmp_path: Path, mode: int) -> None:
    """Any right of group or others is one too many; the line is the command that mends it."""
    path = private(tmp_path / "office", CANARY.encode())
    path.chmod(mode)

    assert await complaint("file:office", tmp_path) == (
        f"file:{path}: others than its owner may use it: chmod 600 {path}"
    )


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The line gives the whole path: a relative one starts at the config file."""
    assert await complaint("file:office", tmp_path) == (
        f"file:{tmp_path}/office: can't read it: No such file or directory"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\n", "is empty"),
        (CANARY.encode() + b"\nDELE 1", "holds more than one line: keep just the password in it"),
        (CANARY.encode() + b"\0", "holds more than one line: keep just the password in it"),
        (b"\xff\xfe", "isn't UTF-8 text"),
        (b"x" * (secrets.MAX_SECRET + 1), f"gives more than {secrets.MAX_SECRET} octets: that is no password"),
    ],
)
async def test_what_is_no_password_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """A line break in a password would become a second command on the wire."""
    private(tmp_path / "office", content)

    assert await complaint("file:office", tmp_path) == f"file:office: {reason}"


async def test_a_command_prints_the_password(tmp_path: Path) -> None:
    """It runs where the config file is, without a shell: what a shell would expand stays as written."""
    assert await resolve("command:printf '%s\\n' '$HOME;a b'", base=tmp_path) == Secret("$HOME;a b")
    assert await resolve("command:pwd", base=tmp_path) == Secret(str(tmp_path))


async def test_a_command_that_fails_is_told_without_its_arguments(tmp_path: Path) -> None:
    """Arguments and output may hold what nobody should read."""
    command = f"command:{sys.executable} -c 'print(\"{CANARY}\"); raise SystemExit(3)'"

    assert await complaint(command, tmp_path) == (
        f"command:{sys.executable}: ended with exit code 3: run it by hand to see why"
    )


async def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The operating system's words, and the program."""
    assert await complaint(f"command:no-such-program {CANARY}", tmp_path) == (
        "command:no-such-program: can't run it: No such file or directory"
    )


async def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the deadline the program is killed with its children, which would hold the pipe open."""
    monkeypatch.setattr(secrets, "COMMAND_SECONDS", 0.2)

    assert await complaint("command:sh -c 'sleep 600 & sleep 600'", tmp_path) == (
        "command:sh: printed no password within 0.2 s: run it by hand"
    )


async def test_a_command_that_prints_without_end_is_ended(tmp_path: Path) -> None:
    """What prints more than a password is stopped at the cap."""
    assert await complaint("command:yes", tmp_path) == "command:yes: gives more than 16384 octets: that is no password"


@pytest.mark.parametrize("command", ["command:'unclosed", "command: "])
async def test_a_command_that_names_no_program_is_refused(tmp_path: Path, command: str) -> None:
    """Quotation and emptiness are told before anything runs."""
    assert (await complaint(command, tmp_path)).startswith("command: ")


async def test_a_credential_comes_from_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """credential:NAME is a file of $CREDENTIALS_DIRECTORY, whose rights are systemd's matter."""
    (tmp_path / "office").write_text(CANARY)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert await resolve("credential:office", base=Path("/nowhere")) == Secret(CANARY)
    assert "a credential's name holds no slash" in await complaint("credential:../office", tmp_path)
    assert "set LoadCredential=other:PATH in the unit" in await complaint("credential:other", tmp_path)


async def test_a_credential_without_systemd_names_the_unit_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside a unit there are no credentials."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    assert await complaint("credential:office", tmp_path) == (
        "credential:office: systemd gave no credentials: set LoadCredential=office:PATH in the unit"
    )


@pytest.mark.parametrize("typed", [CANARY, f"{CANARY}:x", "env:", "", "http://example.com/"])
async def test_a_typed_password_is_not_shown_back(tmp_path: Path, typed: str) -> None:
    """What isn't a reference may be the password itself, so it isn't repeated."""
    assert await complaint(typed, tmp_path) == (
        "a password is given as a reference: env:NAME, file:PATH, command:COMMAND or credential:NAME"
    )


def test_what_was_sealed_opens_under_old_and_new_keys() -> None:
    """A new key goes in front; what the old one sealed still opens until it is sealed again."""
    old, new = make_key(), make_key()
    sealed = seal(Secret(CANARY), Secret(old))

    assert CANARY.encode() not in sealed
    assert unseal(sealed, Secret(f"{new},{old}")) == Secret(CANARY)
    assert unseal(seal(Secret(CANARY), Secret(f"{new},{old}")), Secret(new)) == Secret(CANARY)


def test_a_wrong_key_is_named_with_the_mend() -> None:
    """Both a key that fits nothing and one that is none say which setting to look at."""
    sealed = seal(Secret(CANARY), Secret(make_key()))

    with pytest.raises(PpsError, match=r"^\[service\] key: opens no stored password: put the key "):
        unseal(sealed, Secret(make_key()))
    with pytest.raises(PpsError, match=r"^\[service\] key: isn't a key that `pps init` makes$"):
        seal(Secret(CANARY), Secret("not a key"))
