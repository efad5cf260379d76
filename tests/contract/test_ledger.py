"""What every ledger keeps: one suite, run on SQLite and on PostgreSQL."""

import asyncio
from pathlib import Path

import pytest
import structlog

from common.failures import PollResult, PpsError
from common.ledger import LeaseLostError, Ledger, RowRejectedError
from common.ledger.claiming import HeldClaim
from common.ledger.records import Claim, ClaimRequest, DeliveryState, Fetched, MailState, PlannedRecipient, RoutedMail
from common.ledger.schedule import PollEnd
from common.ledger.sweeping import Return
from common.messages import Result, Stage
from tests.ledger import Scene, change, digest, outcome, profile

log = structlog.get_logger()


async def test_a_mail_goes_from_listed_to_deleted(ledger: Ledger) -> None:
    """The whole life of one mail with two recipients: deletable only when both have it."""
    scene = await Scene.begin(ledger, b"u1")
    assert await scene.fetch(b"u1") is Fetched.RECORDED
    route = await scene.route(b"u1", "ann@example.com", "bob@example.com")
    assert [planned.recipient for planned in route.deliveries] == ["ann@example.com", "bob@example.com"]

    first, second = await scene.deliver(route)

    mail_id = scene.known[b"u1"].mail_id
    assert first.deletable == ()
    assert second.deletable == (mail_id,)
    assert await ledger.record_deleted(scene.lease, [mail_id])
    assert await scene.state(b"u1") == "deleted"


async def test_a_mail_without_deliveries_is_never_deletable(ledger: Ledger) -> None:
    """I2 wants at least one delivery: routing that named nobody must not empty the mailbox."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await scene.route(b"u1")

    assert await ledger.deletable([scene.known[b"u1"].mail_id]) == set()


async def test_a_listing_is_recorded_once(ledger: Ledger) -> None:
    """The same UIDL in the next listing is the same mail, under the same id."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    first = dict(scene.known)

    again = await scene.list(b"u2", b"u1", b"u3")

    assert again[b"u1"].mail_id == first[b"u1"].mail_id
    assert set(again) == {b"u1", b"u2", b"u3"}


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


async def test_a_copy_gets_the_union_of_its_mails_recipients(ledger: Ledger) -> None:
    """The provider stored one mail a recipient: each recipient is delivered once, and both mails become deletable."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.fetch(b"u1")
    await scene.fetch(b"u2")
    first, second = await asyncio.gather(
        scene.route(b"u1", "ann@example.com", "bob@example.com", fingerprint="f" * 64),
        scene.route(b"u2", "bob@example.com", "carol@example.com", fingerprint="f" * 64),
    )
    recipients = [planned.recipient for route in (first, second) for planned in route.deliveries]
    assert sorted(recipients) == ["ann@example.com", "bob@example.com", "carol@example.com"]
    assert {first.joined, second.joined} == {True, False}

    await scene.deliver(first)
    settled = await scene.deliver(second)

    both = {scene.known[b"u1"].mail_id, scene.known[b"u2"].mail_id}
    assert set(settled[-1].deletable) == both
    assert await ledger.deletable(sorted(both)) == both


async def test_an_old_copy_is_not_joined(ledger: Ledger) -> None:
    """After three days an equal mail is another mail."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com", fingerprint="f" * 64))
    await scene.age("UPDATE copies SET first_seen = first_seen - 4 * 86400000")
    await scene.fetch(b"u2")

    route = await scene.route(b"u2", "ann@example.com", fingerprint="f" * 64)

    assert not route.joined
    assert len(route.deliveries) == 1


async def test_a_copy_with_a_discarded_delivery_is_not_joined(ledger: Ledger) -> None:
    """What a person threw away once must not swallow the next mail."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.fetch(b"u1")
    await scene.route(b"u1", "ann@example.com", fingerprint="f" * 64)
    await scene.age("UPDATE deliveries SET state = 'discarded'")
    await scene.fetch(b"u2")

    assert not (await scene.route(b"u2", "ann@example.com", fingerprint="f" * 64)).joined


async def test_a_mail_that_somebody_put_back_is_delivered_again(ledger: Ledger) -> None:
    """The same bytes under a new UIDL, listed after we deleted them: a person restored them on purpose."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1", content="same")
    await scene.deliver(await scene.route(b"u1", "ann@example.com", fingerprint="f" * 64, content="same"))
    await ledger.record_deleted(scene.lease, [scene.known[b"u1"].mail_id])
    await scene.age("UPDATE mails SET deleted_at = deleted_at - 1000")
    await scene.list(b"u2")
    await scene.fetch(b"u2", content="same")

    route = await scene.route(b"u2", "ann@example.com", fingerprint="f" * 64, content="same")

    assert not route.joined
    assert len(route.deliveries) == 1


