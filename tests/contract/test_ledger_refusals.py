"""What the ledger makes of refusals: the fallback, the guard against a broken user table, a target for bad mail."""

from common.ledger import Ledger
from common.ledger.records import Claim, ClaimRequest, DeliveryState, PlannedDelivery, Settled
from common.messages import DeliveryOutcome, Result, Stage
from tests.ledger import Scene, outcome
from tests.status import status_of

DAY = 86_400_000


def unknown(planned: PlannedDelivery, attempt: int = 1) -> DeliveryOutcome:
    """Return an outcome that says: no such user."""
    return outcome(
        planned.delivery_id,
        planned.mail_id,
        attempt,
        Result.REFUSED,
        code=550,
        enhanced="5.1.1",
        reply="550 5.1.1 unknown",
        stage=Stage.RCPT,
    )


async def mails_for(scene: Scene, *recipients: str) -> list[PlannedDelivery]:
    """Route one mail to each of these recipients."""
    uidls = [f"for-{one}".encode() for one in recipients]
    await scene.list(*scene.known, *uidls)
    planned: list[PlannedDelivery] = []
    for uidl, recipient in zip(uidls, recipients, strict=True):
        await scene.fetch(uidl)
        planned += (await scene.route(uidl, f"{recipient}@example.com")).deliveries
    return planned


async def refuse(ledger: Ledger, planned: list[PlannedDelivery]) -> list[Settled]:
    """Settle that none of these is a user, one after the other."""
    return [await ledger.settle(unknown(one)) for one in planned]


async def test_a_sixth_unknown_user_within_ten_minutes_is_doubted(ledger: Ledger) -> None:
    """Five are redirected; the sixth and all after it wait, the target is paused, and all are told why."""
    scene = await Scene.begin(ledger)
    planned = await mails_for(scene, *(f"user{n}" for n in range(8)))

    states = [settled.state for settled in await refuse(ledger, planned)]

    assert states == [DeliveryState.REDIRECTED] * 5 + [DeliveryState.DEFERRED] * 3
    assert "user table may be broken" in (await ledger.paused_targets())["local"]
    assert (await ledger.hold_of("local")) is not None
    [status] = (await status_of(ledger)).targets
    assert (status.name, "user table" in status.reason, status.paused_since > 0) == ("local", True, True)


async def test_a_doubted_target_s_jobs_are_held_and_no_attempt_is_counted(ledger: Ledger) -> None:
    """A claim is answered with a hold, until the hold ends; deferred mail says why."""
    scene = await Scene.begin(ledger)
    *planned, waiting = await mails_for(scene, *(f"user{n}" for n in range(6)), "ann")
    await refuse(ledger, planned)
    request = ClaimRequest(delivery_id=waiting.delivery_id, attempt=1, repeatable=False)

    assert (await ledger.claim(request)).claim is Claim.HELD
    await scene.age("UPDATE targets SET held_until = 1")
    assert (await ledger.claim(request)).claim is Claim.FIRST
    (reply,) = await scene.one("SELECT last_reply FROM deliveries WHERE id = :id", id=planned[5].delivery_id)
    assert str(reply).startswith("550 5.1.1 unknown (doubted")


async def test_while_a_doubt_lasts_nothing_is_spilled_and_nobody_is_held_again(ledger: Ledger) -> None:
    """After the hold good mail flows; "no such user" is doubted for a day, then believed of whom it was said then."""
    scene = await Scene.begin(ledger)
    planned = await mails_for(scene, *(f"user{n}" for n in range(6)))
    await refuse(ledger, planned)
    await scene.age("UPDATE targets SET held_until = 1")
    late = await mails_for(scene, *(f"late{n}" for n in range(7)))

    assert {settled.state for settled in await refuse(ledger, late)} == {DeliveryState.DEFERRED}
    assert await ledger.hold_of("local") is None

    await scene.age("UPDATE deliveries SET refused_at = refused_at - :day", day=DAY)
    assert (await ledger.settle(unknown(planned[5], 2))).state is DeliveryState.REDIRECTED


