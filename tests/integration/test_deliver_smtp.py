"""Deliveries over SMTP and LMTP against a server that replies as the test wants, and against a real Dovecot."""

import asyncio
import re
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from common.blobs import NoBlobError
from common.failures import PpsError, Scope, UsageError
from common.folder_blobs import FolderBlobs
from common.messages import MAX_TEXT, Result, Stage
from common.profile import Tls
from common.target_auth import TargetAuth
from deliverer.sign_in import Account
from deliverer.smtp import SmtpTarget
from deliverer.target import ClaimLostError, Target, TargetOptions
from deliverer.transaction import Deadlines
from tests.deliveries import MAIL, deliver, job_of, target_of
from tests.maildir import canonical, without_trace
from tests.servers.certificates import issue
from tests.servers.dovecot import Dovecot
from tests.servers.smtp import CONTENT, DOT, GREETING, Act, SmtpServer

SHORT = Deadlines(connect=0.3, reply=0.3, dot=0.3)
BLOCK = b"A line of a large mail, as long as such lines are, more or less.\r\n"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SmtpServer]:
    """Run an SMTP server that takes everything, until it is told otherwise."""
    async with SmtpServer() as server:
        yield server


@pytest_asyncio.fixture
async def target(server: SmtpServer) -> AsyncIterator[SmtpTarget]:
    """Return a target at that server."""
    target = smtp_at(server.url)
    yield target
    await target.close()


def smtp_at(url: str, deadlines: Deadlines | None = None, **options: object) -> SmtpTarget:
    """Return an SMTP or LMTP target as the role makes it."""
    target = target_of(TargetOptions(url=url, **options), deadlines)  # type: ignore[arg-type]  # checked where they are written
    assert isinstance(target, SmtpTarget)
    return target


async def never() -> bool:
    """Stand for a claim that is another's by now."""
    return False


def sent(server: SmtpServer) -> bytes:
    """Return the only delivered mail without our trace field."""
    [delivered] = server.deliveries
    return without_trace(delivered.content)


async def test_mail_is_delivered_byte_for_byte(server: SmtpServer, target: Target) -> None:
    """One transaction with one recipient; below the trace field the content is what was fetched."""
    attempt = await deliver(target, job_of())

    assert (attempt.result, attempt.code, attempt.enhanced) == (Result.DELIVERED, 250, "2.0.0")
    [delivered] = server.deliveries
    assert (delivered.sender, delivered.recipients) == ("sender@far.example", ("ann@local.example",))
    assert delivered.content.startswith(b"Received: from pop.far.example by ")
    assert sent(server) == MAIL


async def test_dots_and_bare_line_ends_can_not_end_the_mail_early(server: SmtpServer, target: Target) -> None:
    """LF dot LF, CR dot CR and CRLF dot CRLF in a body arrive as lines of a body: nothing is smuggled."""
    raw = b"Subject: x\r\n\r\na\n.\nMAIL FROM:<evil@x>\r\n.\r\nRCPT TO:<b@y>\r.\rDATA\n.\r\n..\r\nend"

    attempt = await deliver(target, job_of(raw))

    assert attempt.result is Result.DELIVERED
    assert sent(server) == re.sub(rb"\r\n|\r|\n", b"\r\n", raw) + b"\r\n"
    assert server.dots == 1
    assert not any("evil" in command for command in server.commands)


async def test_eight_bit_mail_says_so_where_offered(server: SmtpServer, target: Target) -> None:
    """BODY=8BITMIME for 8-bit content, SIZE where offered, SMTPUTF8 only for addresses that need it."""
    await deliver(target, job_of(MAIL.replace(b"Good", b"G\xf6d")))
    await deliver(target, job_of())
    await deliver(target, job_of(recipient="jürgen@local.example"))

    first, second, third = (delivered.parameters for delivered in server.deliveries)
    assert "BODY=8BITMIME" in first
    assert re.fullmatch(r"SIZE=\d+", second)
    assert "SMTPUTF8" in third