async def test_routing_twice_makes_the_same_rows(ledger: Ledger) -> None:
    """A router that crashed after its commit does it again: same deliveries, no second set."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    first = await scene.route(b"u1", "ann@example.com")
    second = await scene.route(b"u1", "ann@example.com")
    assert [p.delivery_id for p in first.deliveries] == [p.delivery_id for p in second.deliveries]


async def test_a_delivery_follows_its_profile_to_a_new_target(ledger: Ledger) -> None:
    """The administrator corrected the target: mail that waited for the wrong one goes to the right one."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (first,) = (await scene.route(b"u1", "ann@example.com", target="wrong")).deliveries
    (second,) = (await scene.route(b"u1", "ann@example.com", target="right")).deliveries
    assert (first.delivery_id, first.target) == (second.delivery_id, "wrong")
    assert second.target == "right"
    assert (await scene.one("SELECT target FROM deliveries"))[0] == "right"


async def test_a_stale_fetch_routes_nothing(ledger: Ledger) -> None:
    """A message of an earlier fetch, found after the mail was sent back, is dropped."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await ledger.fetch_again(Return(mail_ids=(scene.known[b"u1"].mail_id,), counted=True))

    route = await scene.route(b"u1", "ann@example.com")

    assert route.stale
    assert route.deliveries == ()


async def test_a_delivery_has_one_claim(ledger: Ledger) -> None:
    """The same job published twice: one attempt."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    request = ClaimRequest(delivery_id=planned.delivery_id, attempt=1, repeatable=True)
    claims = await asyncio.gather(*(ledger.claim(request) for _ in range(5)))
    assert sorted(claim.claim for claim in claims) == [Claim.DENIED] * 4 + [Claim.FIRST]


async def test_a_claim_that_ran_out_is_ambiguous_unless_the_target_can_tell(ledger: Ledger) -> None:
    """A Maildir recognises the second delivery, an SMTP server does not."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    smtp = ClaimRequest(delivery_id=planned.delivery_id, attempt=1, repeatable=False)
    maildir = ClaimRequest(delivery_id=planned.delivery_id, attempt=1, repeatable=True)
    held = await ledger.claim(smtp)
    await scene.age("UPDATE deliveries SET claimed_until = 1")

    assert (await ledger.claim(smtp)).claim is Claim.EXPIRED
    assert (await ledger.claim(maildir)).claim is Claim.AGAIN
    assert not await ledger.renew(HeldClaim(delivery_id=planned.delivery_id, attempt=1, token=held.token))


async def test_a_released_claim_may_be_taken_at_once(ledger: Ledger) -> None:
    """A worker that stops gives back what it has not begun: no attempt is counted, and no doubt is left."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    request = ClaimRequest(delivery_id=planned.delivery_id, attempt=1, repeatable=False)
    held = await ledger.claim(request)
    assert await ledger.release(HeldClaim(delivery_id=planned.delivery_id, attempt=1, token=held.token))
    assert (await ledger.claim(request)).claim is Claim.AGAIN


async def test_delivered_wins_whenever_it_comes(ledger: Ledger) -> None:
    """Twice, late, out of order: states never go back."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    deferred = outcome(planned.delivery_id, planned.mail_id, 1, Result.DEFERRED, code=450, reply="450 later")

    assert (await ledger.settle(deferred)).state is DeliveryState.DEFERRED
    assert not (await ledger.settle(deferred)).applied
    late = await ledger.settle(outcome(planned.delivery_id, planned.mail_id, 1))
    assert late.state is DeliveryState.DELIVERED
    assert late.deletable == (planned.mail_id,)
    after = outcome(planned.delivery_id, planned.mail_id, 2, Result.REFUSED, code=554)
    assert not (await ledger.settle(after)).applied


async def test_contradicting_outcomes_in_one_commit_end_delivered(ledger: Ledger) -> None:
    """Two outcomes of one delivery that are settled together: delivered wins."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    await asyncio.gather(
        ledger.settle(outcome(planned.delivery_id, planned.mail_id, 1, Result.AMBIGUOUS)),
        ledger.settle(outcome(planned.delivery_id, planned.mail_id, 1)),
    )
    assert (await scene.one("SELECT state FROM deliveries"))[0] == "delivered"


