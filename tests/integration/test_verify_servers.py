"""What `pps verify` asks of servers, and of whom it waits: it only looks, and takes no mailbox away from a poll."""

from pathlib import Path

import pytest

from manager.verify import of_servers
from manager.verify.account import Remote
from manager.verify.verification import verify
from tests.integration.service import Installation, install
from tests.mails import mail
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.servers.pop3_mailbox import Mailbox
from tests.status import ProfileStatus, status_of

BUSY = b"-ERR [IN-USE] another session has it\r\n"


@pytest.fixture
def there(server: Pop3Server, tmp_path: Path) -> Installation:
    """Install what keeps the mail of that mailbox on the server."""
    account = {"name": "office", "server": server.server, "user": "office", "password": "file:office.secret"}
    return install(tmp_path, {**account, "local_user": "ann", "keep": True, "interval": "1h"}, password=PASSWORD)


async def polled(there: Installation) -> ProfileStatus:
    """Poll once, and stop."""
    async with there.serving() as serving:
        return await serving.poll()


async def remote(there: Installation) -> Remote:
    """Verify, and return what the server showed."""
    report = await verify(there.config, (), remote=True)
    assert report.breaches == []
    (account,) = report.accounts.values()
    return account.remote


async def test_servers_are_only_asked_what_they_list(server: Pop3Server, box: Mailbox, there: Installation) -> None:
    """No RETR, no TOP, no DELE, even of mails that have no UIDL of their own: these are counted."""
    box.plant(mail(), mail())
    box.plant(mail(), mail(), uidl=b"same")
    box.plant(mail(), uidl=b"")
    await polled(there)
    server.commands.clear()

    found = await remote(there)

    assert {command.split()[0] for command in server.commands} <= {"CAPA", "USER", "PASS", "LIST", "UIDL", "QUIT"}
    assert (found.listed, found.known, found.new, found.unnamed, found.unnamed_known) == (5, 2, 0, 3, 3)
    assert box.deleted == []


async def test_a_mailbox_in_use_is_told_and_its_schedule_stays(
    server: Pop3Server, box: Mailbox, there: Installation
) -> None:
    """Somebody else reads it: it is not looked at, nothing counts against the profile, and it is free again."""
    box.plant(mail())
    before = await polled(there)
    server.answers["PASS"] = BUSY

    found = await remote(there)

    assert (found.looked, found.held, "IN-USE" in (found.why_not or "")) == (False, True, True)
    del server.answers["PASS"]
    async with there.serving() as serving:
        after = (await status_of(serving.parts.ledger)).profiles[0]
        assert (after.due_at, after.last_result) == (before.due_at, before.last_result)
        assert (await serving.poll()).last_result == "ok"


async def test_a_poll_that_takes_long_keeps_its_mailbox(
    server: Pop3Server, box: Mailbox, there: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, and then said to be polled; no second session begins."""
    monkeypatch.setattr(of_servers, "PATIENCE_SECONDS", 0.2)
    (stored,) = box.plant(mail())
    stored.stalls_after = 10
    async with there.serving() as serving:
        await server.stalled.wait()

        found = await remote(there)

        assert (found.looked, found.held, found.why_not) == (False, True, "it is being polled")
        assert server.sessions == 1
        await server.stop()
        await serving.until(lambda status: not status.profiles[0].polling)
