"""The ledger's numbers for metrics, on both databases: right, free of others' words, cheap beside a million mails."""

from common.failures import PollResult
from common.ledger import gauges
from common.ledger.gauges import read_gauges
from common.ledger.schedule import PollEnd
from common.ledger.standing import DELIVERIES, UNDELETED
from common.ledger.verified import Verified
from common.messages import Result, Stage
from common.metrics.definitions import LEDGER_DELIVERIES, LEDGER_MAILS, PROFILES, QUARANTINED
from tests.contract.reader import Asked, asked, plant_settled, scans
from tests.ledger import Scene, outcome, profile

__all__ = ["asked"]

HOUR_MS = 3_600_000


async def test_what_is_unsettled_is_counted_by_state(asked: Asked) -> None:
    """A settled mail is counted nowhere; one that somebody else removed is told apart."""
    scene = await Scene.begin(asked.ledger, b"u1", b"u2", b"u3", b"u4", b"u5")
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com"))
    await asked.ledger.record_deleted(scene.lease, [scene.known[b"u1"].mail_id])
    await scene.fetch(b"u2")
    await scene.fetch(b"u3")
    await scene.route(b"u3", "ann@example.com", "bob@example.com")
    await scene.age("UPDATE mails SET unseen_since = 1 WHERE uidl_key = :uidl", uidl=b"u4")

    found = await read_gauges(asked.reader, most_profiles=100)

    assert found.mails == {"fetched": 1, "routed": 1, "removed": 1, "listed": 1}
    assert found.deliveries == {"pending": 2}
    assert found.quarantined == {}
    assert set(found.mails) <= set(LEDGER_MAILS.labels[0].values)
    assert set(found.deliveries) <= set(LEDGER_DELIVERIES.labels[0].values)


