"""Notices: what a person gets by mail and webhook, once for all that happened meanwhile, and never in a circle."""

import asyncio
import email
import email.policy
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from common import worker
from deliverer import notices
from fetcher import session, sweep
from tests.integration.service import Installation, catch_all, install
from tests.ledger import change
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.smtp import DOT, Act, SmtpServer
from tests.status import Status


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often for what is due, and for what is to be told."""
    monkeypatch.setattr(sweep, "INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(session, "SETTLE_SECONDS", 1.0)
    monkeypatch.setattr(notices, "LOOK_SECONDS", 0.2)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[SmtpServer]:
    """Run a server that calls every mail spam, but for what comes from nobody."""
    async with SmtpServer() as server:
        server.replies("MAIL", "554 5.7.1 spam")
        server.replies("MAIL FROM:<>", "554 5.7.1 spam")
        yield server


def told(there: Installation) -> Callable[[Status], bool]:
    """Return whether a notice was sent, as a condition on the status."""
    return lambda _status: bool(there.events("notice_sent"))


def with_notices(there: Installation, **keys: str) -> Installation:
    """Add a section [notices]."""
    path = there.folder / "pps.toml"
    section = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    path.write_text(f"{path.read_text()}[notices]\n{section}")
    return there


@asynccontextmanager
async def hook() -> AsyncIterator[tuple[str, list[dict[str, object]]]]:
    """Run a web server that remembers the JSON that is posted."""
    posted: list[dict[str, object]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        posted.append(json.loads(await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hunter2", posted
    finally:
        server.close()
        await server.wait_closed()


async def test_quarantine_is_told_in_one_mail_and_one_post(
    mailbox: Mailbox, tmp_path: Path, server: SmtpServer
) -> None:
    """The postmaster of the profile's domain gets it, from nobody and marked as automatic; no secret is in the log."""
    mailbox.plant(*(mail(to="ann@local.example") for _ in range(3)))
    async with SmtpServer() as office, hook() as (url, posted):
        there = install(
            tmp_path,
            catch_all(mailbox, interval="1h"),
            targets={"local": {"url": server.url}, "office": {"url": office.url}},
        )
        with_notices(there, to="postmaster", target="office", webhook=url, every="1h")
        async with there.serving() as service:
            await service.until(lambda _: len(there.events("notice_sent")) == 2)

    [sent] = office.deliveries
    assert (sent.sender, sent.recipients) == ("", ("postmaster@local.example",))
    message = email.message_from_bytes(sent.content, policy=email.policy.default)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-PPS-Notice"] == service.parts.ledger.installation
    text = message.get_content()
    assert "pps quarantine list" in text
    assert "to ann@local.example: 554 5.7.1 spam" in text
    assert [len(one["notices"]) for one in posted] in ([1], [2], [3])  # type: ignore[arg-type]  # a list
    assert "hunter2" not in (tmp_path / "pop3.log").read_text()


async def test_a_notice_that_nobody_takes_begets_no_notice(
    mailbox: Mailbox, tmp_path: Path, server: SmtpServer
) -> None:
    """The target refuses it like all else: it is logged, claimed for later, and nothing new is found."""
    mailbox.plant(mail(to="ann@local.example"))
    there = with_notices(install(tmp_path, catch_all(mailbox, interval="1h"), to=server.url), to="local_user")
    async with there.serving() as service:
        await service.until(lambda _: bool(there.events("notice_not_sent")))
        looks = len(there.events("notice"))

    assert looks == len(there.events("notice")) == 1
    assert there.events("notice_not_sent")[0]["error"] == "554 5.7.1 spam"


async def test_a_notice_that_comes_back_is_set_aside_in_silence(mailbox: Mailbox, tmp_path: Path) -> None:
    """Somebody forwards it to the remote mailbox: it is delivered to nobody, and no notice tells of it."""
    async with SmtpServer() as server:
        server.replies(DOT, "554 5.7.1 spam", "250 2.0.0 Saved")
        there = with_notices(install(tmp_path, catch_all(mailbox, interval="1h"), to=server.url), to="postmaster")
        mailbox.plant(mail(to="ann@local.example"))
        async with there.serving() as service:
            await service.until(told(there))
            await service.until(lambda status: not status.profiles[0].polling)
            mailbox.plant(server.deliveries[-1].content)
            await service.poll()
            await service.until(lambda status: status.profiles[0].mails.get("quarantined", 0) == 1)

    assert len(server.deliveries) == 1
    assert len(there.events("notice")) == 1


async def test_who_was_told_by_mail_is_not_told_again_where_the_webhook_fails(
    mailbox: Mailbox, tmp_path: Path, server: SmtpServer
) -> None:
    """What is told again, is told by the way that failed."""
    mailbox.plant(mail(to="ann@local.example"))
    async with SmtpServer() as office:
        there = install(
            tmp_path,
            catch_all(mailbox, interval="1h"),
            targets={"local": {"url": server.url}, "office": {"url": office.url}},
        )
        with_notices(there, to="postmaster", target="office", webhook="http://127.0.0.1:1/hunter2")
        async with there.serving() as service:
            await service.until(lambda _: len(there.events("notice_not_sent")) == 1)
            await change(service.parts.ledger, "UPDATE notices SET claimed_until = 1")
            await service.until(lambda _: len(there.events("notice_not_sent")) == 2)

    assert len(office.deliveries) == 1
    assert [event["by"] for event in there.events("notice_sent")] == ["mail"]
    assert "hunter2" not in (tmp_path / "pop3.log").read_text()


async def test_a_notice_at_a_silent_target_takes_no_time_from_mail_at_the_end(
    mailbox: Mailbox, tmp_path: Path, server: SmtpServer
) -> None:
    """The service is told to stop while the target thinks about a notice: it is cut, as nobody else's mail is."""
    mailbox.plant(mail(to="ann@local.example"))
    async with SmtpServer() as office:
        office.prompt.clear()
        there = install(
            tmp_path,
            catch_all(mailbox, interval="1h"),
            targets={"local": {"url": server.url}, "office": {"url": office.url}},
        )
        with_notices(there, to="postmaster", target="office")
        async with there.serving() as service:
            await service.until(lambda _: office.dot_came.is_set())
            began = time.monotonic()

    assert time.monotonic() - began < worker.STOP_SECONDS / 2
    assert not there.events("notice_sent")


async def test_a_target_that_is_silent_is_not_waited_for(
    mailbox: Mailbox, tmp_path: Path, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the final dot it was not told; after it, it counts as told."""
    monkeypatch.setattr(notices, "MAIL_SECONDS", 0.3)
    mailbox.plant(mail(to="ann@local.example"))
    async with SmtpServer() as office:
        office.replies("MAIL", Act.HANG)
        there = install(
            tmp_path,
            catch_all(mailbox, interval="1h"),
            targets={"local": {"url": server.url}, "office": {"url": office.url}},
        )
        with_notices(there, to="postmaster", target="office")
        async with there.serving() as service:
            await service.until(lambda _: len(there.events("notice_not_sent")) == 1)
            office.replies("MAIL", "250 2.1.0 OK")
            office.prompt.clear()
            await change(service.parts.ledger, "UPDATE notices SET claimed_until = 1")
            await service.until(told(there))

    assert there.events("notice_not_sent")[0]["error"] == "office: no answer in 0 s"
    assert office.dots == 1