async def test_recipient_that_needs_smtputf8_is_refused_where_it_is_not_offered() -> None:
    """There is no way to name this recipient to this server."""
    async with SmtpServer(extensions=("SIZE",)) as server:
        target = smtp_at(server.url)

        attempt = await deliver(target, job_of(recipient="jürgen@local.example"))

        assert (attempt.result, attempt.scope, attempt.stage) == (Result.REFUSED, Scope.RECIPIENT, Stage.RCPT)
        assert (await deliver(target, job_of(sender="jürgen@far.example"))).result is Result.DELIVERED
        assert server.deliveries[0].sender == ""
        await target.close()


@pytest.mark.parametrize(
    ("step", "reply", "result", "stage", "scope"),
    [
        ("MAIL", "451 4.3.0 later", Result.DEFERRED, Stage.MAIL, Scope.MAIL),
        ("RCPT", "450 4.2.0 greylisted", Result.DEFERRED, Stage.RCPT, Scope.RECIPIENT),
        ("RCPT", "552 5.2.2 mailbox full", Result.DEFERRED, Stage.RCPT, Scope.RECIPIENT),
        ("RCPT", "550 5.1.1 no such user", Result.REFUSED, Stage.RCPT, Scope.RECIPIENT),
        ("DATA", "451 4.3.0 later", Result.DEFERRED, Stage.DATA, Scope.MAIL),
        ("DATA", "554 5.6.0 no", Result.REFUSED, Stage.DATA, Scope.MAIL),
        (DOT, "451 4.3.0 later", Result.DEFERRED, Stage.DOT, Scope.MAIL),
        (DOT, "554 5.7.1 spam", Result.REFUSED, Stage.DOT, Scope.MAIL),
        ("RCPT", "421 4.3.2 closing", Result.DEFERRED, Stage.RCPT, Scope.RECIPIENT),
        ("DATA", "421 4.3.2 closing", Result.DEFERRED, Stage.DATA, Scope.MAIL),
        (DOT, "421 4.3.2 closing", Result.DEFERRED, Stage.DOT, Scope.MAIL),
        (GREETING, "554 no service", Result.DEFERRED, Stage.CONNECT, Scope.SERVER),
        (GREETING, "421 too busy", Result.DEFERRED, Stage.CONNECT, Scope.SERVER),
        ("EHLO", "421 too busy", Result.DEFERRED, Stage.CONNECT, Scope.SERVER),
        ("RCPT", "garbage", Result.DEFERRED, Stage.RCPT, Scope.RECIPIENT),
        (DOT, "garbage", Result.AMBIGUOUS, Stage.DOT, Scope.MAIL),
    ],
)
async def test_refusal_at_each_step_is_told_apart(  # noqa: PLR0917 (a case)
    server: SmtpServer, target: Target, step: str, reply: str, result: Result, stage: Stage, scope: Scope
) -> None:
    """The attempt carries the server's words, and the next mail is delivered as if nothing had been."""
    server.replies(step, reply, "354 go on" if step == "DATA" else "220 ok" if step == GREETING else "250 ok")

    attempt = await deliver(target, job_of())
    server.replies("EHLO", "500 5.5.1 as usual")
    after = await deliver(target, job_of())

    assert (attempt.result, attempt.stage, attempt.scope) == (result, stage, scope)
    assert reply.split(" ", maxsplit=1)[0] in attempt.reply
    assert after.result is Result.DELIVERED


@pytest.mark.parametrize(
    ("step", "act", "result", "stage"),
    [
        (GREETING, Act.CUT, Result.DEFERRED, Stage.CONNECT),
        (GREETING, Act.HANG, Result.DEFERRED, Stage.CONNECT),
        ("EHLO", Act.HANG, Result.DEFERRED, Stage.CONNECT),
        ("MAIL", Act.CUT, Result.DEFERRED, Stage.MAIL),
        ("MAIL", Act.HANG, Result.DEFERRED, Stage.MAIL),
        ("RCPT", Act.CUT, Result.DEFERRED, Stage.RCPT),
        ("RCPT", Act.HANG, Result.DEFERRED, Stage.RCPT),
        ("DATA", Act.CUT, Result.DEFERRED, Stage.DATA),
        ("DATA", Act.HANG, Result.DEFERRED, Stage.DATA),
        (DOT, Act.CUT, Result.AMBIGUOUS, Stage.DOT),
        (DOT, Act.HANG, Result.AMBIGUOUS, Stage.DOT),
    ],
)
async def test_silence_and_lost_connections_are_doubt_only_after_the_dot(
    server: SmtpServer, step: str, act: Act, result: Result, stage: Stage
) -> None:
    """Before the final dot nothing was delivered; after it nobody knows. Either way the connection isn't used again."""
    target = smtp_at(server.url, SHORT)
    server.replies(step, act)

    attempt = await deliver(target, job_of())

    assert (attempt.result, attempt.stage, attempt.lost) == (result, stage, True)
    assert server.dots == (1 if stage is Stage.DOT else 0)
    await target.close()


