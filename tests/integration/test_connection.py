"""The POP3 connection against Dovecot; and for each failure to open it, the one line that says what, and the mend."""

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from common.failures import PollError, PollResult
from common.ledger.records import HostMemory
from common.profile import Tls
from common.server import Server, parse_server
from fetcher.ahead import WINDOWS
from fetcher.connection import Connection
from fetcher.link import Link
from fetcher.streams import Limits
from fetcher.tls import Trust, needs_encryption
from tests.maildir import as_lines
from tests.mails import mail, varied
from tests.servers.certificates import issue
from tests.servers.dovecot import Dovecot
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.servers.process import free_port

HASTY = Limits(connect=5, greeting=1, doubt=0.1, idle=5)


class Collected:
    """A sink that keeps a mail."""

    def __init__(self) -> None:
        self.octets = bytearray()
        self.discarded = False

    async def write(self, chunk: bytes) -> None:
        """Take the next octets."""
        self.octets += chunk

    async def end(self) -> None:
        """It is all there."""

    async def discard(self) -> None:
        """Remember that it was cut."""
        self.discarded = True


@asynccontextmanager
async def opened(
    server: Server | str, *, tls: Tls = Tls.AUTO, ca: Path | None = None, pipelining: bool = True
) -> AsyncIterator[Connection]:
    """Open a connection, and drop it in the end."""
    where = parse_server(server)
    link = Link(server=where, tls=tls, trust=Trust(ca=None if ca is None else str(ca)))
    connection = await Connection.open(link, limits=HASTY, memory=HostMemory(window=None if pipelining else 1))
    try:
        yield connection
    finally:
        connection.abort()


@asynccontextmanager
async def signed_in(mailbox: Mailbox, *, pipelining: bool = True) -> AsyncIterator[Connection]:
    """Open a session on a Dovecot mailbox."""
    async with opened(mailbox.server, pipelining=pipelining) as connection:
        await connection.authenticate(mailbox.user, mailbox.password)
        yield connection


async def all_mails(connection: Connection) -> list[bytes]:
    """Retrieve a whole mailbox."""
    numbers = [listed.number for listed in await connection.listing()]
    return [bytes(got.sink.octets) async for got in connection.retrieve(numbers, lambda _: Collected()) if got.sink]


async def failure(
    server: Server | str, *, tls: Tls = Tls.AUTO, ca: Path | None = None, user: str = "nobody", password: str = PASSWORD
) -> PollError:
    """Return how opening and signing in failed."""
    with pytest.raises(PollError) as raised:
        async with opened(server, tls=tls, ca=ca) as connection:
            await connection.authenticate(user, password)
    assert "\n" not in str(raised.value)
    return raised.value


def ca_of(dovecot: Dovecot) -> Path:
    """Return the CA that Dovecot's certificate is from."""
    assert dovecot.certificates is not None
    return dovecot.certificates.ca


