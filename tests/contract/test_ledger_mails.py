"""One mail's life in every ledger: listed, fetched, routed, deleted; and what listings tell of it."""

from common.ledger import Ledger
from common.ledger.records import Fetched, MailState
from common.ledger.sweeping import Return
from tests.ledger import Scene


async def test_a_mail_goes_from_listed_to_deleted(ledger: Ledger) -> None:
    """The whole life of one mail with two recipients: deletable only when both have it."""
    scene = await Scene.begin(ledger, b"u1")
    assert await scene.fetch(b"u1") is Fetched.RECORDED
    route = await scene.route(b"u1", "ann@example.com", "bob@example.com")
    assert [planned.recipient for planned in route.deliveries] == ["ann@example.com", "bob@example.com"]

    first, second = await scene.deliver(route)

    mail_id = scene.known[b"u1"].mail_id
    assert first.deletable == ()
    assert second.deletable == (mail_id,)
    assert await ledger.record_deleted(scene.lease, [mail_id])
    assert await scene.state(b"u1") == "deleted"


async def test_a_mail_without_deliveries_is_never_deletable(ledger: Ledger) -> None:
    """I2 wants at least one delivery: routing that named nobody must not empty the mailbox."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await scene.route(b"u1")

    assert await ledger.deletable([scene.known[b"u1"].mail_id]) == set()


async def test_nobody_has_a_mail_that_was_only_redirected(ledger: Ledger) -> None:
    """I2: a redirect passes the mail on; it is deletable only when somebody took it."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await scene.route(b"u1", "ann@example.com")
    await scene.age("UPDATE deliveries SET state = 'redirected'")
    assert await ledger.deletable([scene.known[b"u1"].mail_id]) == set()


async def test_a_listing_is_recorded_once(ledger: Ledger) -> None:
    """The same UIDL in the next listing is the same mail, under the same id."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    first = dict(scene.known)

    again = await scene.list(b"u2", b"u1", b"u3")

    assert again[b"u1"].mail_id == first[b"u1"].mail_id
    assert set(again) == {b"u1", b"u2", b"u3"}


async def test_a_listing_that_shrank_by_half_is_believed_the_second_time(ledger: Ledger) -> None:
    """A server that lists half its mail today must not make us think the rest is gone."""
    scene = await Scene.begin(ledger, b"u1", b"u2", b"u3")
    unseen = "SELECT count(*) FROM mails WHERE unseen_since IS NOT NULL"

    await scene.list(b"u1")
    assert (await scene.one(unseen))[0] == 0
    await scene.list(b"u1")
    assert (await scene.one(unseen))[0] == 2


async def test_a_deletion_whose_answer_was_lost_is_learnt_from_the_next_listing(ledger: Ledger) -> None:
    """QUIT was sent, +OK never came: the mail is gone from the listing, so it was deleted."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com"))
    await scene.list()
    await scene.list()
    assert await scene.state(b"u1") == "deleted"


async def test_a_mail_delivered_after_it_vanished_ends_as_deleted(ledger: Ledger) -> None:
    """A server that hides mail on RETR: once all have it, nothing is left to do."""
    scene = await Scene.begin(ledger, b"u1", b"u2")
    await scene.fetch(b"u1")
    route = await scene.route(b"u1", "ann@example.com")
    await scene.list(b"u2")
    await scene.deliver(route)

    await scene.list(b"u2")

    assert await scene.state(b"u1") == "deleted"


async def test_a_deleted_mail_that_is_listed_again_keeps_its_row(ledger: Ledger) -> None:
    """The deletion did not take: the mail is known, deletable again, and never delivered twice."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com"))
    await ledger.record_deleted(scene.lease, [scene.known[b"u1"].mail_id])
    known = await scene.list(b"u1")
    assert known[b"u1"].state is MailState.DELETED


async def test_a_reused_uidl_is_another_mail(ledger: Ledger) -> None:
    """Other bytes under a known UIDL must not inherit what was delivered of the first."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1", content="first")
    await ledger.fetch_again(Return(mail_ids=(scene.known[b"u1"].mail_id,), counted=True))
    await scene.list(b"u1")
    assert await scene.fetch(b"u1", content="second") is Fetched.ANOTHER

    old = scene.known[b"u1"].mail_id
    await ledger.renew_identity(scene.lease, [old])
    assert (await scene.list(b"u1"))[b"u1"].mail_id != old


async def test_another_body_under_the_same_header_is_another_mail(ledger: Ledger) -> None:
    """A device with a constant header: what was delivered of the first body says nothing of the second."""
    scene = await Scene.begin(ledger, b"u1")
    await scene.fetch(b"u1")
    await ledger.fetch_again(Return(mail_ids=(scene.known[b"u1"].mail_id,), counted=True))
    await scene.list(b"u1")
    await scene.age("UPDATE mails SET body_digest = uidl")
    assert await scene.fetch(b"u1") is Fetched.ANOTHER


async def test_three_broken_sessions_skip_a_mail_for_a_day(ledger: Ledger) -> None:
    """One mail that breaks every session must not hold up the mailbox."""
    scene = await Scene.begin(ledger, b"u1")
    for _ in range(3):
        await ledger.record_broken(scene.lease, [scene.known[b"u1"].mail_id], "cut")
    known = await scene.list(b"u1")
    assert known[b"u1"].state is MailState.SKIPPED
    assert known[b"u1"].breaks == 3


async def test_a_skipped_mail_that_breaks_a_session_again_rests_for_another_day(ledger: Ledger) -> None:
    """Else it would be tried at every poll, and break every session of the mailbox for ever."""
    scene = await Scene.begin(ledger, b"u1")
    for _ in range(3):
        await ledger.record_broken(scene.lease, [scene.known[b"u1"].mail_id], "cut")
    await scene.age("UPDATE mails SET progress_at = 1")
    await ledger.record_broken(scene.lease, [scene.known[b"u1"].mail_id], "cut")
    assert (await scene.list(b"u1"))[b"u1"].age < 60_000
