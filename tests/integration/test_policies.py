"""What a profile wishes of its mailbox: how long mail stays, how much is fetched at once, and in which order."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from common.hours import DAYS
from common.ledger.reading import unrecorded
from tests.integration.service import install
from tests.integration.test_custody import at_work
from tests.mails import mail
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.servers.pop3_mailbox import Mailbox
from tests.servers.smtp import SmtpServer

A_DAY_MS = 86_400_000


async def test_mail_kept_for_days_is_verified_before_it_is_deleted(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """Two of three mails are old enough; one of those has had its UIDL taken by another mail meanwhile."""
    mails = [mail(size=900) for _ in range(3)]
    box.plant(*mails)
    async with at_work(tmp_path, server, keep="14d") as (service, first):
        assert first.mails == {"kept": 3}
        assert box.deleted == []
        other = mail(size=900)
        box.mails[0].raw = other
        old = ",".join(f"X'{stored.uidl.hex()}'" for stored in box.mails[:2])
        await service.age(
            f"UPDATE mails SET progress_at = progress_at - {14 * A_DAY_MS} WHERE uidl IN ({old})"  # noqa: S608 (constants)
        )

        end = await service.poll()

        assert box.deleted == [mails[1]]
        assert end.mails == {"deleted": 1, "kept": 3}
        assert service.got(*mails, other)


async def test_mail_that_is_too_large_is_skipped_told_once_and_left(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """A day later it is looked at again, and said nothing of."""
    small, large = mail(size=900), mail(size=5000)
    box.plant(large, small)
    async with at_work(tmp_path, server, max_size="4kB") as (service, first):
        assert first.mails == {"deleted": 1, "skipped": 1}
        await service.age(f"UPDATE mails SET progress_at = progress_at - {A_DAY_MS}")  # noqa: S608 (a constant)

        end = await service.poll()

        assert end.mails == {"deleted": 1, "skipped": 1}
        assert [stored.raw for stored in box.mails] == [large]
        assert box.mails[0].retrieved == 0
        assert [event["reason"] for event in service.there.events("mail_skipped")] == ["larger than max_size: 4000"]


@pytest.mark.parametrize(("mails_a_poll", "octets_a_poll"), [(2, "1GB"), (1000, "1900B")])
async def test_a_poll_fetches_no_more_than_is_wished(
    server: Pop3Server, box: Mailbox, tmp_path: Path, mails_a_poll: int, octets_a_poll: str
) -> None:
    """The next one, an interval later, goes on where it stopped; the newest came first."""
    mails = [mail(size=900) for _ in range(5)]
    box.plant(*mails)
    wishes: dict[str, Any] = {"order": "newest", "max_mails": mails_a_poll, "max_octets": octets_a_poll}
    async with at_work(tmp_path, server, **wishes) as (service, first):
        assert first.mails == {"deleted": 2, "listed": 3}
        assert sorted(box.deleted) == sorted(mails[-2:])
        assert first.due_at is not None
        assert first.due_at - first.read_at > 400_000

        end = await service.poll()

        assert end.mails == {"deleted": 4, "listed": 1}


async def test_pull_says_why_it_may_not_poll(server: Pop3Server, tmp_path: Path) -> None:
    """Outside its hours a mailbox is left alone, also when a person asks."""
    server.mailbox("office").plant(mail())
    today = datetime.now(UTC).weekday()
    hours = f"{DAYS[(today + 3) % 7]} 10:00-11:00"
    account = {"name": "office", "server": server.server, "user": "office", "password": "file:office.secret"}
    wishes: dict[str, object] = {"local_user": "ann@local.example", "hours": [hours], "time_zone": "UTC"}
    there = install(tmp_path, {**account, **wishes}, password=PASSWORD)

    ended = await asyncio.to_thread(there.pps, "pull", "office")

    assert ended.code == 1
    assert f"office: not polled now: outside its hours: {hours} (UTC)" in ended.err
    assert server.sessions == 0


@pytest.mark.parametrize("new_uidls", ["pause", "adopt", "fetch"])
async def test_a_renumbered_mailbox_is_not_delivered_again_unless_that_is_wished(
    server: Pop3Server, box: Mailbox, tmp_path: Path, new_uidls: str
) -> None:
    """All known mails come under new UIDLs, and a new one with them."""
    mails = [mail() for _ in range(12)]
    box.plant(*mails)
    async with at_work(tmp_path, server, keep=True, new_uidls=new_uidls) as (service, first):
        assert first.mails == {"kept": 12}
        box.mails.clear()
        another = mail()
        for number, raw in enumerate([*mails, another]):
            box.plant(raw, uidl=b"again-%d" % number)

        end = await service.poll()

        if new_uidls == "pause":
            assert (end.last_result, end.due_at) == ("paused", None)
            assert "renumbered its mailbox: 12 of 13 mails" in (end.last_error or "")
            assert service.got(*mails)
        elif new_uidls == "adopt":
            assert end.mails == {"kept": 13}
            assert service.got(*mails, another)
        else:
            assert service.got(*mails, *mails, another)
        assert box.deleted == []


async def test_a_server_that_hides_mail_is_found_out(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """A mail that is not delivered yet is gone from the listing: from then on each is on our disk first."""
    box.hides = True
    box.plant(mail())
    target = SmtpServer(lmtp=True)
    await target.start()
    await target.stop()
    async with at_work(tmp_path, server, to=target.url) as (service, first):
        assert first.mails == {"routed": 1}

        for _ in range(2):  # an empty listing is believed when it is seen twice
            await service.poll()

        (found,) = service.there.events("mail_is_hidden_once_retrieved")
        assert found["mails"] == 1
        await service.poll()
        assert len(service.there.events("mail_is_hidden_once_retrieved")) == 1


async def test_a_mailbox_that_lists_in_parts_is_polled_until_nothing_new_comes(
    server: Pop3Server, tmp_path: Path
) -> None:
    """Gmail shows a part of what there is, and more once that was fetched."""
    account = server.mailbox("recent:office")
    mails = [mail() for _ in range(5)]
    stored = account.plant(*mails)
    for late in stored[2:]:
        late.listed = False

    async with at_work(tmp_path, server, user="recent:office", interval="1h") as (service, first):
        assert first.mails == {"deleted": 2}
        assert server.sessions == 2
        for late in stored[2:]:
            late.listed = True
        await service.poll()
        assert service.got(*mails)


async def test_mail_that_is_kept_is_unmarked_where_retr_marks_it_deleted(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """Some servers take what was retrieved at QUIT, whether or not anybody said DELE: RSET prevents it."""
    mails = [mail(), mail()]
    box.plant(*mails)
    box.takes = True
    async with at_work(tmp_path, server, keep=True) as (service, first):
        assert first.mails == {"kept": 2}
        assert [stored.raw for stored in box.mails] == mails
        assert server.commands[-2:] == ["RSET", "QUIT"]
        assert service.got(*mails)


async def test_mail_that_is_not_delivered_yet_is_unmarked_where_retr_marks_it_deleted(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """The target is down when the session ends: the server's copy is the durable one, and must outlive QUIT."""
    raw = mail()
    box.plant(raw)
    box.takes = True
    target = SmtpServer(lmtp=True)
    await target.start()
    await target.stop()
    async with at_work(tmp_path, server, to=target.url) as (_, first):
        assert first.mails == {"routed": 1}
        assert [stored.raw for stored in box.mails] == [raw]
        assert box.deleted == []
        assert server.commands[-2:] == ["RSET", "QUIT"]