async def test_a_mended_user_table_is_believed_again(ledger: Ledger) -> None:
    """Who was unknown takes mail now: the doubt is over, and a real stranger's mail goes to the fallback user."""
    scene = await Scene.begin(ledger)
    planned = await mails_for(scene, *(f"user{n}" for n in range(6)))
    await refuse(ledger, planned)
    await ledger.settle(outcome(planned[5].delivery_id, planned[5].mail_id, 2))
    assert await ledger.paused_targets() == {}
    await scene.age("UPDATE deliveries SET refused_at = 1 WHERE refused_at IS NOT NULL")

    [stranger] = await mails_for(scene, "stranger")
    assert (await ledger.settle(unknown(stranger))).state is DeliveryState.REDIRECTED


async def test_the_same_stranger_often_is_no_broken_table(ledger: Ledger) -> None:
    """Different recipients count, not mails: a spammer's one guess is redirected each time."""
    scene = await Scene.begin(ledger)
    uidls = [f"u{n}".encode() for n in range(8)]
    await scene.list(*uidls)
    for uidl in uidls:
        await scene.fetch(uidl)
        [planned] = (await scene.route(uidl, "nobody@example.com")).deliveries
        assert (await ledger.settle(unknown(planned))).state is DeliveryState.REDIRECTED


async def test_refused_mail_goes_to_the_target_for_it(ledger: Ledger) -> None:
    """Where a target names one: the same delivery, due there at once, deletable only when it is stored there."""
    scene = await Scene.begin(ledger)
    [planned] = await mails_for(scene, "ann")
    refused = outcome(
        planned.delivery_id,
        planned.mail_id,
        result=Result.REFUSED,
        code=554,
        reply="554 5.7.1 spam",
        refused_to="local-refused",
    )

    settled = await ledger.settle(refused)

    assert (settled.state, settled.deletable) == (DeliveryState.PENDING, ())
    [due] = await ledger.take_due()
    assert (due.planned.target, due.planned.recipient, due.planned.attempt) == ("local-refused", "ann@example.com", 2)
    assert due.planned.reason == "To; refused by local: 554 5.7.1 spam"
    stored = await ledger.settle(outcome(planned.delivery_id, planned.mail_id, 2))
    assert stored.deletable == (planned.mail_id,)


async def test_mail_that_even_the_target_for_it_refuses_is_quarantined(ledger: Ledger) -> None:
    """It is handed on once, never round and round."""
    scene = await Scene.begin(ledger)
    [planned] = await mails_for(scene, "ann")
    refused = {"result": Result.REFUSED, "code": 554, "reply": "554 no"}
    await ledger.settle(outcome(planned.delivery_id, planned.mail_id, **refused, refused_to="local-refused"))  # type: ignore[arg-type]  # as written

    settled = await ledger.settle(outcome(planned.delivery_id, planned.mail_id, 2, **refused))  # type: ignore[arg-type]  # as written

    assert settled.state is DeliveryState.QUARANTINED
    assert await ledger.deletable([planned.mail_id]) == set()


async def test_refused_mail_that_is_routed_again_stays_with_the_target_for_it(ledger: Ledger) -> None:
    """Its blob was lost on the way: fetched again, it needs no second refusal."""
    scene = await Scene.begin(ledger)
    [planned] = await mails_for(scene, "ann")
    refused = outcome(planned.delivery_id, planned.mail_id, result=Result.REFUSED, code=554, refused_to="local-refused")
    await ledger.settle(refused)
    await ledger.settle(outcome(planned.delivery_id, planned.mail_id, 2, Result.NO_CONTENT))
    await scene.list(b"for-ann")
    await scene.fetch(b"for-ann")

    [again] = (await scene.route(b"for-ann", "ann@example.com")).deliveries

    assert (again.target, again.attempt) == ("local-refused", 2)


async def test_a_redirect_to_a_stranger_ends_with_the_fallback_s_refusal(ledger: Ledger) -> None:
    """The fallback user is refused, too: as any other refusal, by the target's rule."""
    scene = await Scene.begin(ledger)
    [planned] = await mails_for(scene, "nobody")
    await ledger.settle(unknown(planned))
    [due] = await ledger.take_due()

    assert (await ledger.settle(unknown(due.planned))).state is DeliveryState.QUARANTINED