def server_context(folder: Path, *names: str) -> ssl.SSLContext:
    """Return a server's context, with a certificate for these names in `folder`."""
    certificates = issue(folder, *names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    return context


# Dovecot


@pytest.mark.parametrize("pipelining", [True, False])
async def test_two_hundred_varied_mails_come_octet_for_octet(
    mailbox: Mailbox,
    pipelining: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """8-bit, dots, long lines, no last line end, bare CR and LF, up to 200 kB: all as Dovecot has them."""
    planted = [sample.raw for sample in varied(200, odd=True)]
    mailbox.plant(*planted)
    async with signed_in(mailbox, pipelining=pipelining) as connection:
        assert connection.capabilities.has("PIPELINING")
        got = await all_mails(connection)
        round_trips = connection.round_trips
    assert got == [as_lines(raw) for raw in planted]
    assert round_trips < (10 if pipelining else 210)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_stls_and_implicit_tls_verify_chain_and_name(mailbox: Mailbox, name: str) -> None:
    """Both ways lead to the same mailbox, by address and by name."""
    raw = mail()
    mailbox.plant(raw)
    ca = ca_of(mailbox.dovecot)
    plain, encrypted = mailbox.dovecot.pop3_port, mailbox.dovecot.pop3s_port
    for server, tls in (
        (f"{name} {plain}", Tls.STARTTLS),
        (f"{name} {encrypted}s", Tls.AUTO),
        (f"{name} {encrypted}", Tls.IMPLICIT),
    ):
        async with opened(server, tls=tls, ca=ca) as connection:
            await connection.authenticate(mailbox.user, mailbox.password)
            assert await all_mails(connection) == [raw]
            assert connection.took.keys() == {"connect", "tls"}
            assert all(0 < seconds < HASTY.connect for seconds in connection.took.values())


async def test_top_gives_headers_and_quit_makes_deletions_final(mailbox: Mailbox) -> None:
    """What was marked is gone after QUIT, and only after QUIT."""
    mails = [mail() for _ in range(WINDOWS[0] * 2 + 3)]
    mailbox.plant(*mails)
    async with signed_in(mailbox) as connection:
        numbers = [listed.number for listed in await connection.listing()]
        tops = await connection.tops(numbers)
        assert [tops[number] for number in numbers] == [raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for raw in mails]
        assert await connection.delete(numbers) == tuple(numbers)
    assert len(mailbox.remaining()) == len(mails)
    async with signed_in(mailbox) as connection:
        await connection.listing()
        assert await connection.delete([*numbers[:3], 999]) == tuple(numbers[:3])
        await connection.quit()
    assert len(mailbox.remaining()) == len(mails) - 3


async def test_an_empty_mailbox_lists_nothing(mailbox: Mailbox) -> None:
    """And retrieves nothing, without a word to the server."""
    async with signed_in(mailbox) as connection:
        assert await connection.listing() == ()
        assert await all_mails(connection) == []
        await connection.quit()


async def test_mail_that_is_not_there_is_a_refusal(mailbox: Mailbox) -> None:
    """Among others it costs only itself."""
    raw = mail()
    mailbox.plant(raw)
    async with signed_in(mailbox) as connection:
        await connection.listing()
        got = [one async for one in connection.retrieve([7, 1, 8], lambda _: Collected())]
    assert [(one.number, one.refused is not None) for one in got] == [(7, True), (1, False), (8, True)]


# Each error, exactly


async def test_a_wrong_password_is_told_with_the_server_s_words(mailbox: Mailbox) -> None:
    """Account and server are named, the password never."""
    error = await failure(mailbox.server, user=mailbox.user, password="canary-7f3a")
    assert error.result is PollResult.AUTH
    assert str(error) == (
        f"{mailbox.server}: sign-in as {mailbox.user} refused: [AUTH] Authentication failed: check user and password"
    )


async def test_a_password_that_the_server_repeats_is_masked() -> None:
    """Some do, in their refusal."""
    async with Pop3Server() as server:
        server.wrong_password = "-ERR [AUTH] canary-7f3a is not your password"
        error = await failure(server.server, user="ann", password="canary-7f3a")
    assert str(error) == (
        f"{server.server}: sign-in as ann refused: [AUTH] *** is not your password: check user and password"
    )


async def test_a_closed_port() -> None:
    """Host, port and key are named."""
    port = free_port()
    for name in ("127.0.0.1", "localhost"):
        error = await failure(f"{name} {port}")
        assert error.result is PollResult.NETWORK
        assert str(error) == f"{name} {port}: the connection was refused: check the port in server"


async def test_an_unknown_host() -> None:
    """RFC 6761: .invalid never resolves."""
    error = await failure("mail.invalid 995s")
    assert error.result is PollResult.NETWORK
    assert str(error) == "mail.invalid 995s: there is no such host: check the name in server"


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"* OK IMAP4rev1 ready\r\n", b"220 ESMTP\r\n"])
async def test_what_answers_is_not_pop3(greeting: bytes) -> None:
    """Some other service has that port."""
    async with Pop3Server() as server:
        server.greeting = greeting
        error = await failure(server.server)
    assert error.result is PollResult.PROTOCOL
    assert str(error) == (
        f"{server.server}: what answers there does not speak POP3 (a reply that is neither +OK nor -ERR): "
        "check host and port in server"
    )


