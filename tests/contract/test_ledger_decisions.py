"""What a person decides about mail that waits: tried again, given to another, thrown away. I2 holds throughout."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from common.ledger import Ledger
from common.ledger.deciding import Decision, Verb
from common.ledger.desk import Desk
from common.ledger.records import Claim, ClaimRequest, DeliveryState, PlannedDelivery
from common.ledger.stuck import Stuck, StuckItem
from common.messages import Result, Stage
from tests.deliveries import LOG
from tests.ledger import Scene, digest, outcome

UNDECIDED = [Verb.RETRY, Verb.REDIRECT, Verb.DISCARD]


async def quarantined(scene: Scene, uidl: bytes = b"u1", *recipients: str) -> list[PlannedDelivery]:
    """Have a mail refused for all its recipients."""
    await scene.fetch(uidl)
    planned = (await scene.route(uidl, *(recipients or ("ann@example.com",)))).deliveries
    for one in planned:
        refused = outcome(one.delivery_id, one.mail_id, one.attempt, Result.REFUSED, code=554, reply="554 spam")
        await scene.ledger.settle(refused)
    return list(planned)


def decision(planned: PlannedDelivery | StuckItem, verb: Verb, **more: object) -> Decision:
    """Return a decision on a delivery."""
    return Decision(verb=verb, mail_id=planned.mail_id, delivery_id=planned.delivery_id, **more)  # type: ignore[arg-type]  # as written


async def states(scene: Scene) -> dict[object, object]:
    """Return the state of each recipient's delivery."""
    rows = await scene.all("SELECT recipient, state FROM deliveries")
    return {row[0]: row[1] for row in rows}


async def test_what_is_stuck_is_found_by_what_is_known_of_it(ledger: Ledger) -> None:
    """By the beginning of an id, target, profile, recipient, words of the reason, age; all that is given must hold."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    [first] = await quarantined(scene)
    [second] = await quarantined(scene, b"u2", "bob@example.com")
    await scene.age("UPDATE deliveries SET last_reply = 'no 100% room', done_at = 1 WHERE recipient LIKE 'bob%'")

    async def found(**wanted: object) -> list[str | None]:
        return [item.recipient for item in await Desk(ledger).stuck(Stuck(**wanted))]  # type: ignore[arg-type]  # as written

    assert await found() == ["bob@example.com", "ann@example.com"]
    assert await found(ids=(first.delivery_id,)) == ["ann@example.com"]
    assert await found(ids=(second.mail_id, first.mail_id)) == ["bob@example.com", "ann@example.com"]
    assert await found(target="local", recipient="ann@example.com", profile="office") == ["ann@example.com"]
    assert await found(reason="SPAM") == ["ann@example.com"]
    assert await found(reason="0% R") == ["bob@example.com"]
    assert await found(reason="%x%") == []
    assert await found(older_than=3600) == ["bob@example.com"]
    assert await found(target="other") == []
    assert await found(ids=("%",)) == []


async def test_a_retry_is_due_at_once_with_five_days_anew(ledger: Ledger) -> None:
    """Same delivery, next attempt; one more "later" doesn't end it although its mail is old."""
    scene = await Scene.begin(ledger, b"u1")
    [planned] = await quarantined(scene)
    await scene.age("UPDATE deliveries SET created_at = 1, ambiguous = 3")

    assert await Desk(ledger).decide(decision(planned, Verb.RETRY))

    [due] = await ledger.take_due()
    assert (due.planned.delivery_id, due.planned.attempt, due.retry) == (planned.delivery_id, 2, True)
    later = outcome(planned.delivery_id, planned.mail_id, 2, Result.AMBIGUOUS)
    assert (await ledger.settle(later)).state is DeliveryState.DEFERRED


async def test_many_retries_come_one_after_the_other(ledger: Ledger) -> None:
    """Each may be given a wait, so that a target isn't flooded."""
    scene = await Scene.begin(ledger, b"u1")
    [planned] = await quarantined(scene)
    await Desk(ledger).decide(decision(planned, Verb.RETRY, wait=3_600_000))
    assert await ledger.take_due() == ()