async def test_a_mail_whose_uidl_comes_late_is_not_delivered_again(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """The server left some out of UIDL for once; what is really new is known by its own UIDL."""
    mails = [mail(), mail(), mail()]
    stored = box.plant(*mails)
    stored[0].numbered = stored[2].numbered = False
    async with at_work(tmp_path, server, keep=True) as (service, first):
        assert first.mails == {"kept": 3}
        stored[0].numbered = stored[2].numbered = True
        new = mail()
        box.plant(new, uidl=b"new")

        await service.poll()
        end = await service.poll()

        assert end.mails == {"kept": 4}
        assert service.got(*mails, new)
        read = service.serving.parts.ledger.read
        lease_mailbox = service.serving.parts.config.profiles[0].mailbox
        assert await read(lambda c: unrecorded(c, lease_mailbox, [b"new", b"newer"])) == {b"newer"}


async def test_a_mail_thought_lost_is_found_again_under_a_new_uidl(
    server: Pop3Server, box: Mailbox, tmp_path: Path
) -> None:
    """It was to be fetched again when the mailbox was renumbered: once its row is adopted, it is."""
    mails = [mail() for _ in range(12)]
    box.plant(*mails)
    async with at_work(tmp_path, server, keep=True, new_uidls="adopt") as (service, _):
        await service.age("UPDATE mails SET state = 'lost' WHERE uidl = X'7569646c2d31'")
        box.mails.clear()
        for number, raw in enumerate(mails):
            box.plant(raw, uidl=b"again-%d" % number)

        await service.poll()

        await service.until(kept=12)
        assert service.got(*mails)
