"""A lease that is taken away while a session is at work under it: another fetcher may have the mailbox by now."""

from pathlib import Path

import pytest

from fetcher import poll
from tests.integration.service import install
from tests.ledger import change
from tests.mails import mail
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.servers.pop3_mailbox import Mailbox


async def test_a_session_whose_lease_is_lost_is_dropped_and_deletes_nothing(
    server: Pop3Server, box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next renewal notices, however long the server is silent; the next poll goes on where this one was."""
    monkeypatch.setattr(poll, "RENEW_SECONDS", 0.05)
    mails = [mail(to="ann@local.example"), mail(to="ann@local.example", size=3_000)]
    stored = box.plant(*mails)
    stored[1].stalls_after = 1_000
    account = {"name": "office", "server": server.server, "user": "office", "local_user": "ann@local.example"}
    there = install(tmp_path, {**account, "password": "file:office.secret", "interval": "1h"}, password=PASSWORD)
    async with there.serving() as service:
        await server.stalled.wait()
        await change(service.parts.ledger, "UPDATE schedule SET lease_epoch = lease_epoch + 1, lease_until = 0")
        await service.until(lambda _status: bool(there.events("lease_lost")))
        assert (server.sessions, box.deleted) == (1, [])
        assert "QUIT" not in server.commands

        stored[1].stalls_after = None
        await service.poll()
        await service.until(lambda _status: len(box.deleted) == 2)

    assert sorted(box.deleted) == sorted(mails)
    assert len(there.inbox("ann")) == 2