async def test_a_deferred_delivery_is_tried_now(ledger: Ledger) -> None:
    """Its next attempt comes at once, and its age counts on; one that is being tried is left alone."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    [planned] = (await scene.route(b"u1", "ann@example.com")).deliveries
    await ledger.settle(outcome(planned.delivery_id, planned.mail_id, 1, Result.DEFERRED, code=452, reply="452 full"))
    [item] = await Desk(ledger).stuck(Stuck(deferred=True))
    assert (item.reason, item.attempts) == ("452 full", 1)
    assert item.next_attempt_at is not None

    assert await Desk(ledger).decide(decision(item, Verb.RETRY))
    [due] = await ledger.take_due()
    assert due.planned.attempt == 2

    await ledger.claim(ClaimRequest(delivery_id=planned.delivery_id, attempt=2, repeatable=True))
    assert not await Desk(ledger).decide(decision(item, Verb.RETRY))


async def test_a_redirect_gives_the_mail_to_another(ledger: Ledger) -> None:
    """The mail is deletable when the other has it, not before; the reason stays with it."""
    scene = await Scene.begin(ledger, b"u1")
    [planned] = await quarantined(scene)

    assert await Desk(ledger).decide(decision(planned, Verb.REDIRECT, recipient="boss@example.com", target="other"))

    assert await ledger.deletable([planned.mail_id]) == set()
    [due] = await ledger.take_due()
    assert (due.planned.recipient, due.planned.target, due.planned.attempt) == ("boss@example.com", "other", 1)
    assert "instead of ann@example.com: 554 spam" in due.planned.reason
    settled = await ledger.settle(outcome(due.planned.delivery_id, planned.mail_id))
    assert settled.deletable == (planned.mail_id,)


async def test_a_redirect_to_who_has_it_needs_no_second_delivery(ledger: Ledger) -> None:
    """Bob took his copy; Ann's goes to him: he has it, and the mail is deletable."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    ann, bob = (await scene.route(b"u1", "ann@example.com", "bob@example.com")).deliveries
    await ledger.settle(outcome(bob.delivery_id, bob.mail_id))
    await ledger.settle(outcome(ann.delivery_id, ann.mail_id, 1, Result.REFUSED, code=554))

    assert await Desk(ledger).decide(decision(ann, Verb.REDIRECT, recipient="bob@example.com"))

    assert await ledger.take_due() == ()
    assert await ledger.deletable([ann.mail_id]) == {ann.mail_id}


async def test_mail_passed_to_and_fro_is_never_nobody_s(ledger: Ledger) -> None:
    """Ann's goes to Bob, who is refused, too, and back to Ann: her delivery is in motion again."""
    scene = await Scene.begin(ledger, b"u1")
    [ann] = await quarantined(scene)
    await Desk(ledger).decide(decision(ann, Verb.REDIRECT, recipient="bob@example.com"))
    [bob] = await ledger.take_due()
    await ledger.settle(outcome(bob.planned.delivery_id, ann.mail_id, 1, Result.REFUSED, code=554))

    assert await Desk(ledger).decide(decision(bob.planned, Verb.REDIRECT, recipient="ann@example.com"))

    [again] = await ledger.take_due()
    assert (again.planned.delivery_id, again.planned.attempt) == (ann.delivery_id, 2)
    assert await ledger.deletable([ann.mail_id]) == set()


async def test_a_fallback_that_a_person_passed_on_takes_a_stranger_s_mail(ledger: Ledger) -> None:
    """A redirect by the ledger finds its user's delivery ended: it must not stand for this one."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    postmaster, stranger = (await scene.route(b"u1", "postmaster@example.com", "stranger@example.com")).deliveries
    await ledger.settle(outcome(postmaster.delivery_id, postmaster.mail_id, 1, Result.REFUSED, code=554))
    await Desk(ledger).decide(decision(postmaster, Verb.DISCARD))

    unknown = outcome(stranger.delivery_id, stranger.mail_id, 1, Result.REFUSED, code=550, stage=Stage.RCPT)
    assert (await ledger.settle(unknown)).deletable == ()

    [due] = await ledger.take_due()
    assert due.planned.delivery_id == postmaster.delivery_id


async def test_a_discard_lets_the_remote_copy_be_deleted_once_all_is_done(ledger: Ledger) -> None:
    """One of two is thrown away: the other still holds the mail."""
    scene = await Scene.begin(ledger, b"u1")
    ann, bob = await quarantined(scene, b"u1", "ann@example.com", "bob@example.com")

    assert await Desk(ledger).decide(decision(ann, Verb.DISCARD))
    assert await ledger.deletable([ann.mail_id]) == set()
    assert await Desk(ledger).decide(decision(bob, Verb.DISCARD))
    assert await ledger.deletable([ann.mail_id]) == {ann.mail_id}


@pytest.mark.parametrize("verb", UNDECIDED)
async def test_what_waits_no_more_is_not_decided_on(ledger: Ledger, verb: Verb) -> None:
    """A late answer says delivered, another person was first, an attempt is under way: nothing changes."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    [planned] = await quarantined(scene)
    await ledger.settle(outcome(planned.delivery_id, planned.mail_id))
    await scene.fetch(b"u2")
    [pending] = (await scene.route(b"u2", "ann@example.com")).deliveries

    for one in (planned, pending):
        assert not await Desk(ledger).decide(decision(one, verb, recipient="boss@example.com"))

    assert sorted(await scene.all("SELECT state FROM deliveries")) == [("delivered",), ("pending",)]
    assert not await Desk(ledger).decide(Decision(verb=verb, mail_id=planned.mail_id, delivery_id=None))
    assert not await Desk(ledger).decide(Decision(verb=verb, mail_id="0" * 36, delivery_id=None))


