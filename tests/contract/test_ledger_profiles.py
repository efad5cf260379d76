"""What every ledger keeps of profiles: whose they are, what a changed mailbox does, and sealed passwords."""

import pytest

from common.failures import PpsError, UsageError
from common.ledger import LeaseLostError, Ledger
from common.ledger.grants import StoredGrant
from common.ledger.profiles import SAVE, SWITCH, MailboxUnsaidError, ProfileChange, Saved, Switch
from common.ledger.reader import LedgerReader
from common.ledger.recorded import FILE, MANAGER, REMOVED, StoredProfile, read_profiles
from common.ledger.records import Lease
from common.ledger.sealing import STORE, Resealed
from tests.ledger import Scene, change, listed, profile
from tests.status import status_of


async def add(ledger: Ledger, name: str = "office", **keys: object) -> Saved:
    """Add a profile of the manager."""
    return await ledger.write(SAVE, ProfileChange(profile=profile(name, **keys), new=True))


async def edit(ledger: Ledger, *, same_mailbox: bool | None = None, **keys: object) -> Saved:
    """Change the manager's profile `office`."""
    wanted = ProfileChange(profile=profile("office", **keys), new=False, same_mailbox=same_mailbox)
    return await ledger.write(SAVE, wanted)


async def named(ledger: Ledger) -> dict[str, StoredProfile]:
    """Return all profiles by name."""
    return {one.profile.name: one for one in await read_profiles(LedgerReader(ledger))}


async def polled(ledger: Ledger, *uidls: bytes) -> Lease:
    """Poll the one profile that is due, which lists these mails."""
    (lease,) = await ledger.claim_due("test", 10)
    await ledger.record_listing(lease, listed(*uidls))
    return lease


async def free(ledger: Ledger) -> None:
    """End all leases, as time does."""
    await change(ledger, "UPDATE schedule SET lease_until = 1")


async def test_a_profile_that_was_added_is_due(ledger: Ledger) -> None:
    """No restart, no file: the next look at the schedule finds it."""
    assert (await add(ledger)).refused is None

    (lease,) = await ledger.claim_due("test", 10)

    assert lease.profile == profile()
    assert (await named(ledger))["office"].managed_by == MANAGER


async def test_a_name_or_mailbox_is_taken_once_across_file_and_manager(ledger: Ledger) -> None:
    """Two on one mailbox would take each other's mail; nothing is written where one is refused."""
    await ledger.sync_profiles([profile("office")], managed_by=FILE)
    same_place: dict[str, object] = {"user": "office@example.com"}

    assert 'there is a profile "office" already' in str((await add(ledger, "office")).refused)
    assert 'are those of profile "office"' in str((await add(ledger, "second", **same_place)).refused)
    assert (await add(ledger, "third", **same_place, enabled=False)).refused is None
    refused = await ledger.write(SWITCH, Switch(name="third", enabled=True))
    assert 'third: server and --user are those of profile "office"' in str(refused.refused)
    with pytest.raises(UsageError, match=r'"third" name: `pps profile add` made a profile of this name'):
        await ledger.sync_profiles([profile("office"), profile("third")], managed_by=FILE)

    assert {name: one.managed_by for name, one in (await named(ledger)).items()} == {"office": FILE, "third": MANAGER}


async def test_the_file_takes_no_mailbox_that_was_added(ledger: Ledger) -> None:
    """The whole file is refused, and what was there stays."""
    await add(ledger, "added", user="office@example.com")

    with pytest.raises(UsageError, match=r'"office" server and user are those of "added"'):
        await ledger.sync_profiles([profile("office")], managed_by=FILE)

    assert list(await named(ledger)) == ["added"]


async def test_a_sync_leaves_the_managers_profiles_alone(ledger: Ledger) -> None:
    """The file names only its own."""
    await add(ledger, "added")
    await ledger.sync_profiles([profile("office")], managed_by=FILE)
    await ledger.sync_profiles([], managed_by=FILE)

    found = await named(ledger)

    assert (found["added"].profile.enabled, found["added"].managed_by) == (True, MANAGER)
    assert (found["office"].profile.enabled, found["office"].managed_by) == (False, REMOVED)


async def test_another_mailbox_is_asked_about_only_where_mails_are(ledger: Ledger) -> None:
    """A slip in the server's name, mended at once, needs no question; with mails on record only a person knows."""
    await add(ledger)
    assert (await edit(ledger, server="127.0.0.2 110")) == Saved()
    await polled(ledger, b"u1")

    refused = (await edit(ledger, server="127.0.0.3 110")).refused

    assert isinstance(refused, MailboxUnsaidError)
    assert (await named(ledger))["office"].profile.server.host == "127.0.0.2"


