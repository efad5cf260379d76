"""Mails are found by what a person knows of them, on both databases, and each has its whole life on record."""

from common.ledger.lives import Life, Wanted, find_mails, life_of, list_mails, siblings_of
from common.messages import Result
from tests.contract.reader import Asked, asked
from tests.ledger import Scene, outcome

__all__ = ["asked"]


async def of_ann_and_bob(asked: Asked) -> Scene:
    """Return a scene of five mails: delivered to Ann, put off for Bob, refused by Ann, listed, and removed."""
    scene = await Scene.begin(asked.ledger, b"u1", b"u2", b"u3", b"u4", b"u5")
    for uidl, user, result in (
        (b"u1", "ann", Result.DELIVERED),
        (b"u2", "bob", Result.DEFERRED),
        (b"u3", "ann", Result.REFUSED),
    ):
        await scene.fetch(uidl)
        (planned,) = (await scene.route(uidl, f"{user}@example.com")).deliveries
        told = outcome(planned.delivery_id, planned.mail_id, 1, result, code=550, enhanced="5.7.1", reply="said so")
        await asked.ledger.settle(told)
    await scene.age("UPDATE mails SET unseen_since = 1 WHERE uidl_key = :uidl", uidl=b"u5")
    return scene


async def uidls(asked: Asked, **wanted: object) -> list[bytes]:
    """Return the UIDLs of the mails that are listed."""
    found = await list_mails(asked.reader, Wanted(**({"limit": 50} | wanted)))  # type: ignore[arg-type]
    return [life.uidl for life in found.lives]


async def test_mails_are_listed_oldest_first_the_newest_of_them(asked: Asked) -> None:
    """As many as are wanted; that there are more is told."""
    await of_ann_and_bob(asked)

    assert await uidls(asked) == [b"u1", b"u2", b"u3", b"u4", b"u5"]
    assert await uidls(asked, limit=2) == [b"u4", b"u5"]
    assert (await list_mails(asked.reader, Wanted(limit=2))).more
    assert not (await list_mails(asked.reader, Wanted(limit=5))).more


async def test_each_condition_narrows_the_list(asked: Asked) -> None:
    """A profile, a state, a recipient with or without domain, what was put off or set aside, and when."""
    await of_ann_and_bob(asked)
    every = [b"u1", b"u2", b"u3", b"u4", b"u5"]

    assert await uidls(asked, profile="office") == every
    assert await uidls(asked, profile="other") == []
    assert await uidls(asked, state="routed") == [b"u1", b"u2", b"u3"]
    assert await uidls(asked, state="listed") == [b"u4"]
    assert await uidls(asked, state="removed") == [b"u5"]
    assert await uidls(asked, recipient="ann@example.com") == [b"u1", b"u3"]
    assert await uidls(asked, recipient="Bob") == [b"u2"]
    assert await uidls(asked, recipient="an") == []
    assert await uidls(asked, deferred=True) == [b"u2"]
    assert await uidls(asked, quarantined=True) == [b"u3"]
    assert await uidls(asked, quarantined=True, recipient="bob") == []
    assert await uidls(asked, since=0) == every
    assert await uidls(asked, since=99_999_999_999_999) == []


async def test_a_life_has_its_times_and_deliveries(asked: Asked) -> None:
    """When it was listed, fetched and routed; who gets it, why, in what state, and in whose words."""
    scene = await of_ann_and_bob(asked)

    life = await life_of(asked.reader, scene.known[b"u2"].mail_id)

    assert (life.profile, life.uidl, life.size, life.octets, life.state) == ("office", b"u2", 100, 100, "routed")
    assert life.fetched_at is not None
    assert life.routed_at is not None
    assert life.listed_at <= life.fetched_at <= life.routed_at
    (piece,) = life.pieces
    assert (piece.recipient, piece.reason, piece.state, piece.attempts) == ("bob@example.com", "To", "deferred", 1)
    assert piece.last_reply == "said so"
    assert piece.next_attempt_at is not None
    assert piece.next_attempt_at > piece.created_at


async def test_a_mail_is_found_by_the_beginning_of_its_id_or_of_a_delivery_s(asked: Asked) -> None:
    """The log names both; what fits several names them, what fits none none."""
    scene = await of_ann_and_bob(asked)
    mail_id = scene.known[b"u2"].mail_id
    life = await life_of(asked.reader, mail_id)

    assert await find_mails(asked.reader, mail_id) == (mail_id,)
    assert await find_mails(asked.reader, life.pieces[0].delivery_id) == (mail_id,)
    assert len(await find_mails(asked.reader, mail_id[:6])) == 4
    assert await find_mails(asked.reader, "ffff") == ()


async def test_the_mails_of_one_copy_know_of_each_other(asked: Asked) -> None:
    """The provider stored one a recipient; each shows the deliveries of them all."""
    scene = await Scene.begin(asked.ledger, b"u1", b"u2")
    for uidl in (b"u1", b"u2"):
        await scene.fetch(uidl, content=uidl.decode())
        await scene.route(uidl, "ann@example.com", "bob@example.com", fingerprint="same", content=uidl.decode())
    first: Life = await life_of(asked.reader, scene.known[b"u1"].mail_id)

    (sibling,) = await siblings_of(asked.reader, first)

    assert sibling.mail_id == scene.known[b"u2"].mail_id
    assert [piece.recipient for piece in sibling.pieces] == ["ann@example.com", "bob@example.com"]
    unrouted = (await scene.list(b"u1", b"u2", b"u3"))[b"u3"].mail_id
    assert await siblings_of(asked.reader, await life_of(asked.reader, unrouted)) == ()
