"""A mailbox over its quota, on a real Dovecot: its mail waits, nobody else's does, and nothing is doubled."""

from pathlib import Path

import pytest

from fetcher import session, sweep
from tests.integration.service import catch_all, install
from tests.maildir import canonical, without_trace
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox


async def test_one_recipient_over_quota_holds_up_only_himself(
    mailbox: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ann has hers at once; Bob's is tried again, and comes once when there is room; only then is the mail deleted."""
    monkeypatch.setattr(sweep, "INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(session, "SETTLE_SECONDS", 1.0)
    dovecot = mailbox.dovecot
    planted = mail(to="ann@local.example, bob@local.example", size=20_000)
    mailbox.plant(planted)
    target = {"url": f"lmtp://127.0.0.1:{dovecot.lmtp_port}", "connections": 1}
    there = install(tmp_path, catch_all(mailbox, interval="1h"), targets={"local": target})

    def holds(user: str) -> int:
        return sum(canonical(without_trace(raw)) == canonical(planted) for raw in dovecot.inbox(user))

    dovecot.limit("bob", 10_000)
    try:
        async with there.serving() as service:
            await service.until(
                lambda status: (
                    status.deliveries.get("local") == {"delivered": 1, "deferred": 1} and not status.profiles[0].polling
                )
            )
            [refused] = there.events("delivery_attempted", result="deferred")
            before = (holds("ann"), holds("bob"), len(mailbox.remaining()))
            dovecot.limit("bob", None)
            await service.make_due()
            await service.until(lambda status: status.deliveries.get("local") == {"delivered": 2})
            await service.until(lambda status: not status.profiles[0].polling)
            await service.poll()
    finally:
        dovecot.limit("bob", None)

    assert ".2.2 " in refused["reply"]
    assert before == (1, 0, 1)
    assert (holds("ann"), holds("bob"), mailbox.remaining()) == (1, 1, [])
