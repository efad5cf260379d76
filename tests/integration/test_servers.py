"""The test servers themselves: what other tests may take for granted about them."""

import contextlib
import poplib
import smtplib
import ssl
from collections.abc import Iterator

import asyncpg
import pytest

from tests.maildir import as_lines, canonical, without_trace
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.postgres import Postgres
from tests.servers.process import accepts, alive

ODD = {
    "plain": b"Subject: a\r\n\r\nbody\r\n",
    "no newline at the end": b"Subject: a\r\n\r\nbody",
    "dots": b"Subject: a\r\n\r\n.\r\n..\r\n.dot\r\n",
    "bare LF": b"Subject: a\n\nbody\n",
    "bare CR, and two before LF": b"Subject: a\r\n\r\nx\ry\r\r\n",
    "NUL": b"Subject: a\r\n\r\nx\0y\r\n",
    "8 bit": b"Subject: \xe9\xff\r\n\r\n\x80\xff\r\n",
    "no header": b"\r\nbody\r\n",
    "empty": b"",
    "mbox line": b"From a@b.example Mon Jan  1\r\nSubject: a\r\n\r\nFrom here\r\n",
}


@contextlib.contextmanager
def log_in(mailbox: Mailbox) -> Iterator[poplib.POP3]:
    """Open a session on the plain port, and end it with QUIT."""
    session = poplib.POP3("127.0.0.1", mailbox.dovecot.pop3_port)
    try:
        session.user(mailbox.user)
        session.pass_(mailbox.password)
        yield session
        session.quit()
    finally:
        session.close()


def uidls(session: poplib.POP3) -> list[bytes]:
    """Return all UIDLs in the order of the listing."""
    return [line.split()[1] for line in session.uidl()[1]]


def retrieve(session: poplib.POP3, number: int) -> bytes:
    """Return a mail as RETR gives it; poplib strips CRLF from each line."""
    return b"".join(line + b"\r\n" for line in session.retr(number)[1])


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD)
def test_dovecot_returns_what_was_planted(mailbox: Mailbox, raw: bytes) -> None:
    """RETR gives the planted octets, and LIST their true count."""
    mailbox.plant(raw)
    wire = b""
    with log_in(mailbox) as session:
        session._shortcmd("RETR 1")  # type: ignore[attr-defined] # poplib's own reader takes lines for what ends in LF
        while not (b"\r\n" + wire).endswith(b"\r\n.\r\n"):
            wire += session.file.read(1)
    unstuffed = (b"\r\n" + wire.removesuffix(b".\r\n")).replace(b"\r\n.", b"\r\n").removeprefix(b"\r\n")
    assert unstuffed == as_lines(raw)
    assert mailbox.remaining() == [canonical(raw)]


def test_dovecot_lists_in_planted_order_with_distinct_uidls(mailbox: Mailbox) -> None:
    """Number n is the n-th planted mail, and each has its own UIDL."""
    mailbox.plant(*(b"Subject: %d\r\n\r\n" % number for number in range(300)))
    with log_in(mailbox) as session:
        listed = uidls(session)
        last = retrieve(session, 300)
    assert len(set(listed)) == len(listed) == 300
    assert last == b"Subject: 299\r\n\r\n"


def test_dovecot_forgets_what_was_deleted(mailbox: Mailbox) -> None:
    """DELE and QUIT remove the mail from the Maildir that `remaining` reads."""
    mailbox.plant(b"Subject: 1\r\n\r\n", b"Subject: 2\r\n\r\n")
    with log_in(mailbox) as session:
        session.dele(1)
    assert mailbox.remaining() == [b"Subject: 2\n\n"]
    assert mailbox.dovecot.count(mailbox.user) == 1


def test_dovecot_knows_a_changed_password_at_once(mailbox: Mailbox) -> None:
    """No cache stands between `add_user` and the next login."""
    with log_in(mailbox):
        mailbox.dovecot.add_user(mailbox.user, "another")
    with pytest.raises(poplib.error_proto, match="AUTH"), log_in(mailbox):
        pass


def test_dovecot_speaks_tls_with_a_certificate_that_its_ca_file_proves(mailbox: Mailbox) -> None:
    """TLS at once and STLS both verify by chain and host name."""
    certificates = mailbox.dovecot.certificates
    assert certificates is not None
    trust = ssl.create_default_context(cafile=str(certificates.ca))
    poplib.POP3_SSL("localhost", mailbox.dovecot.pop3s_port, context=trust).quit()
    session = poplib.POP3("localhost", mailbox.dovecot.pop3_port)
    session.stls(trust)
    session.quit()


def test_dovecot_takes_mail_for_local_users_only(dovecot: Dovecot) -> None:
    """LMTP stores below one Return-Path, and refuses an unknown user with 550 5.1.1."""
    raw = b"Received: from here\r\n\tby there\r\nSubject: a\r\n\r\n.dot\r\n"
    with smtplib.LMTP("127.0.0.1", dovecot.lmtp_port) as session:
        refused = session.sendmail("", ["carol@local.example", "nobody@local.example"], raw)
    assert list(refused) == ["nobody@local.example"]
    assert refused["nobody@local.example"][1].startswith(b"5.1.1")
    assert without_trace(dovecot.inbox("carol")[-1]) == b"Subject: a\n\n.dot\n"


def test_dovecot_survives_its_death() -> None:
    """After a kill no process is left, and a new start has the same mails under the same port."""
    with Dovecot({"ann": "secret"}, tls=False) as dovecot:
        dovecot.plant("ann", [b"Subject: 1\r\n\r\n"])
        mailbox = Mailbox(dovecot=dovecot, user="ann", password="secret")
        with log_in(mailbox) as session:
            before = uidls(session)
        pid = dovecot.pid
        dovecot.kill()
        assert not alive(pid)
        assert not accepts(dovecot.pop3_port)
        dovecot.start()
        with log_in(mailbox) as session:
            assert uidls(session) == before
    assert not dovecot.folder.exists()


async def test_postgres_gives_each_test_an_empty_database(postgres: Postgres, database: str) -> None:
    """The URL leads to a database that the role may fill."""
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE TABLE t (a int)")
    await connection.close()
    assert database != postgres.fresh_database()


async def test_postgres_keeps_its_commits_when_it_is_killed() -> None:
    """After a kill no process is left, and the next start has what was committed."""
    with Postgres() as postgres:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("CREATE TABLE t AS SELECT 1 AS a")
        pid = postgres.pid
        postgres.kill()
        assert not alive(pid)
        connection.terminate()
        postgres.start()
        connection = await asyncpg.connect(postgres.url)
        assert await connection.fetchval("SELECT a FROM t") == 1
        await connection.close()
    assert not postgres.folder.exists()
