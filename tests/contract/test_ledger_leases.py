"""Who polls a mailbox, in every ledger: one fetcher at a time, and what ends a profile's polls."""

import asyncio

import pytest

from common.failures import PollResult
from common.ledger import LeaseLostError, Ledger
from common.ledger.records import Fetched
from common.ledger.schedule import PollEnd
from tests.ledger import Scene, change, profile


async def test_writes_under_a_lost_lease_change_nothing(ledger: Ledger) -> None:
    """A fetcher that slept over its lease must not write: another polls the mailbox."""
    scene = await Scene.begin(ledger, b"u1")
    await change(ledger, "UPDATE schedule SET lease_until = 0")
    (second,) = await ledger.claim_due("other", 10)
    assert second.epoch == scene.lease.epoch + 1

    assert await scene.fetch(b"u1") is Fetched.STALE
    assert not await ledger.record_deleted(scene.lease, [scene.known[b"u1"].mail_id])
    assert not await ledger.renew_lease(scene.lease)
    with pytest.raises(LeaseLostError):
        await scene.list(b"u1")
    assert await scene.state(b"u1") == "listed"


async def test_a_profile_is_leased_to_one_fetcher(ledger: Ledger) -> None:
    """Ten claims at once, one lease."""
    await ledger.sync_profiles([profile()], managed_by="file")
    claims = await asyncio.gather(*(ledger.claim_due(f"worker-{n}", 10) for n in range(10)))
    assert sum(len(claim) for claim in claims) == 1


async def test_a_refused_password_counts_until_a_success(ledger: Ledger) -> None:
    """The ladder of auth failures stands in the schedule, and a good poll clears it."""
    await ledger.sync_profiles([profile()], managed_by="file")
    for expected in (0, 1):
        (lease,) = await ledger.claim_due("test", 10)
        assert lease.auth_failures == expected
        await ledger.end_poll(PollEnd(lease=lease, result=PollResult.AUTH, error="no", due_in=0))
    (lease,) = await ledger.claim_due("test", 10)
    await ledger.end_poll(PollEnd(lease=lease, result=PollResult.OK, error=None, due_in=0))
    (lease,) = await ledger.claim_due("test", 10)
    assert lease.auth_failures == 0


async def test_a_stopped_profile_is_woken_by_a_person(ledger: Ledger) -> None:
    """No due time means never; `set_due` means now."""
    scene = await Scene.begin(ledger)
    await ledger.end_poll(PollEnd(lease=scene.lease, result=PollResult.AUTH, error="no", due_in=None))
    assert await ledger.seconds_to_next_poll() is None
    assert await ledger.claim_due("test", 10) == ()

    assert await ledger.set_due("office")

    assert len(await ledger.claim_due("test", 10)) == 1
    assert not await ledger.set_due("nobody")


async def test_a_profile_edited_during_its_poll_is_due_at_once(ledger: Ledger) -> None:
    """What the poll under the old settings says of the next, or of the password, is not about the new ones."""
    scene = await Scene.begin(ledger)
    await ledger.sync_profiles([profile(interval="1h")], managed_by="file")

    await ledger.end_poll(PollEnd(lease=scene.lease, result=PollResult.AUTH, error="no", due_in=None))

    (lease,) = await ledger.claim_due("test", 10)
    assert (lease.profile.interval, lease.auth_failures) == (3600, 0)


async def test_a_profile_no_longer_named_is_disabled_and_keeps_its_rows(ledger: Ledger) -> None:
    """Deleting a profile from the file stops its polls; what is under way is still settled."""
    scene = await Scene.begin(ledger, b"u1")
    await ledger.sync_profiles([], managed_by="file")
    await change(ledger, "UPDATE schedule SET lease_until = NULL")
    assert await ledger.claim_due("test", 10) == ()
    assert await scene.state(b"u1") == "listed"
