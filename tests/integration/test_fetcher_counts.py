"""What a fetcher counts of servers and targets that do wrong: deletions that were not made, and what was swept."""

import asyncio
from pathlib import Path

import pytest

from fetcher import sweep
from tests.integration.service import LOOK_SECONDS, MAILDIR, WAIT_SECONDS, Installation, Serving, install
from tests.ledger import change
from tests.mails import mail
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.servers.pop3_mailbox import Mailbox, Quit
from tests.servers.smtp import SmtpServer
from tests.status import Status


def installed(folder: Path, server: Pop3Server, *, to: str = MAILDIR) -> Installation:
    """Write a configuration with one mailbox, all of whose mail goes to ann."""
    account = {"name": "office", "server": server.server, "user": "office", "password": "file:office.secret"}
    return install(folder, {**account, "local_user": "ann@local.example"}, password=PASSWORD, to=to)


def polled_once(status: Status) -> bool:
    """Whether the first poll has ended."""
    return status.profiles[0].last_finished_at is not None and not status.profiles[0].polling


async def test_deletions_are_counted_by_what_became_of_them(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """QUIT without an answer leaves it open; a server that shows another mail under the name gets no DELE."""
    box.plant(mail(size=900), uidl=b"same")
    box.quit = Quit.LOST
    async with installed(tmp_path, server).serving(shown=True) as service:
        await service.until(polled_once)
        first = await service.counted()
        box.mails.clear()
        box.plant(mail(size=1000), uidl=b"same")
        box.quit = Quit.ANSWERED
        await service.poll()
        then = await service.counted()

    assert first.by("mails_deleted_total", "result") == {"unconfirmed": 1}
    assert first.by("deletes_withheld_total", "reason") == {}
    assert first.by("polls_total", "result") == {"network": 1}
    assert then.by("mails_deleted_total", "result") == {"unconfirmed": 1, "ok": 1}
    assert then.by("deletes_withheld_total", "reason") == {"unverified": 1}
    assert then.value("mails_fetched_total") == 2
    assert then.value("pop3_sessions") == 0


async def swept(service: Serving, **wanted: int) -> None:
    """Return once the sweeper has done so much; what it sets in motion may come to it again."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not wanted.items() <= (await service.counted()).by("swept_total", "what").items():  # noqa: ASYNC110 (a page doesn't tell)
            await asyncio.sleep(LOOK_SECONDS)


async def test_a_retry_is_counted(
    server: Pop3Server, box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delivery whose time has come is no sign of trouble on our side, so it is told apart."""
    monkeypatch.setattr(sweep, "INTERVAL_SECONDS", 0.05)
    box.plant(mail(), mail())
    async with SmtpServer() as target:
        target.replies("RCPT", "450 4.2.0 later")
        async with installed(tmp_path, server, to=target.url).serving(shown=True) as service:
            await service.until(lambda status: status.deliveries.get("local") == {"deferred": 2})
            assert (await service.counted()).by("swept_total", "what") == {}
            await service.make_due()
            await swept(service, retry=2)


async def test_what_was_lost_with_a_process_is_counted_by_the_next(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """A job whose bytes are at rest is published again; a mail that went with it is fetched again."""
    box.plant(mail(), mail(size=100_000))
    async with SmtpServer() as target:
        there = installed(tmp_path, server, to=target.url)
    async with there.serving() as service:
        await service.until(lambda status: bool(status.targets))
        published = "UPDATE deliveries SET swept_claims = claims"  # as when a job was published, and nobody took it
        await change(service.parts.ledger, published)

    async with there.serving(shown=True) as service:
        await swept(service, job=1, sent_back=1)
