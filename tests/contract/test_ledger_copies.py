"""Routed mail in every ledger: which mails are one copy, and whose deliveries a routing makes."""

import asyncio

from common.ledger import Ledger
from common.ledger.sweeping import Return
from tests.ledger import Scene


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