async def set_aside(scene: Scene, uidl: bytes = b"u1") -> str:
    """Have a router set a whole mail aside; return its id."""
    await scene.fetch(uidl)
    mail_id = scene.known[uidl].mail_id
    await scene.ledger.quarantine(mail_id, "a loop")
    [item] = await Desk(scene.ledger).stuck(Stuck())
    assert (item.delivery_id, item.recipient, item.reason) == (None, None, "a loop")
    return mail_id


async def test_a_whole_mail_is_retried_by_fetching_it_again(ledger: Ledger) -> None:
    """It is listed again, and may be sent back five times more."""
    scene = await Scene.begin(ledger, b"u1")
    mail_id = await set_aside(scene)
    await scene.age("UPDATE mails SET fetches = 5")

    assert await Desk(ledger).decide(Decision(verb=Verb.RETRY, mail_id=mail_id, delivery_id=None))

    known = await scene.list(b"u1")
    assert (known[b"u1"].state, known[b"u1"].fetches) == ("listed", 0)


async def test_a_whole_mail_that_left_the_server_is_looked_for_among_the_blobs(ledger: Ledger) -> None:
    """It must not count as removed by somebody else: it was fetched."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    mail_id = await set_aside(scene)
    await scene.list(b"u2")

    assert await Desk(ledger).decide(Decision(verb=Verb.RETRY, mail_id=mail_id, delivery_id=None))

    assert [stale.mail_id for stale in await ledger.take_stale()] == [mail_id]


async def test_a_whole_mail_is_given_to_somebody_whatever_the_router_says(ledger: Ledger) -> None:
    """It has its delivery; fetched again for its bytes, it is routed to nobody else, and not set aside again."""
    scene = await Scene.begin(ledger, b"u1")
    mail_id = await set_aside(scene)
    verdict = Decision(verb=Verb.REDIRECT, mail_id=mail_id, delivery_id=None, recipient="boss@example.com")

    assert await Desk(ledger).decide(verdict)

    assert await ledger.deletable([mail_id]) == set()
    [due] = await ledger.take_due()
    assert (due.planned.recipient, due.planned.target) == ("boss@example.com", "local")
    await scene.route(b"u1", "ann@example.com", quarantine="a loop")
    assert await states(scene) == {"boss@example.com": "pending"}
    assert (await ledger.settle(outcome(due.planned.delivery_id, mail_id))).deletable == (mail_id,)


async def test_a_whole_mail_is_thrown_away(ledger: Ledger) -> None:
    """A delivery says so, for deletion needs one that does; none is ever due."""
    scene = await Scene.begin(ledger, b"u1")
    mail_id = await set_aside(scene)

    assert await Desk(ledger).decide(Decision(verb=Verb.DISCARD, mail_id=mail_id, delivery_id=None))

    assert await states(scene) == {"postmaster@example.com": "discarded"}
    assert await ledger.deletable([mail_id]) == {mail_id}
    assert await ledger.take_due() == ()


async def test_a_mail_set_aside_amid_its_deliveries_is_thrown_away_for_who_has_none(ledger: Ledger) -> None:
    """Ann has hers; Bob's waited: his is thrown away, hers stays delivered."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    ann, bob = (await scene.route(b"u1", "ann@example.com", "bob@example.com")).deliveries
    await ledger.settle(outcome(ann.delivery_id, ann.mail_id))
    await ledger.quarantine(bob.mail_id, "sent back too often")

    assert await Desk(ledger).decide(Decision(verb=Verb.DISCARD, mail_id=bob.mail_id, delivery_id=None))

    assert await states(scene) == {"ann@example.com": "delivered", "bob@example.com": "discarded"}
    assert await ledger.deletable([bob.mail_id]) == {bob.mail_id}


