"""A mail's receipt tells its whole life, on both databases, and costs nothing where the rows tell it all."""

import re
from dataclasses import replace

import pytest

from common.ledger import events
from common.ledger.deciding import Decision, Verb
from common.ledger.desk import Desk
from common.ledger.lives import life_of
from common.ledger.records import PlannedDelivery
from common.messages import Result
from manager.cli.mails_view import next_of
from manager.cli.receipt import entry_document, receipt_of
from tests.contract.reader import Asked, asked
from tests.ledger import Scene, forget, outcome

__all__ = ["asked"]

pytestmark = pytest.mark.parametrize("asked", ["sqlite", "postgresql"], indirect=True)


async def told(asked: Asked, scene: Scene, uidl: bytes = b"u1") -> list[str]:
    """Return the sentences of a mail's receipt."""
    return [entry.told for entry in receipt_of(await life_of(asked.reader, scene.known[uidl].mail_id))]


async def attempt(asked: Asked, planned: PlannedDelivery, number: int, result: Result, reply: str) -> None:
    """Settle an attempt with this reply."""
    code = int(reply[:3]) if reply[:3].isdigit() else 0
    enhanced = next(iter(re.findall(r"\d\.\d\.\d", reply)), "")
    await asked.ledger.settle(
        outcome(planned.delivery_id, planned.mail_id, number, result, code=code, enhanced=enhanced, reply=reply)
    )


async def routed(asked: Asked, *recipients: str) -> tuple[Scene, list[PlannedDelivery]]:
    """Return a scene with one mail that is on its way to these recipients."""
    scene = await Scene.begin(asked.ledger, b"u1")
    await scene.fetch(b"u1")
    return scene, list((await scene.route(b"u1", *recipients)).deliveries)


async def test_a_plain_life_is_told_by_its_rows_alone(asked: Asked) -> None:
    """Listed, fetched, routed, delivered at the first attempt, deleted: not one row more, and a whole receipt."""
    scene, (ann,) = await routed(asked, "ann@example.com")
    await attempt(asked, ann, 1, Result.DELIVERED, "250 2.0.0 saved")
    await asked.ledger.record_deleted(scene.lease, [ann.mail_id])

    assert await scene.all("SELECT * FROM events") == []
    assert await told(asked, scene) == [
        "listed on the server",
        "fetched",
        "routed to ann@example.com (To)",
        "delivered to ann@example.com at local: 250 2.0.0 saved",
        "deleted on the server",
    ]


async def test_every_attempt_and_every_fetch_is_told(asked: Asked) -> None:
    """Put off, unanswered, without its bytes and so fetched and routed anew, delivered at last."""
    scene, (ann,) = await routed(asked, "ann@example.com")
    await attempt(asked, ann, 1, Result.DEFERRED, "450 4.2.1 later")
    await attempt(asked, ann, 2, Result.AMBIGUOUS, "no answer to the final dot")
    await attempt(asked, ann, 3, Result.NO_CONTENT, "no blob")
    await scene.list(b"u1")
    await scene.fetch(b"u1")
    await scene.route(b"u1", "ann@example.com")
    await attempt(asked, ann, 3, Result.DELIVERED, "250 saved")

    assert await told(asked, scene) == [
        "listed on the server",
        "fetched",
        "routed",
        "deferred for ann@example.com at local, attempt 1: 450 4.2.1 later",
        "ambiguous for ann@example.com at local, attempt 2: no answer to the final dot",
        "no content for ann@example.com at local, attempt 3: no blob",
        "sent back, to be fetched again",
        "fetched, after it was sent back 1 time",
        "routed to ann@example.com (To)",
        "delivered to ann@example.com at local, attempt 3: 250 saved",
    ]


async def test_a_receipt_has_results_codes_and_words_apart(asked: Asked) -> None:
    """For scripts: each attempt with its number, target, result, code, enhanced code and text."""
    scene, (ann,) = await routed(asked, "ann@example.com")
    await attempt(asked, ann, 1, Result.DEFERRED, "452 4.2.2 full")
    await attempt(asked, ann, 2, Result.DELIVERED, "stored as x.pps")

    life = await life_of(asked.reader, scene.known[b"u1"].mail_id)
    first, second = [entry_document(one) for one in receipt_of(life) if one.kind == "attempt"]

    assert (first["recipient"], first["attempt"], first["target"]) == ("ann@example.com", 1, "local")
    assert (first["result"], first["code"], first["enhanced"], first["text"]) == (
        "deferred",
        452,
        "4.2.2",
        "452 4.2.2 full",
    )
    assert (second["result"], second["attempt"], second["code"]) == ("delivered", 2, None)
    assert first["at"] <= second["at"]