async def test_a_deferred_delivery_comes_due(ledger: Ledger) -> None:
    """The sweeper gets it once its time has come, for the next attempt, and only once."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    settled = await ledger.settle(outcome(planned.delivery_id, planned.mail_id, 1, Result.DEFERRED, code=452))
    assert settled.next_attempt_in is not None
    assert 240 <= settled.next_attempt_in <= 360
    assert await ledger.take_due() == ()
    await scene.age("UPDATE deliveries SET next_attempt_at = 1")

    (due,) = await ledger.take_due()

    assert due.retry
    assert due.planned.attempt == 2
    assert await ledger.take_due() == ()


async def test_a_delivery_tried_for_five_days_is_quarantined(ledger: Ledger) -> None:
    """Doubt is bounded, and ends with the target's own words."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    await scene.age("UPDATE deliveries SET created_at = created_at - 5 * 86400000")
    settled = await ledger.settle(outcome(planned.delivery_id, planned.mail_id, 1, Result.DEFERRED, reply="452 full"))
    assert settled.state is DeliveryState.QUARANTINED
    assert "452 full" in str((await scene.one("SELECT last_reply FROM deliveries"))[0])
    assert await ledger.deletable([planned.mail_id]) == set()


async def test_three_ambiguous_attempts_are_quarantined(ledger: Ledger) -> None:
    """Each may have delivered: a fourth is a person's decision."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    states = [
        (await ledger.settle(outcome(planned.delivery_id, planned.mail_id, attempt, Result.AMBIGUOUS))).state
        for attempt in (1, 2, 3)
    ]
    assert states == [DeliveryState.DEFERRED, DeliveryState.DEFERRED, DeliveryState.QUARANTINED]


async def test_an_unknown_user_is_redirected_to_the_fallback(ledger: Ledger) -> None:
    """The mail goes to the fallback user, with the reason, and is deletable once that user has it."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "nobody@example.com")).deliveries
    refused = outcome(
        planned.delivery_id,
        planned.mail_id,
        1,
        Result.REFUSED,
        code=550,
        enhanced="5.1.1",
        reply="550 5.1.1 unknown",
        stage=Stage.RCPT,
    )
    settled = await ledger.settle(refused)
    assert settled.state is DeliveryState.REDIRECTED
    assert settled.deletable == ()

    (due,) = await ledger.take_due()

    assert due.planned.recipient == "postmaster@example.com"
    assert "550 5.1.1 unknown" in due.planned.reason
    after = await ledger.settle(outcome(due.planned.delivery_id, planned.mail_id, 1))
    assert after.deletable == (planned.mail_id,)


async def test_a_recipient_who_had_mail_lately_is_not_redirected(ledger: Ledger) -> None:
    """Unknown since this morning means a broken user table: wait, and don't spill the mail to the fallback."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com"))
    await scene.fetch(b"u2")
    (planned,) = (await scene.route(b"u2", "ann@example.com")).deliveries
    refused = outcome(planned.delivery_id, planned.mail_id, 1, Result.REFUSED, code=550, stage=Stage.RCPT)
    assert (await ledger.settle(refused)).state is DeliveryState.DEFERRED


async def test_other_refusals_are_quarantined(ledger: Ledger) -> None:
    """A refused mail is neither bounced nor deleted: a person decides."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    refused = outcome(planned.delivery_id, planned.mail_id, 1, Result.REFUSED, code=554, reply="554 spam")
    assert (await ledger.settle(refused)).state is DeliveryState.QUARANTINED
    assert await ledger.deletable([planned.mail_id]) == set()
    (item,) = (await ledger.status()).quarantined
    assert item.reason == "554 spam"