async def test_a_tls_port_without_the_s(dovecot: Dovecot) -> None:
    """Both wait for the other to begin; soon a second connection finds out why, and the line says what to write."""
    dovecot.start()
    server = f"127.0.0.1 {dovecot.pop3s_port}"
    error = await failure(server)
    assert error.result is PollResult.TLS
    assert str(error) == f'{server}: the port speaks TLS from the first octet: write "{server}s" in server'


async def test_a_server_that_greets_late_is_waited_for() -> None:
    """That it was asked for TLS meanwhile, on a connection of its own, changes nothing."""
    asked, left = asyncio.Event(), asyncio.Event()
    said: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if said:
            writer.close()
            asked.set()
            return
        said.append(b"")
        await asked.wait()
        writer.write(b"+OK late\r\n")
        said.append(await reader.readline())
        writer.write(b"+OK\r\nUIDL\r\n.\r\n")
        await reader.read()
        writer.close()
        left.set()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as listening,
        opened(f"127.0.0.1 {listening.sockets[0].getsockname()[1]}") as connection,
    ):
        assert connection.capabilities.has("UIDL")
    await left.wait()  # else the server's end would outlive the loop
    assert said == [b"", b"CAPA\r\n"]


async def test_a_plain_port_with_the_s(dovecot: Dovecot) -> None:
    """The greeting is no TLS; what to change depends on which key said so."""
    dovecot.start()
    port = dovecot.pop3_port
    error = await failure(f"127.0.0.1 {port}s")
    assert error.result is PollResult.TLS
    assert str(error) == (
        f"127.0.0.1 {port}s: it does not speak TLS (WRONG_VERSION_NUMBER): "
        'check the port, or drop the "s" after it in server'
    )
    error = await failure(f"127.0.0.1 {port}", tls=Tls.IMPLICIT)
    assert str(error) == (
        f'127.0.0.1 {port}: it does not speak TLS (WRONG_VERSION_NUMBER): check the port, or set tls = "starttls"'
    )


async def test_an_untrusted_certificate(dovecot: Dovecot) -> None:
    """By STLS and at once: the keys that would trust it are named, and what one of them would say."""
    dovecot.start()
    certificates = dovecot.certificates
    assert certificates is not None
    for server, tls in (
        (f"127.0.0.1 {dovecot.pop3_port}", Tls.STARTTLS),
        (f"127.0.0.1 {dovecot.pop3s_port}s", Tls.AUTO),
    ):
        error = await failure(server, tls=tls)
        assert error.result is PollResult.TLS
        assert str(error) == (
            f"{server}: its certificate is not trusted (unable to get local issuer certificate): "
            "if you trust it, name the issuer's certificate in ca, or its own SHA-256 in fingerprint, "
            f"{certificates.fingerprint}, if that is what its operator says"
        )


@pytest.mark.parametrize("implicit", [True, False])
async def test_a_certificate_for_another_name(
    tmp_path: Path,
    implicit: bool,  # noqa: FBT001 (a table's column)
) -> None:
    """The chain is good, the name isn't."""
    context = server_context(tmp_path, "mail.other.example")
    async with Pop3Server(context=context, implicit_tls=implicit) as server:
        error = await failure(server.server, tls=Tls.AUTO if implicit else Tls.STARTTLS, ca=tmp_path / "ca.pem")
    assert error.result is PollResult.TLS
    assert str(error) == (
        f"{server.server}: its certificate is for another name than 127.0.0.1: write the name that the certificate has"
    )


