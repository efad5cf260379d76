"""`pps profile test` against real servers: what it tells, that it touches no mail, and whom an error names."""

import json
from pathlib import Path

import pytest

from common.config import load_config
from common.failures import PollError
from common.secrets import Secret
from manager.trial import Trial, sentences, try_profile
from tests.integration.service import Installation, install, profile
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.pop3 import PASSWORD, Pop3Server

SPOKEN = {"AUTH", "CAPA", "LIST", "PASS", "QUIT", "STLS", "TOP", "UIDL", "USER"}


def encrypted(folder: Path, mailbox: Mailbox, **keys: object) -> Installation:
    """Write a pps.toml for a mailbox whose server shows a certificate that is trusted."""
    assert mailbox.dovecot.certificates is not None
    return install(folder, profile(mailbox, "office", ca=str(mailbox.dovecot.certificates.ca), **keys))


async def tried(server: Pop3Server, folder: Path, **keys: object) -> Trial:
    """Try a profile on a sample server."""
    account = {"name": "office", "server": server.server, "user": "ann", "password": "env:NONE"}
    table = {**account, "local_user": "ann", **keys}
    config = load_config(install(folder, table).folder / "pps.toml")
    return await try_profile(config, config.profiles[0], known=None, typed=Secret(PASSWORD))


def words(trial: Trial) -> dict[str, str]:
    """Return what is told, by what it is about."""
    return dict(sentences(trial))


@pytest.mark.parametrize("way", ["implicit", "starttls"])
def test_an_encrypted_mailbox_is_told_whole(mailbox: Mailbox, tmp_path: Path, way: str) -> None:
    """Mails, octets, TLS, whose certificate and how long, UIDLs, TOP; and all mail stays, seen by nobody."""
    implicit: dict[str, object] = {"server": f"localhost {mailbox.dovecot.pop3s_port}s"}
    there = encrypted(tmp_path, mailbox, **(implicit if way == "implicit" else {"tls": "starttls"}))
    mailbox.plant(mail(), mail())
    before = mailbox.remaining()

    ended = there.pps("profile", "test", "office")
    found = json.loads(there.pps("profile", "test", "office", "--json").out)

    told = {line[:12].strip(): line[13:] for line in ended.out.splitlines()}
    assert (ended.code, ended.err) == (0, "")
    assert told["mails"].startswith("2, ")
    assert told["encryption"].startswith("TLSv1.")
    assert "issued by " in told["certificate"]
    assert (told["UIDLs"], told["TOP"]) == ("each mail has its own", "works")
    assert ended.out.endswith("No mail was fetched or deleted.\n")
    assert (found["ok"], found["mails"], found["certificate"]["days_left"] > 0) == (True, 2, True)
    assert mailbox.remaining() == before
    assert not (tmp_path / "pps.db").exists()


async def test_no_retr_and_no_dele_is_sent(tmp_path: Path) -> None:
    """Only what looks; QUIT frees the mailbox, and nothing was marked for deletion."""
    async with Pop3Server() as server:
        server.mailbox("ann").plant(mail(), mail())
        trial = await tried(server, tmp_path)
        said = {line.split()[0].upper() for line in server.commands}

    assert said <= SPOKEN, said
    assert (trial.mails, trial.tls, trial.certificate) == (2, None, None)
    assert words(trial)["encryption"] == "none: what is said can be read on its way"


async def test_an_old_server_is_told_as_it_is(tmp_path: Path) -> None:
    """No TOP, a delay between two sign-ins."""
    async with Pop3Server() as server:
        server.capabilities = ["UIDL", "USER", "LOGIN-DELAY 120"]
        server.mailbox("ann").plant(mail())
        told = words(await tried(server, tmp_path))

    assert told["TOP"].startswith("doesn't work: ")
    assert told["login delay"] == "120 s between two sign-ins"


async def test_an_empty_mailbox_leaves_some_things_open(tmp_path: Path) -> None:
    """What only a mail can show isn't guessed."""
    async with Pop3Server() as server:
        server.mailbox("ann")
        told = words(await tried(server, tmp_path))

    assert (told["mails"], told["UIDLs"], told["TOP"]) == (
        "0, 0 octets",
        "no mail to see them by",
        "no mail to try it on",
    )


async def test_uidls_that_repeat_are_counted(tmp_path: Path) -> None:
    """Such mail is safe, and costs more: the line says how it is known instead."""
    async with Pop3Server() as server:
        server.mailbox("ann").plant(mail(), mail(), mail())
        server.answers["UIDL"] = b"+OK\r\n1 a\r\n2 a\r\n.\r\n"
        trial = await tried(server, tmp_path)

    assert (trial.uidls_missing, trial.uidls_repeated) == (1, 1)
    assert words(trial)["UIDLs"].startswith("1 mails have none, 1 repeat another's: ")


async def test_a_refused_sign_in_names_user_and_password(tmp_path: Path) -> None:
    """And holds no secret."""
    async with Pop3Server() as server:
        server.mailbox("ann", "another")
        with pytest.raises(PollError, match="user and password") as caught:
            await tried(server, tmp_path)

    assert PASSWORD not in str(caught.value)


def test_a_tls_port_written_without_the_s_is_noticed_at_once(mailbox: Mailbox, tmp_path: Path) -> None:
    """Not after the minute that a greeting may take."""
    there = encrypted(tmp_path, mailbox, server=f"localhost {mailbox.dovecot.pop3s_port}")

    ended = there.pps("profile", "test", "office")
    as_json = there.pps("profile", "test", "office", "--json")

    assert (ended.code, ended.out) == (1, "")
    port = f"localhost {mailbox.dovecot.pop3s_port}"
    line = f'{port}: the port speaks TLS from the first octet: write "{port}s" in server'
    assert ended.err == f"pps: {line}\n"
    assert json.loads(as_json.out) == {"profile": "office", "ok": False, "error": line}
