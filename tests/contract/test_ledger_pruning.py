"""What every ledger forgets, and what it never does: a mail is remembered as long as its server may list it again."""

import pytest

from common.ledger import Ledger
from common.ledger.pruning import BATCH, prunable
from common.ledger.records import DeliveryState, MailState
from common.ledger.sweeping import Return
from common.messages import Result
from common.retention import SHORTEST, USUAL
from tests.history import add_history
from tests.ledger import Scene, change, forget, outcome, profile

COPY = "f" * 64


async def deleted(scene: Scene, uidl: bytes) -> None:
    """Fetch, deliver and delete a mail."""
    await scene.fetch(uidl)
    await scene.deliver(await scene.route(uidl, "ann@example.com"))
    assert await scene.ledger.record_deleted(scene.lease, [scene.known[uidl].mail_id])


async def rows(scene: Scene) -> list[object]:
    """Return how many rows each table has that grows with mail."""
    return list(
        await scene.one(
            "SELECT (SELECT count(*) FROM mails), (SELECT count(*) FROM copies), (SELECT count(*) FROM deliveries), "
            "(SELECT count(*) FROM events)"
        )
    )


async def test_a_mail_is_forgotten_whole_once_its_time_has_passed(ledger: Ledger) -> None:
    """Its row, its copy, its deliveries; a mail deleted a day later is still known."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await deleted(scene, b"u1")
    assert await forget(scene, days=2) == 0
    await deleted(scene, b"u2")

    assert await forget(scene, days=89) == 1

    assert await scene.all("SELECT uidl_key FROM mails") == [(b"u2",)]
    assert await rows(scene) == [1, 1, 1, 0]


async def test_a_uidl_that_returns_is_known_until_then_and_new_afterwards(ledger: Ledger) -> None:
    """I3's bound: a mail that its server deleted, hid for all the retention and lists again is delivered again."""
    scene = await Scene.begin(ledger, b"u1")
    await deleted(scene, b"u1")
    await forget(scene, days=89)
    assert (await scene.list(b"u1"))[b"u1"].state is MailState.DELETED
    await scene.list()
    await scene.list()
    await forget(scene, days=91)
    assert (await scene.list(b"u1"))[b"u1"].state is MailState.LISTED


@pytest.mark.parametrize("state", ["fetched", "routed", "quarantined", "lost"])
async def test_what_is_not_settled_is_never_forgotten(ledger: Ledger, state: str) -> None:
    """On its way, or for a person to look at: however long ago its server listed it."""
    scene = await Scene.begin(ledger, b"u1")
    await deleted(scene, b"u1")
    await scene.age("UPDATE mails SET state = :state", state=state)
    assert await forget(scene, days=4000) == 0


@pytest.mark.parametrize("state", ["listed", "skipped", "kept"])
async def test_what_somebody_else_removed_is_forgotten_too(ledger: Ledger, state: str) -> None:
    """Before it was fetched, or kept by the profile's wish; while the server lists it, it stays."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.age("UPDATE mails SET state = :state", state=state)
    await scene.age("UPDATE mails SET unseen_since = progress_at WHERE uidl_key = :uidl", uidl=b"u1")
    assert await forget(scene, days=4000) == 1
    assert await scene.all("SELECT uidl_key FROM mails") == [(b"u2",)]


async def test_a_mail_whose_bytes_are_missed_is_never_forgotten(ledger: Ledger) -> None:
    """It was asked for, and its server hid it: whoever polls next finds it among the blobs, or tells of the loss."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.age("UPDATE mails SET unseen_since = progress_at")
    await scene.age("UPDATE mails SET asked_at = progress_at WHERE uidl_key = :uidl", uidl=b"u1")
    await scene.age("UPDATE mails SET digest = uidl WHERE uidl_key = :uidl", uidl=b"u2")
    assert await forget(scene, days=4000) == 0