async def test_an_expired_certificate(tmp_path: Path) -> None:
    """Nobody here can mend that."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    authority.issue_cert("127.0.0.1", not_after=yesterday).configure_cert(context)
    async with Pop3Server(context=context, implicit_tls=True) as server:
        error = await failure(server.server, ca=tmp_path / "ca.pem")
    assert str(error) == f"{server.server}: its certificate has expired: only the server's operator can mend that"


async def test_a_ca_file_that_can_not_be_read(tmp_path: Path) -> None:
    """The key and the file are named."""
    server = f"127.0.0.1 {free_port()}s"
    missing = tmp_path / "none.pem"
    error = await failure(server, ca=missing)
    assert error.result is PollResult.TLS
    assert str(error) == (f"{server}: ca: can't read certificates from {missing}: [Errno 2] No such file or directory")


async def test_no_stls_where_it_is_wanted() -> None:
    """Never cleartext instead; the two ways out are named."""
    async with Pop3Server() as server:
        error = await failure(server.server, tls=Tls.STARTTLS)
    assert error.result is PollResult.TLS
    assert str(error) == (
        f'{server.server}: it offers no encryption (STLS): use a port with TLS ("127.0.0.1 995s"), '
        'or allow cleartext with tls = "none"'
    )
    assert "USER nobody" not in server.commands


async def test_octets_before_the_handshake_end_the_session(tmp_path: Path) -> None:
    """What somebody slipped in before TLS is never taken for the server's word (CVE-2021-39272 and kin)."""
    context = server_context(tmp_path)
    async with Pop3Server(context=context) as server:
        server.before_handshake = b"+OK slipped in\r\n"
        error = await failure(server.server, tls=Tls.STARTTLS, ca=tmp_path / "ca.pem")
    assert error.result is PollResult.PROTOCOL
    assert str(error) == f"{server.server}: octets before the TLS handshake"


async def test_stls_that_is_refused(tmp_path: Path) -> None:
    """The session ends; nothing is said in cleartext."""
    async with Pop3Server(context=server_context(tmp_path)) as server:
        server.answers["STLS"] = b"-ERR not now\r\n"
        error = await failure(server.server, tls=Tls.STARTTLS, ca=tmp_path / "ca.pem")
    assert error.result is PollResult.TLS
    assert str(error) == f"{server.server}: STLS is offered, but refused: not now"


async def test_what_was_said_in_cleartext_does_not_count(tmp_path: Path) -> None:
    """Capabilities are asked for again under TLS."""
    async with Pop3Server(context=server_context(tmp_path)) as server:
        async with opened(server.server, tls=Tls.STARTTLS, ca=tmp_path / "ca.pem") as connection:
            assert not connection.capabilities.has("STLS")
        assert server.commands == ["CAPA", "STLS", "CAPA"]


@pytest.mark.parametrize(
    ("greeting", "result"),
    [
        (b"-ERR [SYS/TEMP] try later", PollResult.THROTTLED),
        (b"-ERR [IN-USE] your mailbox is open", PollResult.IN_USE),
        (b"-ERR [SYS/PERM] go away", PollResult.PROTOCOL),
        (b"-ERR too many connections from your host", PollResult.THROTTLED),
        (b"-ERR not today", PollResult.THROTTLED),
    ],
)
async def test_a_greeting_that_refuses(greeting: bytes, result: PollResult) -> None:
    """Its class decides when to try again; it is never a wrong password."""
    async with Pop3Server() as server:
        server.greeting = greeting + b"\r\n"
        error = await failure(server.server)
    assert error.result is result
    assert str(error) == f"{server.server}: refused at once: {greeting.decode().removeprefix('-ERR ')}"


async def test_a_reply_that_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    """It came between two commands: from then on every reply would be another's."""
    async with Pop3Server() as server:
        box = server.mailbox("ann")
        box.plant(mail())
        async with opened(server.server) as connection:
            await connection.authenticate("ann", box.password)
            await connection.listing()
            server.push(b"+OK by the way\r\n")
            with pytest.raises(PollError, match="octets that nobody asked for"):
                await connection.delete([1])
    assert box.deleted == []