async def test_a_mail_without_bytes_is_fetched_again(ledger: Ledger) -> None:
    """`no_content` sends the mail back; fetched and routed again it has the same delivery."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    await ledger.settle(outcome(planned.delivery_id, planned.mail_id, 1, Result.NO_CONTENT))
    assert await scene.state(b"u1") == "listed"

    await scene.list(b"u1")
    await scene.fetch(b"u1")
    (again,) = (await scene.route(b"u1", "ann@example.com")).deliveries

    assert again.delivery_id == planned.delivery_id
    assert again.attempt == 1


async def test_a_mail_sent_back_five_times_is_quarantined(ledger: Ledger) -> None:
    """Something about it needs a person."""
    scene = await Scene.begin(ledger, b"u1")
    for _ in range(5):
        await scene.list(b"u1")
        await scene.fetch(b"u1")
        await ledger.fetch_again(Return(mail_ids=(scene.known[b"u1"].mail_id,), counted=True))
    assert await scene.state(b"u1") == "quarantined"


async def test_a_mail_whose_bytes_are_gone_everywhere_is_lost_and_said_so(ledger: Ledger) -> None:
    """Never silent: it stands in the status; and if the server lists it again, it is fetched."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.fetch(b"u1")
    await scene.list(b"u2")
    await ledger.fetch_again(Return(mail_ids=(await _id_of(scene, b"u1"),), counted=True))
    assert await scene.state(b"u1") == "lost"
    assert "lost" in (await ledger.status()).quarantined[0].reason

    await scene.list(b"u1", b"u2")
    assert await scene.state(b"u1") == "listed"


async def _id_of(scene: Scene, uidl: bytes) -> str:
    return str((await scene.one("SELECT id FROM mails WHERE uidl_key = :uidl", uidl=uidl))[0])


async def test_a_mail_to_be_fetched_again_that_vanishes_is_lost_not_forgotten(ledger: Ledger) -> None:
    """Ann has it, Bob's job was lost, and then the server hid the mail: Bob's piece is an alarm, and never pruned."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.fetch(b"u1")
    route = await scene.route(b"u1", "ann@example.com", "bob@example.com")
    await ledger.settle(outcome(route.deliveries[0].delivery_id, route.deliveries[0].mail_id))
    await ledger.fetch_again(Return(delivery_ids=(route.deliveries[1].delivery_id,), counted=True))
    assert await scene.state(b"u1") == "listed"

    await scene.list(b"u2")

    assert await scene.state(b"u1") == "lost"
    await scene.age("UPDATE mails SET unseen_since = unseen_since - 2678400000")
    assert await ledger.prune() == 0


async def test_a_vanished_mail_is_fetched_through_its_twin(ledger: Ledger) -> None:
    """Two mails of one copy: what waits for the first one's bytes takes the second one's."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.fetch(b"u1")
    await scene.fetch(b"u2")
    first = await scene.route(b"u1", "ann@example.com", fingerprint="f" * 64)
    await scene.route(b"u2", "ann@example.com", fingerprint="f" * 64)
    await ledger.fetch_again(Return(delivery_ids=(first.deliveries[0].delivery_id,), counted=True))
    await scene.list(b"u2")
    assert await scene.state(b"u2") == "listed"

    await scene.list(b"u2")
    await scene.fetch(b"u2")
    (again,) = (await scene.route(b"u2", "ann@example.com", fingerprint="f" * 64)).deliveries

    assert again.delivery_id == first.deliveries[0].delivery_id
    assert again.mail_id == scene.known[b"u2"].mail_id


async def test_a_claim_that_ran_out_is_swept_once(ledger: Ledger) -> None:
    """While its new job waits in a queue, the sweeper must not publish another at each pass."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    await ledger.claim(ClaimRequest(delivery_id=planned.delivery_id, attempt=1, repeatable=True))
    await scene.age("UPDATE deliveries SET claimed_until = 1, next_attempt_at = 1")

    (due,) = await ledger.take_due()

    assert due.retry
    assert await ledger.take_due() == ()
    await scene.age("UPDATE deliveries SET next_attempt_at = 1")
    (later,) = await ledger.take_due()
    assert not later.retry


async def test_a_live_claim_is_left_alone(ledger: Ledger) -> None:
    """The sweeper looks again when the claim would run out, not before."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    await ledger.claim(ClaimRequest(delivery_id=planned.delivery_id, attempt=1, repeatable=True))
    await scene.age("UPDATE deliveries SET next_attempt_at = 1")
    assert await ledger.take_due() == ()


