"""Deliveries in every ledger: who may make an attempt, and what its outcome changes."""

import asyncio

from common.ledger import Ledger
from common.ledger.claiming import HeldClaim
from common.ledger.records import Claim, ClaimRequest, DeliveryState
from common.messages import Result, Stage
from tests.ledger import Scene, outcome
from tests.status import status_of


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
    (item,) = (await status_of(ledger)).quarantined
    assert item.reason == "554 spam"


async def test_a_paused_target_is_known_to_all_until_it_is_back(ledger: Ledger) -> None:
    """Fetchers ask before they fetch."""
    await ledger.pause_target("local", "connection refused", 60)
    assert await ledger.paused_targets() == {"local": "connection refused"}
    await ledger.resume_target("local")
    assert await ledger.paused_targets() == {}