async def test_what_a_person_decided_and_who_got_it_instead_is_told(asked: Asked) -> None:
    """Refused, redirected to the fallback user by the ledger, refused by him too, and given to another by a person."""
    scene, (ann,) = await routed(asked, "ann@example.com")
    await attempt(asked, ann, 1, Result.REFUSED, "554 5.7.1 spam")
    (stuck,) = await scene.all("SELECT id FROM deliveries WHERE state = 'quarantined'")
    decision = Decision(
        verb=Verb.REDIRECT, mail_id=ann.mail_id, delivery_id=str(stuck[0]), recipient="boss@example.com"
    )

    assert await Desk(asked.ledger).decide(decision)

    assert (await told(asked, scene))[3:] == [
        "refused for ann@example.com at local, attempt 1: 554 5.7.1 spam",
        "a person gave it to boss@example.com (for ann@example.com)",
        "redirected from ann@example.com: 554 5.7.1 spam",
        "passed on to boss@example.com: a person gave it to him instead of ann@example.com: 554 5.7.1 spam",
    ]


async def test_only_what_a_person_threw_away_is_called_discarded(asked: Asked) -> None:
    """A mail whose deliveries aren't on record had none that anybody discarded."""
    scene, (ann,) = await routed(asked, "ann@example.com")
    await attempt(asked, ann, 1, Result.DELIVERED, "250 saved")
    await asked.ledger.record_deleted(scene.lease, [ann.mail_id])
    life = await life_of(asked.reader, ann.mail_id)
    discarded = replace(life, pieces=tuple(replace(piece, state="discarded") for piece in life.pieces))

    assert "discarded" in next_of(discarded, life.progress_at)
    assert "discarded" not in next_of(life, life.progress_at)
    assert "discarded" not in next_of(replace(life, pieces=()), life.progress_at)


async def test_what_happened_in_one_moment_is_told_in_its_order(asked: Asked) -> None:
    """An attempt before what came of it, a delivery before the deletion that waited for it."""
    _, (ann,) = await routed(asked, "ann@example.com")
    await attempt(asked, ann, 1, Result.REFUSED, "554 5.7.1 spam")
    life = await life_of(asked.reader, ann.mail_id)
    life = replace(life, listed_at=1, fetched_at=1, routed_at=1)
    pieces = tuple(replace(piece, created_at=1, done_at=1) for piece in life.pieces)
    refused = replace(life, pieces=pieces, happened=tuple(replace(one, at=1) for one in life.happened))
    saved = [replace(piece, state="delivered", last_reply="250 saved") for piece in pieces]
    done = replace(refused, deleted_at=1, pieces=tuple(saved), happened=())

    assert [entry.kind for entry in receipt_of(refused)] == ["listed", "fetched", "routed", "attempt", "quarantined"]
    assert [entry.kind for entry in receipt_of(done)] == ["listed", "fetched", "routed", "attempt", "deleted"]


async def test_what_set_a_mail_aside_and_brought_it_back_is_told(asked: Asked) -> None:
    """Sessions broke over it, it was skipped, and came at last; gone from the server for a while, and kept there."""
    scene = await Scene.begin(asked.ledger, b"u1", b"u2")
    mail_id = scene.known[b"u1"].mail_id
    for _ in range(3):
        await asked.ledger.record_broken(scene.lease, [mail_id], "no answer in time")
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com"))
    await asked.ledger.record_kept(scene.lease, [mail_id])
    await scene.list(b"u2")
    await scene.list(b"u1", b"u2")
    await asked.ledger.record_deleted(scene.lease, [mail_id])
    await scene.list(b"u1", b"u2")
    await asked.ledger.record_deleted(scene.lease, [mail_id])

    lines = await told(asked, scene)

    assert lines[1:5] == [*["the session broke while it was retrieved: no answer in time"] * 3, lines[4]]
    assert "skipped: no answer in time" in lines
    after = lines[lines.index("kept on the server") + 1 :]
    assert after[0] == "no longer on the server"
    assert [line for line in after if "again" in line] == ["on the server again"] * 2
    assert after[-1] == "deleted on the server"
    assert "deleted on the server, in vain" in after


async def test_what_befalls_a_mail_for_years_is_bounded(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipped every day: the first and the last are kept, and the newest of them is there."""
    monkeypatch.setattr(events, "FIRST", 3)
    monkeypatch.setattr(events, "LAST", 5)
    scene = await Scene.begin(asked.ledger, b"u1")
    for day in range(20):
        await asked.ledger.record_skipped(scene.lease, [scene.known[b"u1"].mail_id], f"day {day}")

    kept = [str(row[0]) for row in await scene.all("SELECT text FROM events ORDER BY at, id")]

    assert kept == [f"day {day}" for day in (0, 1, 2, 15, 16, 17, 18, 19)]


async def test_a_receipt_goes_with_its_mail(asked: Asked) -> None:
    """What is pruned leaves no event behind, neither the mail's nor its deliveries'."""
    scene, (ann,) = await routed(asked, "ann@example.com")
    await attempt(asked, ann, 1, Result.DEFERRED, "450 later")
    await attempt(asked, ann, 2, Result.DELIVERED, "250 saved")
    await asked.ledger.record_kept(scene.lease, [ann.mail_id])
    await asked.ledger.record_deleted(scene.lease, [ann.mail_id])
    assert len(await scene.all("SELECT * FROM events")) == 3

    assert await forget(scene, days=90) == 1

    assert await scene.all("SELECT * FROM events") == []