async def test_a_deferred_delivery_without_bytes_is_published_when_its_mail_is_fetched_again(ledger: Ledger) -> None:
    """Its blob is gone: the mail is fetched anew for it, and must not be fetched in vain."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    (planned,) = (await scene.route(b"u1", "ann@example.com")).deliveries
    await ledger.settle(outcome(planned.delivery_id, planned.mail_id, 1, Result.DEFERRED, code=452))
    await scene.age("UPDATE deliveries SET next_attempt_at = 1")
    (due,) = await ledger.take_due()
    await ledger.fetch_again(Return(delivery_ids=(due.planned.delivery_id,), counted=True))
    await scene.list(b"u1")
    await scene.fetch(b"u1")

    (again,) = (await scene.route(b"u1", "ann@example.com")).deliveries

    assert (again.delivery_id, again.attempt) == (planned.delivery_id, 2)
    assert await ledger.take_due() == ()


async def test_a_mail_delivered_after_it_vanished_ends_as_deleted(ledger: Ledger) -> None:
    """A server that hides mail on RETR: once all have it, nothing is left to do."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.fetch(b"u1")
    route = await scene.route(b"u1", "ann@example.com")
    await scene.list(b"u2")
    await scene.deliver(route)

    await scene.list(b"u2")

    assert await scene.state(b"u1") == "deleted"


async def test_another_body_under_the_same_header_is_another_mail(ledger: Ledger) -> None:
    """A device with a constant header: what was delivered of the first body says nothing of the second."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await ledger.fetch_again(Return(mail_ids=(scene.known[b"u1"].mail_id,), counted=True))
    await scene.list(b"u1")
    await scene.age("UPDATE mails SET body_digest = uidl")
    assert await scene.fetch(b"u1") is Fetched.ANOTHER


async def test_a_skipped_mail_that_breaks_a_session_again_rests_for_another_day(ledger: Ledger) -> None:
    """Else it would be tried at every poll, and break every session of the mailbox for ever."""
    scene = await Scene.begin(ledger, b"u1")
    for _ in range(3):
        await ledger.record_broken(scene.lease, [scene.known[b"u1"].mail_id], "cut")
    await scene.age("UPDATE mails SET progress_at = 1")
    await ledger.record_broken(scene.lease, [scene.known[b"u1"].mail_id], "cut")
    assert (await scene.list(b"u1"))[b"u1"].age < 60_000


async def test_nobody_has_a_mail_that_was_only_redirected(ledger: Ledger) -> None:
    """I2: a redirect passes the mail on; it is deletable only when somebody took it."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await scene.route(b"u1", "ann@example.com")
    await scene.age("UPDATE deliveries SET state = 'redirected'")
    assert await ledger.deletable([scene.known[b"u1"].mail_id]) == set()


async def test_a_listing_that_shrank_by_half_is_believed_the_second_time(ledger: Ledger) -> None:
    """A server that lists half its mail today must not make us think the rest is gone."""
    scene = await Scene.begin(ledger, b"u1", b"u2", b"u3")
    unseen = "SELECT count(*) FROM mails WHERE unseen_since IS NOT NULL"

    await scene.list(b"u1")
    assert (await scene.one(unseen))[0] == 0
    await scene.list(b"u1")
    assert (await scene.one(unseen))[0] == 2


async def test_a_deletion_whose_answer_was_lost_is_learnt_from_the_next_listing(ledger: Ledger) -> None:
    """QUIT was sent, +OK never came: the mail is gone from the listing, so it was deleted."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com"))
    await scene.list()
    await scene.list()
    assert await scene.state(b"u1") == "deleted"


async def test_a_deleted_mail_that_is_listed_again_keeps_its_row(ledger: Ledger) -> None:
    """The deletion did not take: the mail is known, deletable again, and never delivered twice."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com"))
    await ledger.record_deleted(scene.lease, [scene.known[b"u1"].mail_id])
    known = await scene.list(b"u1")
    assert known[b"u1"].state is MailState.DELETED


