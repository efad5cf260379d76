"""What stands still in every ledger: what the sweeper takes, what is fetched again, and what is lost."""

import time
from typing import Final

from common.ledger import Ledger
from common.ledger.reader import LedgerReader
from common.ledger.records import ClaimRequest
from common.ledger.standing import read_standing
from common.ledger.sweeping import Return
from common.messages import Result
from tests.ledger import Scene, forget, outcome
from tests.status import status_of

HOUR_MS: Final = 3_600_000
YEAR_MS: Final = 365 * 24 * HOUR_MS


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


async def test_what_a_clock_that_was_ahead_put_off_is_due(ledger: Ledger) -> None:
    """Attempts and hosts as well as polls; what waits for no longer than it may keeps its time."""
    scene = await Scene.begin(ledger, b"far", b"near")
    deliveries = {}
    for uidl in (b"far", b"near"):
        await scene.fetch(uidl)
        (planned,) = (await scene.route(uidl, "ann@example.com")).deliveries
        await ledger.settle(outcome(planned.delivery_id, planned.mail_id, 1, Result.DEFERRED, code=452))
        deliveries[uidl] = planned.delivery_id
    host = (
        "INSERT INTO hosts (name, paused_until, paused_since, pauses, reason) VALUES (:name, :until, 1, 1, 'refused')"
    )
    now = int(time.time() * 1000)
    await scene.age(host, name="far.example", until=now + YEAR_MS)
    await scene.age(host, name="near.example", until=now + HOUR_MS)
    late = "UPDATE deliveries SET next_attempt_at = next_attempt_at + :late WHERE id = :id"
    await scene.age(late, late=YEAR_MS, id=deliveries[b"far"])

    await ledger.begin_again()

    assert [due.planned.delivery_id for due in await ledger.take_due()] == [deliveries[b"far"]]
    paused = {host.name: host.paused_until - now for host in (await read_standing(LedgerReader(ledger))).hosts}
    assert paused["near.example"] == HOUR_MS
    assert 0 <= paused["far.example"] < HOUR_MS


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
    assert "lost" in (await status_of(ledger)).quarantined[0].reason

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
    await forget(scene, days=365)
    assert await scene.state(b"u1") == "lost"


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