@pytest.mark.parametrize("cut", [1, 2])
async def test_a_mail_that_was_not_confirmed_is_discarded(cut: int) -> None:
    """The cut one is suspected; the one before it was confirmed by the status line that came after it."""
    sinks: list[Collected] = []

    def sink(_number: int) -> Collected:
        sinks.append(Collected())
        return sinks[-1]

    async with Pop3Server() as server:
        box = server.mailbox("ann")
        box.plant(mail(), mail())[cut - 1].cut_after = 10
        async with opened(server.server) as connection:
            await connection.authenticate("ann", box.password)
            retrieving = connection.retrieve([1, 2], sink)
            got = [(await anext(retrieving)).number for _ in range(1, cut)]
            with pytest.raises(PollError):
                await anext(retrieving)
    assert got == list(range(1, cut))
    assert connection.suspect == cut
    assert [one.discarded for one in sinks] == [*[False] * (cut - 1), True]


@pytest.mark.parametrize("answer", [b"what?\r\n", None])
async def test_what_follows_the_last_mail_decides_on_it(answer: bytes | None) -> None:
    """Whole as it looked, it is believed only once NOOP's reply has come; no status line there casts doubt on it."""
    sinks = [Collected()]
    async with Pop3Server() as server:
        box = server.mailbox("ann")
        box.plant(mail())
        server.answers["NOOP"] = answer
        async with opened(server.server) as connection:
            await connection.authenticate("ann", box.password)
            retrieving = connection.retrieve([1], lambda _: sinks[0])
            with pytest.raises(PollError):
                await anext(retrieving)
    assert sinks[0].discarded
    assert connection.suspect == (None if answer is None else 1)


async def test_whoever_stops_early_leaves_no_half_mail() -> None:
    """Closed between two mails: what was yielded is the caller's, and nothing else was begun."""
    sinks: list[Collected] = []

    def sink(_number: int) -> Collected:
        sinks.append(Collected())
        return sinks[-1]

    async with Pop3Server() as server:
        box = server.mailbox("ann")
        box.plant(mail(), mail(), mail())
        async with opened(server.server) as connection:
            await connection.authenticate("ann", box.password)
            retrieving = connection.retrieve([1, 2, 3], sink)
            assert (await anext(retrieving)).number == 1
            assert (await anext(retrieving)).number == 2
            await retrieving.aclose()
    assert [one.discarded for one in sinks] == [False, False]


@pytest.mark.parametrize(
    ("tls", "peer", "needed"),
    [
        (Tls.AUTO, "192.0.2.1", True),
        (Tls.AUTO, "2001:db8::1", True),
        (Tls.AUTO, "fe80::1%eth0", True),
        (Tls.AUTO, "127.0.0.1", False),
        (Tls.AUTO, "127.8.8.8", False),
        (Tls.AUTO, "::1", False),
        (Tls.STARTTLS, "127.0.0.1", True),
        (Tls.NONE, "192.0.2.1", False),
    ],
)
def test_cleartext_needs_the_administrator_s_word_or_loopback(tls: Tls, peer: str, *, needed: bool) -> None:
    """A plain port elsewhere is encrypted, or refused."""
    assert needs_encryption(tls, peer) is needed


async def test_an_address_that_is_silent_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host has two: the first takes no connection and refuses none, so the second is tried beside it."""
    loop = asyncio.get_running_loop()
    async with Pop3Server() as server:
        with socket.create_server(("127.0.0.2", server.port), backlog=0) as full, ExitStack() as waiting:
            for _ in range(3):  # its queue is full: the kernel answers nobody more
                one = waiting.enter_context(socket.socket())
                one.settimeout(0)
                one.connect_ex(full.getsockname())  # which is under way when this returns

            async def two(*_args: object, **_keys: object) -> list[Any]:
                where = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
                return [(*where, (host, server.port)) for host in ("127.0.0.2", "127.0.0.1")]

            monkeypatch.setattr(loop, "getaddrinfo", two)
            async with asyncio.timeout(HASTY.connect / 2), opened(f"mail.example.com {server.port}") as connection:
                assert connection.capabilities.has("UIDL")