async def test_connection_lost_amid_the_content_is_deferred(server: SmtpServer, tmp_path: Path) -> None:
    """The server hangs up while a large mail is being sent: no dot, no doubt."""
    blobs = FolderBlobs(tmp_path)
    raw = b"Subject: x\r\n\r\n" + BLOCK * 100_000
    job = job_of(raw)
    await blobs.put(job.mail_id, raw)
    target = smtp_at(server.url)
    server.replies(CONTENT, "421 4.3.2 going down")

    attempt = await deliver(target, job, blobs)

    assert (attempt.result, attempt.stage, attempt.lost) == (Result.DEFERRED, Stage.DATA, True)
    assert server.dots == 0
    await target.close()


async def test_server_that_reads_nothing_is_given_up(server: SmtpServer, tmp_path: Path) -> None:
    """Each block has a deadline: a stalled server doesn't hold a delivery for ever."""
    blobs = FolderBlobs(tmp_path)
    raw = b"Subject: x\r\n\r\n" + BLOCK * 300_000
    job = job_of(raw)
    await blobs.put(job.mail_id, raw)
    target = smtp_at(server.url, SHORT)
    server.replies(CONTENT, Act.STALL)

    attempt = await deliver(target, job, blobs)

    assert (attempt.result, attempt.stage, attempt.lost) == (Result.DEFERRED, Stage.DATA, True)
    await target.close()


@pytest.mark.parametrize(
    ("step", "answer", "result"),
    [
        ("RCPT", "550 5.1.1 no user " + "x" * 100_000, Result.DEFERRED),
        ("RCPT", "\r\n".join(["550-5.1.1 no user"] * 6_000 + ["550 5.1.1 no user"]), Result.DEFERRED),
        (DOT, "250 " + "x" * 100_000, Result.AMBIGUOUS),
        (DOT, "554 " + "x" * 100_000, Result.AMBIGUOUS),
        ("RCPT", "550-5.1.1 no \x1b[31m\t\x08\r\n550 5.1.1 \x00such\x7f user \udcff", Result.REFUSED),
    ],
    ids=["long line", "many lines", "long yes", "long no", "controls"],
)
async def test_a_monstrous_reply_is_doubt_and_one_with_controls_one_printable_line(
    server: SmtpServer, target: SmtpTarget, step: str, answer: str, result: Result
) -> None:
    """What is too long to be read decides nothing, and its connection carries no other mail."""
    server.replies(step, answer, "250 2.0.0 OK")

    attempt = await deliver(target, job_of())

    assert attempt.result is result
    assert attempt.reply.isprintable()
    assert len(attempt.reply) <= MAX_TEXT
    assert (await deliver(target, job_of())).result is Result.DELIVERED
    assert target.connections_opened == (1 if result is Result.REFUSED else 2)


async def test_closed_port_is_an_outage(server: SmtpServer, target: Target) -> None:
    """Nobody listens: no attempt is counted, and the probe says when it is over."""
    await server.stop()

    attempt = await deliver(target, job_of())

    assert attempt.is_outage
    assert (await target.probe()) is not None
    await server.start()
    assert (await target.probe()) is None
    assert (await deliver(target, job_of())).result is Result.DELIVERED
    assert server.connections == 1


async def test_refused_sender_is_tried_once_more_as_the_null_sender(server: SmtpServer, target: Target) -> None:
    """PPS never bounces, so a sender that the target dislikes isn't worth a mail."""
    server.replies("MAIL FROM:<sender@far.example>", "553 5.1.8 bad sender")

    attempt = await deliver(target, job_of())

    assert attempt.result is Result.DELIVERED
    assert server.deliveries[0].sender == ""