async def test_a_reused_uidl_is_another_mail(ledger: Ledger) -> None:
    """Other bytes under a known UIDL must not inherit what was delivered of the first."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1", content="first")
    await ledger.fetch_again(Return(mail_ids=(scene.known[b"u1"].mail_id,), counted=True))
    await scene.list(b"u1")
    assert await scene.fetch(b"u1", content="second") is Fetched.ANOTHER

    old = scene.known[b"u1"].mail_id
    await ledger.renew_identity(scene.lease, [old])
    assert (await scene.list(b"u1"))[b"u1"].mail_id != old


async def test_three_broken_sessions_skip_a_mail_for_a_day(ledger: Ledger) -> None:
    """One mail that breaks every session must not hold up the mailbox."""
    scene = await Scene.begin(ledger, b"u1")
    for _ in range(3):
        await ledger.record_broken(scene.lease, [scene.known[b"u1"].mail_id], "cut")
    known = await scene.list(b"u1")
    assert known[b"u1"].state is MailState.SKIPPED
    assert known[b"u1"].breaks == 3


async def test_one_poisonous_row_does_not_hold_up_its_batch(ledger: Ledger) -> None:
    """99 good rows and one that no database takes: the 99 are recorded, the one is refused to its caller."""
    uidls = [b"u%d" % number for number in range(100)]
    scene = await Scene.begin(ledger, *uidls)
    await asyncio.gather(*(scene.fetch(uidl) for uidl in uidls))

    async def route(uidl: bytes) -> object:
        recipient = "bad\udc80@example.com" if uidl == b"u50" else "ann@example.com"
        mail = scene.known[uidl]
        routed = RoutedMail(
            mail_id=mail.mail_id,
            mailbox=scene.lease.profile.mailbox,
            profile_id=scene.lease.profile_id,
            fetches=0,
            fingerprint=None,
            digest=digest(mail.mail_id),
            recipients=(PlannedRecipient(address=recipient, reason="To"),),
            fallback="postmaster@example.com",
            target="local",
            sender="",
            source_host="127.0.0.1",
        )
        return await ledger.route(routed)

    results = await asyncio.gather(*(route(uidl) for uidl in uidls), return_exceptions=True)

    assert [uidl for uidl, result in zip(uidls, results, strict=True) if isinstance(result, RowRejectedError)] == [
        b"u50"
    ]
    assert (await scene.one("SELECT count(*) FROM mails WHERE state = 'routed'"))[0] == 99


async def test_writes_of_many_share_few_commits(ledger: Ledger) -> None:
    """A hundred mails fetched at once cost a handful of transactions, not a hundred."""
    uidls = [b"u%d" % number for number in range(100)]
    scene = await Scene.begin(ledger, *uidls)
    before = ledger.commits
    await asyncio.gather(*(scene.fetch(uidl) for uidl in uidls))
    assert ledger.commits - before <= 3


async def test_an_empty_broker_makes_all_that_is_unsettled_due(ledger: Ledger) -> None:
    """After a crash of the one process: fetched mail is stale, pending deliveries are due, leases and claims void."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.fetch(b"u1")
    await scene.fetch(b"u2")
    (planned,) = (await scene.route(b"u2", "ann@example.com")).deliveries
    await ledger.claim(ClaimRequest(delivery_id=planned.delivery_id, attempt=1, repeatable=True))
    assert await ledger.take_stale() == ()
    assert await ledger.take_due() == ()

    await ledger.begin_again()

    assert [stale.mail_id for stale in await ledger.take_stale()] == [scene.known[b"u1"].mail_id]
    assert [due.planned.delivery_id for due in await ledger.take_due()] == [planned.delivery_id]
    assert len(await ledger.claim_due("next", 10)) == 1


async def test_a_paused_target_is_known_to_all_until_it_is_back(ledger: Ledger) -> None:
    """Fetchers ask before they fetch."""
    await ledger.pause_target("local", "connection refused", 60)
    assert await ledger.paused_targets() == {"local": "connection refused"}
    await ledger.resume_target("local")
    assert await ledger.paused_targets() == {}


async def test_rows_are_forgotten_only_a_month_after_their_mail(ledger: Ledger) -> None:
    """A UIDL that returns is recognised for thirty days."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com"))
    await ledger.record_deleted(scene.lease, [scene.known[b"u1"].mail_id])
    assert await ledger.prune() == 0
    await scene.age("UPDATE mails SET unseen_since = unseen_since - 2678400000")
    assert await ledger.prune() == 1
    assert (await scene.one("SELECT count(*) FROM deliveries"))[0] == 0


async def test_a_profile_no_longer_named_is_disabled_and_keeps_its_rows(ledger: Ledger) -> None:
    """Deleting a profile from the file stops its polls; what is under way is still settled."""
    scene = await Scene.begin(ledger, b"u1")
    await ledger.sync_profiles([], managed_by="file")
    await change(ledger, "UPDATE schedule SET lease_until = NULL")
    assert await ledger.claim_due("test", 10) == ()
    assert await scene.state(b"u1") == "listed"


async def test_a_ledger_of_a_newer_version_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    """An old worker must not write into a schema that it doesn't know."""
    await change(ledger, "UPDATE alembic_version SET version_num = '9999'")
    url = ledger._engine.url.set(drivername=ledger._engine.dialect.name).render_as_string(hide_password=False)
    with pytest.raises(PpsError, match="newer PPS"):
        await Ledger.open(url, base=tmp_path, log=log)