async def test_the_same_mailbox_keeps_its_mails(ledger: Ledger) -> None:
    """They are known under the new name, ids and all; a lease that ran out writes nothing more."""
    await add(ledger)
    (old,) = await ledger.claim_due("test", 10)
    before = (await ledger.record_listing(old, listed(b"u1", b"u2"))).known
    await free(ledger)

    assert await edit(ledger, same_mailbox=True, server="pop.example.net 110") == Saved()

    (lease,) = await ledger.claim_due("test", 10)
    assert lease.profile_id == old.profile_id
    with pytest.raises(LeaseLostError):
        await ledger.record_listing(old, listed(b"u3"))
    after = (await ledger.record_listing(lease, listed(b"u1", b"u2"))).known
    assert {mail.mail_id for mail in after.values()} == {mail.mail_id for mail in before.values()}


def grant(mailbox: str, sealed: bytes) -> StoredGrant:
    """Return a mailbox's grant, as a login stores it."""
    return StoredGrant(
        mailbox=mailbox, epoch=None, sealed=sealed, fresh_for=3300, expires_in=3600, grant_expires_in=None
    )


@pytest.mark.parametrize("uidls", [(), (b"u1",)])
async def test_a_grant_moves_with_its_mailbox(ledger: Ledger, uidls: tuple[bytes, ...]) -> None:
    """Nobody has to sign in anew for another name of the same mailbox, whether it ever held a mail or not."""
    await add(ledger)
    await polled(ledger, *uidls)
    await free(ledger)
    await ledger.store_grant(grant(profile().mailbox, b"sealed"))
    moved = profile(server="pop.example.net 110").mailbox

    assert await edit(ledger, same_mailbox=True, server="pop.example.net 110") == Saved()

    found = await ledger.grant_of(moved)
    assert found is not None
    assert found.sealed == b"sealed"
    assert await ledger.grant_of(profile().mailbox) is None


async def test_a_grant_under_the_new_name_is_the_newer_one(ledger: Ledger) -> None:
    """Somebody signed in after the change was made elsewhere, and before it was made here."""
    await add(ledger)
    await ledger.store_grant(grant(profile().mailbox, b"old"))
    moved = profile(server="pop.example.net 110").mailbox
    await ledger.store_grant(grant(moved, b"new"))

    await edit(ledger, same_mailbox=True, server="pop.example.net 110")

    found = await ledger.grant_of(moved)
    assert found is not None
    assert found.sealed == b"new"


async def test_mails_move_neither_during_a_poll_nor_onto_others(ledger: Ledger) -> None:
    """Numbers of a session name the old mailbox; and two mailboxes' mails would be taken for one another."""
    await add(ledger)
    await polled(ledger, b"u1")
    polling = await edit(ledger, same_mailbox=True, server="127.0.0.2 110")
    await free(ledger)
    await edit(ledger, same_mailbox=False, server="127.0.0.2 110")
    await polled(ledger, b"u1")
    await free(ledger)

    taken = await edit(ledger, same_mailbox=True, server="127.0.0.1 110")

    assert "office: is being polled" in str(polling.refused)
    assert not isinstance(polling.refused, UsageError)
    assert "mails of 127.0.0.1 110 office@example.com are on record already" in str(taken.refused)


async def test_a_new_mailbox_leaves_the_old_ones_mails(ledger: Ledger) -> None:
    """They stay with a row of their own, which is polled no more; equal UIDLs of the new one are new mails."""
    await add(ledger)
    old = await polled(ledger, b"u1")

    saved = await edit(ledger, same_mailbox=False, server="127.0.0.2 110")

    ((name, left),) = saved.left_behind
    assert (name, left) == ("office", f"office-{old.profile.mailbox[:8]}")
    found = await named(ledger)
    assert (found[left].profile_id, found[left].managed_by) == (old.profile_id, REMOVED)
    new = await polled(ledger, b"u1")
    assert new.profile_id != old.profile_id
    assert {one.name: one.mails for one in (await status_of(ledger)).profiles} == {
        "office": {"listed": 1},
        left: {"listed": 1},
    }


async def test_who_returns_to_a_mailbox_finds_its_mails(ledger: Ledger) -> None:
    """A profile on a mailbox that was left takes up the row, so that its mails are counted with it again."""
    await add(ledger)
    old = await polled(ledger, b"u1")
    await edit(ledger, same_mailbox=False, server="127.0.0.2 110")
    await free(ledger)

    assert await edit(ledger, server="127.0.0.1 110") == Saved()

    (office,) = (await named(ledger)).values()
    assert office.profile_id == old.profile_id