async def test_null_sender_refused_too_is_a_refusal(server: SmtpServer, target: Target) -> None:
    """Once more means once."""
    server.replies("MAIL", "550 5.7.1 no")

    attempt = await deliver(target, job_of())

    assert (attempt.result, attempt.stage) == (Result.REFUSED, Stage.MAIL)
    assert sum(command.startswith("MAIL") for command in server.commands) == 2


async def test_fixed_sender_replaces_the_mails_own(server: SmtpServer) -> None:
    """The administrator may name one sender for all mail, or none."""
    for option, sender in (("pps@local.example", "pps@local.example"), ("<>", ""), ("", "")):
        target = smtp_at(server.url, sender=option)
        await deliver(target, job_of())
        assert server.deliveries[-1].sender == sender
        await target.close()


async def test_without_the_claim_there_is_no_dot(server: SmtpServer, target: SmtpTarget) -> None:
    """The content was sent, but the last question was answered no: the connection is dropped, nothing delivered."""
    with pytest.raises(ClaimLostError):
        await deliver(target, job_of(), before_dot=never)

    assert (await deliver(target, job_of())).result is Result.DELIVERED
    assert (server.dots, server.connections) == (1, 2)


async def test_damaged_blob_is_never_ended_with_a_dot(server: SmtpServer, target: Target, tmp_path: Path) -> None:
    """The digest is known before the dot: a cut mail is not delivered, it is fetched again."""
    blobs = FolderBlobs(tmp_path)
    job = job_of(blob=True)
    await blobs.put(job.mail_id, MAIL[:-5])

    with pytest.raises(NoBlobError):
        await deliver(target, job, blobs)

    assert server.dots == 0


async def test_cancelled_before_the_dot_nothing_was_delivered(server: SmtpServer, target: Target) -> None:
    """A delivery that is cut drops its connection without the dot."""
    reached = asyncio.Event()

    async def hang() -> bool:
        reached.set()
        await asyncio.Event().wait()
        return True

    task = asyncio.create_task(deliver(target, job_of(), before_dot=hang))
    await reached.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert server.dots == 0


async def test_connection_is_used_again_after_a_reset(server: SmtpServer, target: SmtpTarget) -> None:
    """Twenty mails one after the other need one connection; after a refusal, too."""
    server.replies("RCPT TO:<bob@", "550 5.1.1 no such user")

    for number in range(20):
        await deliver(target, job_of(recipient="bob@local.example" if number == 7 else "ann@local.example"))

    assert len(server.deliveries) == 19
    assert target.connections_opened == server.connections == 1


async def test_connection_that_died_while_idle_costs_nothing(server: SmtpServer, target: SmtpTarget) -> None:
    """RSET finds out before anything is at stake."""
    await deliver(target, job_of())
    await server.stop()
    await server.start()

    attempt = await deliver(target, job_of())

    assert attempt.result is Result.DELIVERED
    assert server.connections == 2


async def test_at_most_so_many_connections(server: SmtpServer) -> None:
    """The administrator's limit holds under load, and all mail arrives."""
    target = smtp_at(server.url, connections=3)

    await asyncio.gather(*(deliver(target, job_of()) for _ in range(30)))

    assert len(server.deliveries) == 30
    assert server.connections <= 3
    await target.close()


async def test_idle_connection_is_closed_politely(server: SmtpServer) -> None:
    """QUIT is said, and nothing stays open."""
    target = smtp_at(server.url)
    await deliver(target, job_of())

    await target.close()

    assert server.commands[-1] == "QUIT"