@pytest.mark.parametrize("undone", [DeliveryState.PENDING, DeliveryState.DEFERRED, DeliveryState.QUARANTINED])
async def test_a_mail_with_an_undone_delivery_stays(ledger: Ledger, undone: DeliveryState) -> None:
    """Somebody doesn't have it: its rows are what finds it again."""
    scene = await Scene.begin(ledger, b"u1")
    await deleted(scene, b"u1")
    await scene.age("UPDATE deliveries SET state = :state", state=undone.value)
    assert await forget(scene, days=4000) == 0
    assert await rows(scene) == [1, 1, 1, 0]


async def test_the_mails_of_a_copy_go_together(ledger: Ledger) -> None:
    """One of them is still on the server: its deliveries are told by the copy, so all of it stays."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    for uidl in (b"u1", b"u2"):
        await scene.fetch(uidl)
        await scene.deliver(await scene.route(uidl, "ann@example.com", fingerprint=COPY))
    assert await ledger.record_deleted(scene.lease, [scene.known[b"u1"].mail_id])
    assert await forget(scene, days=4000) == 0
    assert await ledger.record_deleted(scene.lease, [scene.known[b"u2"].mail_id])
    assert await forget(scene, days=91) == 2
    assert await rows(scene) == [0, 0, 0, 0]


async def test_a_mailbox_that_nobody_polls_forgets_nothing(ledger: Ledger) -> None:
    """Disabled for a year, it may list anything: only a poll long after the mail had gone shows that it is gone."""
    scene = await Scene.begin(ledger, b"u1")
    await deleted(scene, b"u1")
    await scene.age("UPDATE mails SET unseen_since = unseen_since - :past", past=USUAL * 2000)
    for polled, forgotten in ((None, 0), (SHORTEST - 60, 0), (SHORTEST + 60, 1)):
        since = "UPDATE schedule SET last_success_at = (SELECT unseen_since FROM mails) + :polled"
        await scene.age(since, polled=None if polled is None else polled * 1000)
        assert await ledger.prune(USUAL) == forgotten


async def test_a_removed_profile_s_mails_are_forgotten_by_time_alone(ledger: Ledger) -> None:
    """It will never be polled again."""
    scene = await Scene.begin(ledger, b"u1")
    await deleted(scene, b"u1")
    await ledger.sync_profiles([], managed_by="file")
    await scene.age("UPDATE mails SET unseen_since = unseen_since - :past", past=USUAL * 2000)
    assert await ledger.prune(USUAL) == 1


async def test_pruning_goes_in_batches(ledger: Ledger) -> None:
    """What is counted before is what goes, and no transaction takes more than a batch."""
    await ledger.sync_profiles([profile()], managed_by="file")
    (lease,) = await ledger.claim_due("test", 1)
    await add_history(ledger, [(lease.profile.mailbox, lease.profile_id)], count=3 * BATCH, days=300)
    await change(ledger, "UPDATE schedule SET last_success_at = (SELECT max(unseen_since) FROM mails)")
    counted = await ledger.read(lambda connection: prunable(connection, USUAL))
    assert 2 * BATCH < counted < 3 * BATCH
    assert [await ledger.prune(USUAL) for _ in range(4)] == [BATCH, BATCH, counted - 2 * BATCH, 0]
    assert await ledger.read(lambda connection: prunable(connection, USUAL)) == 0


async def test_a_delivery_that_was_put_off_when_its_mail_vanished_keeps_the_mail(ledger: Ledger) -> None:
    """The server hid the mail on RETR; its recipient was to be tried again: the row stays until he has it."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    await ledger.settle(outcome(planned.delivery_id, planned.mail_id, 1, Result.DEFERRED, code=450))
    await scene.list()
    await scene.list()
    assert await forget(scene, days=4000) == 0
    await ledger.fetch_again(Return(delivery_ids=(planned.delivery_id,), counted=True))
    assert await scene.state(b"u1") == "lost"
    assert await forget(scene, days=4000) == 0
