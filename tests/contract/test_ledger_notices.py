"""What people are told of: each thing once, by one worker, and none of our own notices that came back."""

import asyncio

from common.ledger import Ledger
from common.ledger.notice_board import NoticeBoard
from common.ledger.notices import Kind, Wanted
from common.messages import Result
from common.notice import NOTICE_CAME_BACK
from tests.ledger import Scene, change, outcome
from tests.status import status_of

ALL = Wanted(down_after=900, growth=True)


async def found(ledger: Ledger) -> list[tuple[Kind, str]]:
    """Return what is to be told, and record it."""
    board = NoticeBoard(ledger)
    findings = await board.noticeable(ALL)
    if findings:
        await board.record(findings)
    return [(finding.kind, finding.text) for finding in findings]


async def refused(scene: Scene, uidl: bytes) -> None:
    """Have a mail end in quarantine."""
    await scene.fetch(uidl)
    [planned] = (await scene.route(uidl, "ann@example.com")).deliveries
    spam = outcome(planned.delivery_id, planned.mail_id, 1, Result.REFUSED, code=554, reply="554 spam")
    await scene.ledger.settle(spam)


async def test_what_needs_a_person_is_told_once(ledger: Ledger) -> None:
    """Quarantine in the target's own words, mail that is too large, a whole mail set aside; and then no more."""
    scene = await Scene.begin(ledger, b"u1", b"u2", b"u3", b"u4")
    await refused(scene, b"u1")
    await ledger.record_skipped(scene.lease, [scene.known[b"u2"].mail_id], "larger than max_size: 10")
    await ledger.record_skipped(scene.lease, [scene.known[b"u4"].mail_id], "broke three sessions")
    await ledger.quarantine(scene.known[b"u3"].mail_id, "a loop")

    told = await found(ledger)

    assert sorted(kind for kind, _ in told) == [Kind.OVERSIZE, Kind.QUARANTINE, Kind.QUARANTINE]
    assert any(text.endswith("to ann@example.com: 554 spam") for _, text in told)
    assert await found(ledger) == []


async def test_a_stopped_profile_is_told_of_each_time_it_stops(ledger: Ledger) -> None:
    """Refused sign-ins stop a profile; one that is merely late is no news."""
    await Scene.begin(ledger)
    assert await found(ledger) == []
    stopped = "UPDATE schedule SET due_at = NULL, last_result = 'auth', last_error = 'no', last_finished_at = :at"
    await change(ledger, stopped, at=1)
    assert await found(ledger) == [(Kind.AUTH, "profile office stopped: no")]
    assert await found(ledger) == []
    await change(ledger, stopped, at=2)
    assert len(await found(ledger)) == 1


async def test_a_target_is_told_of_when_it_is_down_for_long_or_held(ledger: Ledger) -> None:
    """A short pause is no news; a doubted user table needs somebody at once."""
    await ledger.pause_target("slow", "refused", 3600)
    assert await found(ledger) == []
    await change(ledger, "UPDATE targets SET paused_since = paused_since - 1000000")
    await ledger.pause_target("held", "x", 0)
    await change(ledger, "UPDATE targets SET held_until = 9999999999999, doubt = 'users' WHERE name = 'held'")

    told = await found(ledger)

    assert sorted(told) == [
        (Kind.TARGET, "target held takes nothing: users"),
        (Kind.TARGET, "target slow takes nothing: refused"),
    ]


async def test_a_mailbox_that_fills_up_is_told_of_each_time_it_has_doubled(ledger: Ledger) -> None:
    """A hundred mails that wait for more than a day, then two hundred, not each one."""
    scene = await Scene.begin(ledger, *(b"u%d" % n for n in range(120)))
    assert await found(ledger) == []
    await scene.age("UPDATE mails SET listed_at = 1")
    assert [text[:38] for _, text in await found(ledger)] == ["120 mails (12000 octets) of profile of"]
    await scene.list(*(b"u%d" % n for n in range(199)))
    await scene.age("UPDATE mails SET listed_at = 1")
    assert await found(ledger) == []
    await scene.list(*(b"u%d" % n for n in range(200)))
    await scene.age("UPDATE mails SET listed_at = 1")
    assert len(await found(ledger)) == 1


async def test_a_notice_that_came_back_begets_none(ledger: Ledger) -> None:
    """It is set aside like a loop, and nobody is told: else each would bring the next."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await ledger.quarantine(scene.known[b"u1"].mail_id, NOTICE_CAME_BACK)
    assert await found(ledger) == []


async def test_of_several_workers_one_tells(ledger: Ledger) -> None:
    """What one has claimed no other sends, unless it died; what comes soon after waits, to come together."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    board = NoticeBoard(ledger)
    await refused(scene, b"u1")
    await found(ledger)
    assert await board.wait()

    claims = await asyncio.gather(*(board.claim(900) for _ in range(4)))
    assert sorted(len(claim) for claim in claims) == [0, 0, 0, 1]
    await change(ledger, "UPDATE notices SET claimed_until = 1")
    [again] = await board.claim(900)
    assert again.tries == 2
    await board.sent([again.id])
    assert not await board.wait()

    await refused(scene, b"u2")
    await found(ledger)
    assert await board.claim(900) == ()
    await change(ledger, "UPDATE notices SET sent_at = sent_at - 900000 WHERE sent_at IS NOT NULL")
    assert len(await board.claim(900)) == 1


async def test_what_comes_while_telling_fails_comes_together(ledger: Ledger) -> None:
    """Nothing was sent: the next try, with all that was found since, is as long after it as if it had been."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    board = NoticeBoard(ledger)
    await refused(scene, b"u1")
    await found(ledger)
    assert len(await board.claim(900)) == 1

    await refused(scene, b"u2")
    await found(ledger)

    assert await board.claim(900) == ()
    await change(ledger, "UPDATE notices SET claimed_until = claimed_until - 900000")
    assert len(await board.claim(900)) == 2


async def test_a_target_that_takes_connections_but_no_mail_is_down_all_along(ledger: Ledger) -> None:
    """Each probe succeeds, and the next mail is refused as the last: one outage; a new one begins anew."""
    await ledger.pause_target("local", "530 sign in first", 3600)
    await change(ledger, "UPDATE targets SET paused_since = paused_since - 1000000")
    await ledger.resume_target("local")
    assert await found(ledger) == []

    await ledger.pause_target("local", "530 sign in first", 3600, relapse=True)
    assert await found(ledger) == [(Kind.TARGET, "target local takes nothing: 530 sign in first")]

    await ledger.resume_target("local")
    await ledger.pause_target("local", "refused", 3600)
    [target] = (await status_of(ledger)).targets
    assert target.paused_since > 1_000_000_000_000
    assert await found(ledger) == []
