"""What a pull sees of its profiles while it goes on, on both databases."""

from common.ledger.pulling import DELIVERED, PENDING, SETTLED, UNSETTLED, read_pulling, recipients_since
from common.ledger.standing import read_clock
from tests.contract.reader import Asked, asked, plant_settled, scans
from tests.ledger import Scene

__all__ = ["asked"]


async def test_a_pull_counts_what_was_settled_since_it_began(asked: Asked) -> None:
    """What everybody has is done before it is deleted; who got how many is counted once a copy."""
    scene = await Scene.begin(asked.ledger, b"u1", b"u2", b"u3")
    since = await read_clock(asked.reader)
    await scene.fetch(b"u1")
    route = await scene.route(b"u1", "ann@example.com", "bob@example.com")
    await scene.fetch(b"u2")
    office = (await read_pulling(asked.reader, since))["office"]
    assert (office.mails, office.pending, office.done, office.total) == (
        {"listed": 1, "fetched": 1, "routed": 1},
        2,
        0,
        3,
    )
    assert (office.octets, office.left, office.polling) == (200, 3, True)

    await scene.deliver(route)
    delivered = (await read_pulling(asked.reader, since))["office"]
    await asked.ledger.record_deleted(scene.lease, [scene.known[b"u1"].mail_id])
    deleted = (await read_pulling(asked.reader, since))["office"]

    assert (delivered.delivered, delivered.deleted, delivered.done, delivered.pending) == (1, 0, 1, 0)
    assert (deleted.delivered, deleted.deleted, deleted.done, deleted.total) == (0, 1, 1, 3)
    found = await recipients_since(asked.reader, office.profile_id, since)
    assert found == {"ann@example.com": 1, "bob@example.com": 1}


async def test_what_was_settled_before_is_nothing_of_this_pull_s(asked: Asked) -> None:
    """Nor does counting it cost anything: no plan scans a whole table."""
    scene = await Scene.begin(asked.ledger, b"u1")
    await plant_settled(asked.ledger, scene.lease.profile_id)
    since = await read_clock(asked.reader)

    office = (await read_pulling(asked.reader, since))["office"]

    assert (office.done, office.total, office.octets) == (0, 1, 0)
    assert await recipients_since(asked.reader, office.profile_id, since) == {}
    plans = [await asked.plan(query) for query in (UNSETTLED, DELIVERED, PENDING)]
    assert scans(*plans, await asked.plan(SETTLED, since=since)) == []