async def test_a_person_ends_a_hold(ledger: Ledger) -> None:
    """The user table is mended: the target is believed at once."""
    await ledger.pause_target("local", "makes the row", 0)
    scene = await Scene.begin(ledger)
    await scene.age("UPDATE targets SET held_until = 9999999999999, doubted_until = 9999999999999, doubt = 'x'")
    assert await ledger.paused_targets() == {"local": "x"}

    await Desk(ledger).end_hold("local")

    assert await ledger.paused_targets() == {}


async def test_two_people_who_decide_at_once_give_it_to_one(ledger: Ledger, tmp_path: Path) -> None:
    """Each from a process of his own, beside the service: whoever is second is told that it waits no more."""
    scene = await Scene.begin(ledger, b"u1")
    planned = await quarantined(scene, b"u1", *(f"u{n}@example.com" for n in range(10)))
    url = ledger._engine.url.render_as_string(hide_password=False)
    other = await Ledger.open(url.replace("+aiosqlite", "").replace("+asyncpg", ""), base=tmp_path, log=LOG)
    wishes = ((Verb.REDIRECT, "boss@example.com"), (Verb.DISCARD, None), (Verb.REDIRECT, "chief@example.com"))

    decided = await asyncio.gather(
        *(
            Desk(at).decide(decision(one, verb, recipient=to))
            for one in planned
            for at, (verb, to) in zip((ledger, other, other), wishes, strict=True)
        )
    )
    await other.close()

    assert sum(decided) == len(planned)
    found = Counter((await states(scene)).values())
    assert found["redirected"] + found["discarded"] == len(planned)
    assert found["pending"] <= 2


async def test_a_whole_mail_given_to_who_is_just_getting_it_waits_for_that(ledger: Ledger) -> None:
    """A deliverer is at Ann's as a person gives her the mail: a second attempt beside the first would double it."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    [ann] = (await scene.route(b"u1", "ann@example.com")).deliveries
    request = ClaimRequest(delivery_id=ann.delivery_id, attempt=1, repeatable=False)
    assert (await ledger.claim(request)).claim is Claim.FIRST
    await ledger.quarantine(ann.mail_id, "sent back too often")
    verdict = Decision(verb=Verb.REDIRECT, mail_id=ann.mail_id, delivery_id=None, recipient="ann@example.com")

    assert await Desk(ledger).decide(verdict)

    assert await ledger.take_due() == ()
    assert (await ledger.claim(request)).claim is Claim.DENIED
    assert (await ledger.settle(outcome(ann.delivery_id, ann.mail_id))).deletable == (ann.mail_id,)


async def test_a_user_without_a_domain_is_who_has_the_mail_already(ledger: Ledger) -> None:
    """`--to bob` means bob of the profile's first domain, who took his copy: he gets no second one."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    ann, bob = (await scene.route(b"u1", "ann@example.com", "bob@example.com")).deliveries
    await ledger.settle(outcome(bob.delivery_id, bob.mail_id))
    await ledger.settle(outcome(ann.delivery_id, ann.mail_id, 1, Result.REFUSED, code=554))

    assert await Desk(ledger).decide(decision(ann, Verb.REDIRECT, recipient="bob"))

    assert await states(scene) == {"ann@example.com": "redirected", "bob@example.com": "delivered"}
    assert await ledger.deletable([ann.mail_id]) == {ann.mail_id}


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.REDIRECT])
async def test_a_mail_set_aside_before_it_was_fetched_stops_no_sweeper(ledger: Ledger, verb: Verb) -> None:
    """Nothing is known of its bytes: it is fetched first, or if it has left the server meanwhile, forgotten."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    mail_ids = [scene.known[uidl].mail_id for uidl in (b"u1", b"u2")]
    for mail_id in mail_ids:
        await ledger.quarantine(mail_id, "a poisonous row")
    await scene.list(b"u1")

    for mail_id in mail_ids:
        verdict = Decision(verb=verb, mail_id=mail_id, delivery_id=None, recipient="boss@example.com")
        assert await Desk(ledger).decide(verdict)

    assert await ledger.take_stale() == ()
    assert await ledger.take_due() == ()
    assert await scene.all("SELECT state FROM mails") == [("listed",), ("listed",)]
    known = await scene.list(b"u1")
    assert known[b"u1"].state == "listed"
    await scene.fetch(b"u1")
    [planned] = (await scene.route(b"u1", "boss@example.com")).deliveries
    assert (planned.recipient, planned.digest) == ("boss@example.com", digest(mail_ids[0]))