async def test_a_file_whose_profile_moved_is_taken_as_a_new_mailbox(ledger: Ledger) -> None:
    """Nobody may be there to ask: mail may come twice so, but none is taken for another's; unless it is said."""
    await ledger.sync_profiles([profile()], managed_by=FILE)
    old = await polled(ledger, b"u1")
    await free(ledger)
    same = await ledger.sync_profiles([profile(server="127.0.0.2 110")], managed_by=FILE, same_mailbox=["office"])
    new = await ledger.sync_profiles([profile(server="127.0.0.3 110")], managed_by=FILE)

    assert same == ()
    ((name, left),) = new
    assert name == "office"
    assert (await named(ledger))[left].profile_id == old.profile_id


async def test_a_removed_profile_stays_while_it_has_mails(ledger: Ledger) -> None:
    """It is polled no more, what is under way is counted, and its password is forgotten at once."""
    await add(ledger, "empty")
    assert await ledger.write(SWITCH, Switch(name="empty", removed=True)) == Saved()
    sealed = ProfileChange(profile=profile(password="stored"), new=True, sealed=b"sealed")
    await ledger.write(SAVE, sealed)
    scene = Scene(ledger=ledger, lease=(await ledger.claim_due("test", 10))[0])
    await scene.list(b"u1", b"u2")
    await scene.fetch(b"u1")

    saved = await ledger.write(SWITCH, Switch(name="office", removed=True))

    assert (saved.refused, saved.under_way) == (None, 1)
    (office,) = (await named(ledger)).values()
    assert (office.managed_by, office.sealed, office.under_way) == (REMOVED, None, 1)
    await free(ledger)
    assert await ledger.claim_due("test", 10) == ()


async def test_a_mail_that_moved_on_its_way_is_routed_where_it_is(ledger: Ledger) -> None:
    """The message names the old mailbox; its copy is made in the one that it belongs to now."""
    await add(ledger)
    scene = Scene(ledger=ledger, lease=(await ledger.claim_due("test", 10))[0])
    await scene.list(b"u1")
    await scene.fetch(b"u1")
    await free(ledger)
    await edit(ledger, same_mailbox=True, server="127.0.0.2 110")

    await scene.route(b"u1", "ann@example.com", fingerprint="f")

    assert await scene.one("SELECT mailbox FROM copies") == (profile(server="127.0.0.2 110").mailbox,)


async def test_a_new_password_wakes_a_profile_that_stopped(ledger: Ledger) -> None:
    """It is due at once, and refused sign-ins are forgotten; what was sealed meanwhile is not sealed anew."""
    await add(ledger, password="stored")
    profile_id = (await named(ledger))["office"].profile_id
    await change(ledger, "UPDATE schedule SET due_at = NULL, auth_failures = 4")

    assert await ledger.write(STORE, Resealed(profile_id=profile_id, sealed=b"first"))

    (lease,) = await ledger.claim_due("test", 10)
    assert lease.auth_failures == 0
    assert not await ledger.write(STORE, Resealed(profile_id=profile_id, sealed=b"anew", was=b"older"))
    assert await ledger.write(STORE, Resealed(profile_id=profile_id, sealed=b"anew", was=b"first"))
    assert (await named(ledger))["office"].sealed == b"anew"


async def test_a_reference_forgets_the_password_that_was_stored(ledger: Ledger) -> None:
    """What isn't used isn't kept; other changes keep it."""
    await ledger.write(SAVE, ProfileChange(profile=profile(password="stored"), new=True, sealed=b"sealed"))
    await edit(ledger, password="stored", interval="20m")
    kept = (await named(ledger))["office"].sealed
    await polled(ledger, b"u1")
    await edit(ledger, password="stored", server="127.0.0.2 110", same_mailbox=False)
    moved = (await named(ledger))["office"].sealed
    await edit(ledger)

    assert (kept, moved) == (b"sealed", b"sealed")
    assert (await named(ledger))["office"].sealed is None


async def test_who_is_gone_is_neither_changed_nor_switched(ledger: Ledger) -> None:
    """Another command may have been quicker."""
    for saved in (await edit(ledger), await ledger.write(SWITCH, Switch(name="office", enabled=True))):
        assert isinstance(saved.refused, PpsError)
        assert 'there is no profile "office" any more' in str(saved.refused)


def test_a_stored_profile_shows_no_secret() -> None:
    """Not even the sealed one."""
    one = StoredProfile(profile_id="1", profile=profile(), managed_by=FILE, sealed=b"canary", under_way=0)

    assert "canary" not in repr(one)