async def test_ages_are_those_of_what_waits(asked: Asked) -> None:
    """Of the queue before routers, of each target's, of all that is on its way, and of what could be deleted."""
    scene = await Scene.begin(asked.ledger, b"u1", b"u2", b"u3")
    await scene.fetch(b"u1")
    await scene.fetch(b"u2")
    await scene.route(b"u2", "ann@example.com", target="spare")
    await scene.fetch(b"u3")
    await scene.deliver(await scene.route(b"u3", "ann@example.com"))
    older = "UPDATE mails SET listed_at = listed_at - :age, progress_at = progress_at - :age WHERE uidl_key = :uidl"
    await scene.age(older, uidl=b"u1", age=3 * HOUR_MS)
    await scene.age(older, uidl=b"u3", age=5 * HOUR_MS)
    await scene.age("UPDATE deliveries SET created_at = created_at - :age WHERE state = 'pending'", age=2 * HOUR_MS)

    found = await read_gauges(asked.reader, most_profiles=100)

    assert 3 * 3600 <= found.fetched_age < 4 * 3600
    assert {target: int(age // 3600) for target, age in found.pending_age.items()} == {"spare": 2}
    assert 3 * 3600 <= found.undelivered_age < 4 * 3600
    assert 5 * 3600 <= found.undeleted_age < 6 * 3600


async def test_an_empty_ledger_has_no_ages(asked: Asked) -> None:
    """Nothing waits: that is 0, not unknown."""
    found = await read_gauges(asked.reader, most_profiles=100)

    assert (found.undelivered_age, found.undeleted_age, found.fetched_age, found.pending_age) == (0, 0, 0, {})
    assert (found.overdue, found.paused_hosts, found.each_profile, found.profiles) == (0, 0, [], {})


async def test_reasons_of_quarantine_are_classes_never_words(asked: Asked) -> None:
    """What a target said may be anything; it is not what a label may hold."""
    scene = await Scene.begin(asked.ledger, *(b"u%d" % number for number in range(7)))
    for uidl, words in ((b"u0", "554 5.7.1 ann@example.com is a spammer"), (b"u1", "tried for 5 days: 450 busy"),
                        (b"u2", "may have been delivered: 3 times no answer: silence")):  # fmt: skip
        await scene.fetch(uidl)
        (planned,) = (await scene.route(uidl, "ann@example.com")).deliveries
        told = outcome(planned.delivery_id, planned.mail_id, 1, Result.REFUSED, code=554, stage=Stage.DOT, reply=words)
        await asked.ledger.settle(told)
    await scene.fetch(b"u3")
    await scene.route(b"u3", "ann@example.com", quarantine="loop: more than 50 Received fields")
    await asked.ledger.quarantine(scene.known[b"u4"].mail_id, "a row that can't be written")
    set_aside = "UPDATE mails SET state = :state, reason = :reason WHERE uidl_key = :uidl"
    await scene.age(set_aside, state="quarantined", reason="sent back to be fetched five times", uidl=b"u5")
    await scene.age(set_aside, state="lost", reason="its bytes are gone", uidl=b"u6")

    found = await read_gauges(asked.reader, most_profiles=100)

    assert found.quarantined == dict.fromkeys(QUARANTINED.labels[0].values, 1)


async def test_profiles_are_counted_by_how_they_stand(asked: Asked) -> None:
    """Overdue is who is due for long and isn't polled; who is stopped, disabled or being polled is not."""
    names = ("active", "late", "polled", "failing", "stopped")
    wanted = [profile(name) for name in names] + [profile("disabled", enabled=False)]
    await asked.ledger.sync_profiles(wanted, managed_by="file")
    leases = {lease.profile.name: lease for lease in await asked.ledger.claim_due("test", 10)}
    for name, result, due_in in (
        ("active", PollResult.OK, 600.0),
        ("late", PollResult.EMPTY, 600.0),
        ("failing", PollResult.NETWORK, 600.0),
        ("stopped", PollResult.AUTH, None),
    ):
        await asked.ledger.end_poll(PollEnd(lease=leases[name], result=result, error=None, due_in=due_in))
    scene = Scene(ledger=asked.ledger, lease=leases["late"])
    for name in ("late", "polled"):
        late = "UPDATE schedule SET due_at = 1000 WHERE profile_id = :id"
        await scene.age(late, id=leases[name].profile_id)
    await asked.ledger.pause_target("spare", "connection refused", 60)

    found = await read_gauges(asked.reader, most_profiles=100)

    assert found.profiles == {"active": 3, "backoff": 1, "stopped": 1, "disabled": 1}
    assert set(found.profiles) == set(PROFILES.labels[0].values)
    assert found.overdue == 1
    assert found.paused_targets == {"spare"}
    assert {one.name: one.up for one in found.each_profile} == {
        "active": True, "late": True, "failing": False, "stopped": False, "polled": None,
    }  # fmt: skip
    successes = {one.name for one in found.each_profile if one.last_success is not None}
    assert successes == {"active", "late"}
    assert all(one.last_success > 1_700_000_000 for one in found.each_profile if one.last_success is not None)


async def test_with_too_many_profiles_none_has_gauges_of_its_own(asked: Asked) -> None:
    """Some of them would be worse than none: nobody would miss the others."""
    await asked.ledger.sync_profiles([profile(f"p{number}") for number in range(3)], managed_by="file")

    assert len((await read_gauges(asked.reader, most_profiles=3)).each_profile) == 3
    assert (await read_gauges(asked.reader, most_profiles=2)).each_profile == []
    assert (await read_gauges(asked.reader, most_profiles=0)).each_profile == []


async def test_no_number_costs_a_look_at_settled_rows(asked: Asked) -> None:
    """Each is answered by an index: what is asked for four times a minute must not grow with history."""
    scene = await Scene.begin(asked.ledger, b"u1")
    await plant_settled(asked.ledger, scene.lease.profile_id)
    queries = (gauges.MAILS, gauges.MAILS_SET_ASIDE, gauges.DELIVERIES_SET_ASIDE, DELIVERIES, UNDELETED)

    assert scans(*[await asked.plan(query) for query in queries]) == []


async def test_what_a_verification_found_is_told(asked: Asked) -> None:
    """Before the first one nobody knows; the newest counts."""
    assert (await read_gauges(asked.reader, most_profiles=9)).verified == Verified()
    scene = await Scene.begin(asked.ledger)
    made = """
INSERT INTO verifications (id, began_at, ended_at, whole, mails, breaches, undelivered, document)
VALUES (:id, :at, :at, :whole, 9, :breaches, :undelivered, '{}')
"""
    await scene.age(made, id="v1", at=1000, whole=True, breaches=0, undelivered=0)
    await scene.age(made, id="v2", at=2000, whole=True, breaches=3, undelivered=2)

    verified = (await read_gauges(asked.reader, most_profiles=9)).verified

    assert (verified.at, verified.breaches, verified.undelivered) == (2000, 3, 2)
