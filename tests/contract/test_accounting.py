"""The ledger is read whole, and each mail is in one count: on both databases, and in batches of any size."""

from typing import Final

import pytest

from common.ledger import accounting
from common.ledger.accounting import by_content, by_uidl, deliveries, empty_copies, mails, mails_now, on_server, polled
from common.messages import Result
from manager.verify.account import Account, Report
from manager.verify.of_ledger import check_copies, count_mails
from manager.verify.of_targets import Targets
from tests.contract.reader import Asked, asked
from tests.ledger import Scene, outcome

__all__ = ["asked"]

UIDLS: Final = tuple(b"\xffu%d" % number for number in range(8))


async def of_all_kinds(asked: Asked) -> Scene:
    """Return a scene with a mail in every state, and more than one in some."""
    ledger = asked.ledger
    scene = await Scene.begin(ledger, *UIDLS)
    for uidl in UIDLS[:6]:
        await scene.fetch(uidl)
    for uidl in UIDLS[:3]:
        await scene.deliver(await scene.route(uidl, "ann@example.com", "bob@example.com"))
    ids = {uidl: scene.known[uidl].mail_id for uidl in UIDLS}
    await ledger.record_deleted(scene.lease, [ids[UIDLS[0]]])
    await ledger.record_kept(scene.lease, [ids[UIDLS[1]]])
    (refused,) = (await scene.route(UIDLS[3], "ann@example.com")).deliveries
    await ledger.settle(outcome(refused.delivery_id, refused.mail_id, 1, Result.REFUSED, code=554))
    await scene.route(UIDLS[4], "ann@example.com")
    await ledger.record_skipped(scene.lease, [ids[UIDLS[6]]], "too large")
    await scene.list(*UIDLS[1:7])  # the last was removed by somebody else
    return scene


@pytest.mark.parametrize("batch", [2, 1000])
async def test_every_mail_is_in_one_count(asked: Asked, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """However many are read at a time."""
    monkeypatch.setattr(accounting, "BATCH", batch)
    scene = await of_all_kinds(asked)
    report = Report(at=0, accounts={scene.lease.profile_id: Account(name="office")})

    await count_mails(asked.reader, None, report)
    await check_copies(asked.reader, {scene.lease.profile.mailbox: scene.lease.profile_id}, report)
    await Targets(asked.reader, {}, report).check()

    (found,) = report.accounts.values()
    counts = (found.deleted, found.kept, found.done, found.quarantined, found.skipped, found.removed, found.lost)
    assert counts == (1, 1, 1, 1, 1, 1, 0)
    assert (found.under_way, found.mails, found.delivered, found.on_server) == (2, 8, 3, 6)
    assert report.breaches == []
    assert (report.targets["local"].delivered, report.targets["local"].transport) == (6, "reply")


async def test_mails_are_found_by_what_a_server_calls_them(asked: Asked) -> None:
    """UIDLs are octets of any kind."""
    scene = await of_all_kinds(asked)
    mailbox = scene.lease.profile.mailbox

    known = await by_uidl(asked.reader, mailbox, {*UIDLS, b"other"})

    assert set(known) == set(UIDLS)
    assert known[UIDLS[0]]["state"] == "deleted"
    assert await by_uidl(asked.reader, "another", UIDLS) == {}
    assert len(await by_content(asked.reader, mailbox, b"\xffu3", b"\xffu5")) == 2
    listed = [bytes(row["uidl_key"]) async for rows in on_server(asked.reader, mailbox) for row in rows]
    assert sorted(listed) == sorted(UIDLS[1:7])
    assert (await polled(asked.reader, scene.lease.profile_id))["listed"] == 6


async def test_copies_and_deliveries_are_read_whole(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy with nobody is told; a delivery comes with what its mail's bytes must be."""
    monkeypatch.setattr(accounting, "BATCH", 3)
    scene = await of_all_kinds(asked)
    await scene.age("INSERT INTO copies SELECT 'f', mailbox, 'none', first_seen FROM copies LIMIT 1")

    empty = [row["id"] async for rows in empty_copies(asked.reader) for row in rows]
    rows = [row async for batch in deliveries(asked.reader) for row in batch]

    assert empty == ["f"]
    assert len(rows) == 8
    assert all(row["mail"] == row["mail_id"] and row["octets"] == 100 for row in rows)
    (row,) = await mails_now(asked.reader, {scene.known[UIDLS[1]].mail_id})
    assert (row.state, row.pieces, row.taken, row.own_undone) == ("kept", 2, 2, 0)
    assert len([row async for batch in mails(asked.reader) for row in batch]) == 8