async def test_large_mail_is_sent_with_constant_memory(tmp_path: Path) -> None:
    """30 MB pass through in chunks; the server's part runs elsewhere."""
    raw = b"Subject: large\r\n\r\n" + BLOCK * (30_000_000 // len(BLOCK))
    blobs = FolderBlobs(tmp_path)
    job = job_of(raw)
    await blobs.put(job.mail_id, raw)
    counted = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal counted
        for reply in (b"220 x\r\n", b"250 x\r\n", b"250 x\r\n", b"250 x\r\n", b"354 x\r\n"):
            writer.write(reply)
            if not reply.startswith(b"354"):
                await reader.readline()
        tail = b""
        while not tail.endswith(b"\r\n.\r\n"):
            chunk = await reader.read(65536)
            counted += len(chunk)
            tail = (tail + chunk)[-5:]
        writer.write(b"250 x\r\n")
        await reader.readline()
        writer.close()

    counting = await asyncio.start_server(count, "127.0.0.1", 0)
    target = smtp_at(f"smtp://127.0.0.1:{counting.sockets[0].getsockname()[1]}")
    tracemalloc.start()
    try:
        attempt = await deliver(target, job, blobs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert attempt.result is Result.DELIVERED
    assert counted > len(raw)
    assert peak < 4_000_000
    await target.close()
    counting.close()


async def test_starttls_and_implicit_tls_verify_the_certificate(tmp_path: Path) -> None:
    """A certificate of the named authority is accepted, any other is an outage with the reason."""
    certificates = issue(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.chain, certificates.key)
    for implicit, tls in ((False, Tls.STARTTLS), (True, Tls.AUTO)):
        async with SmtpServer(context=context, implicit_tls=implicit) as server:
            trusting = smtp_at(server.url, tls=tls, ca=str(certificates.ca))
            doubting = smtp_at(server.url, tls=tls)

            assert (await deliver(trusting, job_of())).result is Result.DELIVERED
            refused = await deliver(doubting, job_of())

            assert refused.is_outage
            assert "certificate" in refused.reply.lower()
            assert len(server.deliveries) == 1
            await trusting.close()
            await doubting.close()


async def test_server_without_starttls_gets_no_cleartext(server: SmtpServer) -> None:
    """The reason names the setting that would allow it."""
    target = smtp_at(server.url, tls=Tls.STARTTLS)

    attempt = await deliver(target, job_of())

    assert attempt.is_outage
    assert 'tls = "none"' in attempt.reply
    assert not any(command.startswith("MAIL") for command in server.commands)
    await target.close()


def account(auth: TargetAuth = TargetAuth.AUTO) -> Account:
    """Return an account whose secret must never be shown."""

    async def secret() -> str:
        return "canary"

    return Account(user="pps", reference="env:CANARY", secret=secret, auth=auth)


@pytest.mark.parametrize(
    ("offered", "auth", "said"),
    [
        ("PLAIN LOGIN", TargetAuth.AUTO, ["AUTH PLAIN AHBwcwBjYW5hcnk="]),
        ("LOGIN XOAUTH2", TargetAuth.AUTO, ["AUTH LOGIN cHBz", "Y2FuYXJ5"]),
        ("PLAIN LOGIN", TargetAuth.LOGIN, ["AUTH LOGIN cHBz", "Y2FuYXJ5"]),
        ("PLAIN XOAUTH2", TargetAuth.XOAUTH2, ["AUTH XOAUTH2 dXNlcj1wcHMBYXV0aD1CZWFyZXIgY2FuYXJ5AQE="]),
        ("XOAUTH2", TargetAuth.AUTO, []),
        ("PLAIN", TargetAuth.XOAUTH2, []),
    ],
)
async def test_the_mechanism_that_is_asked_for_is_used(offered: str, auth: TargetAuth, said: list[str]) -> None:
    """By itself one that takes a password: it is never sent as a token. Without one, all mail waits, and it is said."""
    async with SmtpServer(extensions=(f"AUTH {offered}",)) as server:
        server.replies("AUTH LOGIN", "334 UGFzc3dvcmQ6")
        server.replies("Y2Fu", "235 2.7.0 OK")
        target = smtp_at(server.url, account=account(auth))

        attempt = await deliver(target, job_of())

        assert [line for line in server.commands if line.startswith(("AUTH", "Y2Fu"))] == said
        assert (attempt.result is Result.DELIVERED, attempt.is_outage) == (bool(said), not said)
        assert said or f"it offers {offered}" in attempt.reply
        await target.close()


async def test_a_secret_that_can_not_be_found_is_an_outage() -> None:
    """It is asked for at each connection, so a token is fresh; where the command for it fails, mail waits."""

    async def away() -> str:
        raise PpsError("command:token: it ended with 1")

    async with SmtpServer(extensions=("AUTH PLAIN",)) as server:
        target = smtp_at(server.url, account=Account(user="pps", reference="command:token", secret=away))

        attempt = await deliver(target, job_of())

        assert attempt.is_outage
        assert attempt.reply.endswith("password: command:token: it ended with 1")
        await target.close()


async def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    """A server that asks for one takes mail with it, and none without."""
    certificates = issue(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates.ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificates.chain, certificates.key)
    async with SmtpServer(context=context, implicit_tls=True) as server:
        ca, cert, key = (str(path) for path in (certificates.ca, certificates.chain, certificates.key))
        target = smtp_at(server.url, ca=ca, client_cert=cert, client_key=key)
        without = smtp_at(server.url, ca=ca)

        assert (await deliver(target, job_of())).result is Result.DELIVERED
        assert (await deliver(without, job_of())).is_outage
        await target.close()
        await without.close()


async def test_login_is_done_and_a_refused_one_is_an_outage_without_the_secret() -> None:
    """A wrong password is the administrator's to mend: all mail waits, and nothing shows the password."""
    async with SmtpServer(extensions=("AUTH PLAIN",)) as server:
        target = smtp_at(server.url, account=account())
        assert (await deliver(target, job_of())).result is Result.DELIVERED
        await target.close()
        server.replies("AUTH", "535 5.7.8 no")
        target = smtp_at(server.url, account=account())

        attempt = await deliver(target, job_of())

        assert attempt.is_outage
        assert "canary" not in repr(attempt) + repr(TargetOptions(url=server.url, account=account()))
        await target.close()


def test_missing_certificate_file_is_named_at_the_start() -> None:
    """A typo in a path is found before the first mail."""
    with pytest.raises(UsageError, match=r"\[target.local\] client_cert: can't use /no/such/file"):
        smtp_at("smtps://mail.example.com", client_cert="/no/such/file")
    with pytest.raises(UsageError, match=r"\[target.local\] ca: /no/such/file"):
        smtp_at("smtps://mail.example.com", ca="/no/such/file")


async def test_lmtp_greets_with_lhlo_over_tcp_and_unix_sockets(tmp_path: Path) -> None:
    """The dialogue is LMTP's; there is one reply after the dot, for the one recipient."""
    for path in (None, tmp_path / "lmtp"):
        async with SmtpServer(lmtp=True, socket_path=path) as server:
            target = smtp_at(server.url)
            server.replies("RCPT TO:<bob@", "550 5.1.1 no such user")

            taken = await deliver(target, job_of())
            refused = await deliver(target, job_of(recipient="bob@local.example"))

            assert (taken.result, refused.result) == (Result.DELIVERED, Result.REFUSED)
            assert server.commands[0].startswith("LHLO ")
            await target.close()


async def test_smtp_server_where_lmtp_was_configured_is_named(server: SmtpServer) -> None:
    """The likely mistake is said, instead of a bare 500."""
    target = smtp_at(server.url.replace("smtp:", "lmtp:"))

    attempt = await deliver(target, job_of())

    assert attempt.is_outage
    assert "LHLO" in attempt.reply
    await target.close()


async def test_dovecot_stores_over_lmtp_what_was_fetched(dovecot: Dovecot) -> None:
    """A real LMTP server: byte for byte, an unknown user told apart, nothing smuggled by bare LF dot LF."""
    dovecot.start()
    target = smtp_at(f"lmtp://{dovecot.host}:{dovecot.lmtp_port}")
    smuggled = b"Subject: smuggled\r\n\r\na\n.\nMAIL FROM:<>\nRCPT TO:<bob@local.example>\nDATA\nowned\n.\n\r\nend\r\n"
    before = len(dovecot.inbox("bob"))

    attempts = [await deliver(target, job_of(raw, recipient="bob@local.example")) for raw in (MAIL, smuggled)]
    unknown = await deliver(target, job_of(recipient="nobody@local.example"))

    assert [attempt.result for attempt in attempts] == [Result.DELIVERED] * 2
    stored = {without_trace(raw) for raw in dovecot.inbox("bob")}
    assert len(dovecot.inbox("bob")) == before + 2
    assert {canonical(MAIL), canonical(smuggled)} <= stored
    assert (unknown.result, unknown.code, unknown.enhanced, unknown.stage) == (
        Result.REFUSED,
        550,
        "5.1.1",
        Stage.RCPT,
    )
    await target.close()
