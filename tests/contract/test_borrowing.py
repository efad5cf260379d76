"""A mailbox is looked at without being polled: one suite, run on SQLite and on PostgreSQL."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import pytest

from common.hours import DAYS
from common.ledger import Ledger
from common.ledger.borrowing import BORROW, GIVE_BACK, Borrowed, Returned, Wish
from tests.ledger import change, profile
from tests.status import status_of

PAUSE: Final = """
INSERT INTO hosts (name, paused_until, paused_since, pauses, reason)
SELECT host, 9000000000000, 1, 1, 'it refuses all' FROM schedule
"""


async def borrow(ledger: Ledger, name: str = "office", *, per_host: int = 8) -> Borrowed:
    """Ask to look at a profile's mailbox."""
    found = next(one for one in (await status_of(ledger)).profiles if one.name == name)
    return await ledger.write(BORROW, Wish(profile_id=found.profile_id, owner="looker", per_host=per_host))


async def begin(ledger: Ledger, names: Sequence[str] = ("office",), **keys: object) -> None:
    """Make these profiles due."""
    await ledger.sync_profiles([profile(name, **keys) for name in names], managed_by="file")


async def test_nobody_polls_what_is_looked_at_and_its_schedule_stays(ledger: Ledger) -> None:
    """Its poll waits until it is given back, and is due as before; how the last one ended is as it was."""
    await begin(ledger)
    before = (await status_of(ledger)).profiles[0]

    borrowed = await borrow(ledger)

    assert borrowed.lease is not None
    assert borrowed.lease.profile.name == "office"
    assert await ledger.claim_due("fetcher", 10) == ()
    assert (await borrow(ledger)).why_not == "it is being polled"
    await ledger.write(GIVE_BACK, Returned(lease=borrowed.lease, login_delay=0))
    after = (await status_of(ledger)).profiles[0]
    assert (after.due_at, after.last_started_at, after.last_result) == (before.due_at, None, None)
    assert len(await ledger.claim_due("fetcher", 10)) == 1


async def test_a_poll_is_not_disturbed(ledger: Ledger) -> None:
    """Its mailbox is had once it ended; what is given back late takes nobody's lease away."""
    await begin(ledger)
    borrowed = await borrow(ledger)
    assert borrowed.lease is not None
    await change(ledger, "UPDATE schedule SET lease_until = 1")
    (lease,) = await ledger.claim_due("fetcher", 10)

    refused = await borrow(ledger)
    await ledger.write(GIVE_BACK, Returned(lease=borrowed.lease, login_delay=0))

    assert (refused.lease, refused.why_not, refused.passing) == (None, "it is being polled", True)
    assert await ledger.renew_lease(lease)
    assert await ledger.claim_due("another", 10) == ()


async def test_a_server_s_wish_for_pauses_holds_for_the_next_poll_too(ledger: Ledger) -> None:
    """LOGIN-DELAY is about sign-ins, whatever for."""
    await begin(ledger)
    borrowed = await borrow(ledger)
    assert borrowed.lease is not None

    await ledger.write(GIVE_BACK, Returned(lease=borrowed.lease, login_delay=600))

    assert await ledger.claim_due("fetcher", 10) == ()
    again = await borrow(ledger)
    assert again.why_not is not None
    assert again.why_not.startswith("the server asks for longer pauses between sign-ins (LOGIN-DELAY): ")
    assert not again.passing


async def test_a_host_has_no_more_sessions_than_it_may(ledger: Ledger) -> None:
    """Polls and looks count together."""
    await begin(ledger, ("one", "two"), server="pop.example.net 995s")
    assert (await borrow(ledger, "one")).lease is not None

    refused = await borrow(ledger, "two", per_host=1)

    assert (refused.why_not, refused.passing) == ("pop.example.net has as many sessions as it may", True)
    assert (await borrow(ledger, "two", per_host=2)).lease is not None


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE profiles SET enabled = false", "it is disabled"),
        (
            PAUSE,
            "sign-ins at 127.0.0.1:110 are paused: it refuses all",
        ),
    ],
)
async def test_what_may_not_be_polled_is_not_looked_at(ledger: Ledger, statement: str, why: str) -> None:
    """For the same reasons, told in the same words."""
    await begin(ledger)
    await change(ledger, statement)

    assert (await borrow(ledger)).why_not == why


async def test_outside_its_hours_a_mailbox_is_left_alone(ledger: Ledger) -> None:
    """Who sets hours has a reason."""
    another_day = DAYS[(datetime.now(UTC).weekday() + 3) % 7]
    await begin(ledger, hours=[f"{another_day} 08:00-09:00"], time_zone="UTC")

    assert (await borrow(ledger)).why_not == f"outside its hours: {another_day} 08:00-09:00"
