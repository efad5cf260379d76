"""Who may poll a mailbox, and why what is due is held: one suite, run on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from common.failures import PollResult
from common.hours import DAYS
from common.ledger import Ledger
from common.ledger.hosts import HostNote
from common.ledger.records import HostMemory, Lease
from common.ledger.schedule import PollEnd
from tests.ledger import change, profile
from tests.status import ProfileStatus, status_of

A_MINUTE_MS = 60_000


async def begin(ledger: Ledger, *names: str, **keys: object) -> None:
    """Make these profiles due, with equal keys."""
    await ledger.sync_profiles([profile(name, **keys) for name in names], managed_by="file")


async def claim(ledger: Ledger, owner: str = "one", *, limit: int = 10, per_host: int = 8) -> list[str]:
    """Claim, and return the names of the leased profiles."""
    return [lease.profile.name for lease in await ledger.claim_due(owner, limit, per_host=per_host)]


async def end(ledger: Ledger, leases: Sequence[Lease], result: PollResult, *, due_in: float | None = 0.0) -> None:
    """End polls, one after the other."""
    for lease in leases:
        await ledger.end_poll(PollEnd(lease=lease, result=result, error=None, due_in=due_in))


async def standing(ledger: Ledger, name: str) -> ProfileStatus:
    """Return how a profile stands."""
    return next(one for one in (await status_of(ledger)).profiles if one.name == name)


def names(count: int) -> list[str]:
    """Return the names of so many profiles."""
    return [f"p{number}" for number in range(count)]


async def test_a_host_has_so_many_sessions_of_all_fetchers_together(ledger: Ledger) -> None:
    """Its own rest waits for a slot; the profiles of another host don't wait behind it."""
    busy = [profile(name, server="pop.busy.example 995s") for name in names(9)]
    await ledger.sync_profiles([*busy, profile("other", server="pop.other.example 995s")], managed_by="file")
    await change(ledger, "UPDATE schedule SET due_at = due_at - 5000 WHERE host = 'pop.busy.example'")

    first = await ledger.claim_due("one", 4, per_host=3)
    second = await claim(ledger, "two", limit=4, per_host=3)

    assert sorted(lease.profile.server.host for lease in first) == ["pop.busy.example"] * 3 + ["pop.other.example"]
    assert second == []
    await end(ledger, first[:1], PollResult.EMPTY, due_in=600)
    assert len(await claim(ledger, "two", limit=4, per_host=3)) == 1


async def test_another_port_of_this_machine_is_another_host(ledger: Ledger) -> None:
    """Behind it is a tunnel to somebody else."""
    ports = [profile(f"p{port}", server=f"127.0.0.1 {port}") for port in (1110, 1111)]
    await ledger.sync_profiles(ports, managed_by="file")
    assert len(await claim(ledger, per_host=1)) == 2


async def test_one_mailbox_is_polled_under_one_profile_at_a_time(ledger: Ledger) -> None:
    """Whoever wrote the profiles, and whichever fetcher asks; the other one says so, and has its turn."""
    await begin(ledger, "mine", user="box@example.com")
    await ledger.sync_profiles([profile("yours", user="box@example.com")], managed_by="options")

    (lease,) = await ledger.claim_due("one", 10)

    assert lease.profile.name == "mine"
    assert (await standing(ledger, "yours")).held == "its mailbox is being polled as mine"
    await change(ledger, "UPDATE schedule SET due_at = 0")
    assert await claim(ledger, "two") == []
    await end(ledger, [lease], PollResult.EMPTY, due_in=600)
    await change(ledger, "UPDATE schedule SET due_at = 0 WHERE held IS NOT NULL")
    assert await claim(ledger, "two") == ["yours"]
    assert (await standing(ledger, "yours")).held is None


async def test_fetchers_that_ask_at_once_never_share_a_mailbox(ledger: Ledger) -> None:
    """Ten claims race for ten profiles of one mailbox: at most one gets one."""
    for name in names(10):
        await ledger.sync_profiles([profile(name, user="box@example.com")], managed_by=name)
    claims = await asyncio.gather(*(claim(ledger, f"worker-{n}", limit=1) for n in range(10)))
    assert sum(len(one) for one in claims) <= 1


async def test_a_server_is_left_alone_as_long_as_it_asks(ledger: Ledger) -> None:
    """LOGIN-DELAY holds also against a person who wants a poll now."""
    await begin(ledger, "office")
    (lease,) = await ledger.claim_due("one", 10)
    ended = PollEnd(lease=lease, result=PollResult.EMPTY, error=None, due_in=10, login_delay=300)
    await ledger.end_poll(ended)
    after = await standing(ledger, "office")
    assert after.due_at is not None
    assert after.due_at - after.read_at > 250_000

    await ledger.set_due("office")

    assert await claim(ledger) == []
    assert "longer pauses between sign-ins (LOGIN-DELAY)" in ((await standing(ledger, "office")).held or "")
    await change(ledger, "UPDATE schedule SET not_before = 1, due_at = 1")
    assert await claim(ledger) == ["office"]


@pytest.mark.parametrize(("result", "due_in"), [(PollResult.EMPTY, 600.0), (PollResult.AUTH, None)])
async def test_what_was_asked_for_during_a_poll_is_polled_after_it(
    ledger: Ledger, result: PollResult, due_in: float | None
) -> None:
    """`pps pull` beside a service: the poll under way may have listed already, or tried the old password."""
    await begin(ledger, "office")
    leases = await ledger.claim_due("one", 10)
    await change(ledger, "UPDATE schedule SET last_started_at = last_started_at - 5, due_at = due_at - 5")
    await ledger.set_due("office")

    await end(ledger, leases, result, due_in=due_in)

    again = await ledger.claim_due("two", 10)
    assert [lease.profile.name for lease in again] == ["office"]
    await end(ledger, again, result, due_in=due_in)
    assert await claim(ledger, "three") == []


async def test_a_pause_of_its_host_leaves_a_poll_that_is_under_way_alone(ledger: Ledger) -> None:
    """Only what isn't begun yet is held: the rest has its own end."""
    await begin(ledger, "office")
    (lease,) = await ledger.claim_due("one", 10)
    await ledger.remember_host(HostNote(host=lease.profile.host, window=4))
    await change(ledger, "UPDATE hosts SET paused_until = 9999999999999, reason = 'refused'")

    assert await claim(ledger, "two") == []

    assert (await standing(ledger, "office")).held is None


async def test_outside_its_hours_a_profile_is_held_until_they_begin(ledger: Ledger) -> None:
    """By the database's clock; the reason names hours and zone."""
    today = datetime.fromtimestamp((await status_of(ledger)).at / 1000, UTC).weekday()
    other_day = DAYS[(today + 3) % 7]
    await begin(ledger, "office", hours=[f"{other_day} 10:00-11:00"], time_zone="UTC")

    assert await claim(ledger) == []

    held = await standing(ledger, "office")
    assert held.held == f"outside its hours: {other_day} 10:00-11:00 (UTC)"
    assert held.due_at is not None
    assert 2 * 86_400_000 < held.due_at - held.read_at < 4 * 86_400_000
    await begin(ledger, "office", hours=["00:00-24:00"])
    assert await claim(ledger) == ["office"]


async def test_many_refused_sign_ins_in_a_row_mean_the_host(ledger: Ledger) -> None:
    """Its polls pause, the refusals don't count, and one profile at a time is tried until one is let in."""
    await begin(ledger, *names(6), server="pop.example.net 995s")
    leases = await ledger.claim_due("one", 10)
    await end(ledger, leases[:5], PollResult.AUTH, due_in=None)  # these would have stopped

    (host,) = (await status_of(ledger)).hosts
    assert host.reason == "pop.example.net refused 5 accounts in a row: the host, it seems, not the passwords"
    await end(ledger, leases[5:], PollResult.NETWORK)
    assert await claim(ledger) == []
    assert (await standing(ledger, leases[5].profile.name)).held == host.reason
    assert all(one.due_at == host.paused_until for one in (await status_of(ledger)).profiles)

    await change(ledger, f"UPDATE hosts SET paused_until = paused_until - {20 * A_MINUTE_MS}")  # noqa: S608 (a constant)
    await change(ledger, "UPDATE schedule SET due_at = 1")
    (probe,) = await ledger.claim_due("one", 10)
    assert probe.auth_failures == 0
    assert await claim(ledger, "two") == []
    await end(ledger, [probe], PollResult.EMPTY, due_in=600)
    assert (await status_of(ledger)).hosts == ()
    assert len(await claim(ledger)) == 5


async def test_a_host_that_goes_on_refusing_pauses_longer(ledger: Ledger) -> None:
    """A quarter of an hour, then an hour."""
    await begin(ledger, *names(5), server="pop.example.net 995s")
    pauses = []
    for _ in range(2):
        for _profile in range(5):
            leases = await ledger.claim_due("one", 10, per_host=1)
            await end(ledger, leases, PollResult.AUTH, due_in=900)
        (host,) = (status := await status_of(ledger)).hosts
        pauses.append(round((host.paused_until - status.at) / A_MINUTE_MS))
        await change(ledger, "UPDATE hosts SET paused_until = 1")
        await change(ledger, "UPDATE schedule SET due_at = 1, last_finished_at = 1")
    assert pauses == [15, 60]


@pytest.mark.parametrize("good", [0, 4])
async def test_single_wrong_passwords_are_no_fault_of_the_host(ledger: Ledger, good: int) -> None:
    """Four refusals, or five with somebody let in between: each counts against its profile."""
    await begin(ledger, *names(6), server="pop.example.net 995s")
    leases = await ledger.claim_due("one", 10)
    await end(ledger, leases[:4], PollResult.AUTH)
    if good:
        await end(ledger, leases[5:], PollResult.OK)
        await end(ledger, leases[4:5], PollResult.AUTH)
    assert (await status_of(ledger)).hosts == ()
    assert {lease.auth_failures for lease in await ledger.claim_due("one", 4)} == {1}


async def test_what_a_host_did_not_bear_is_remembered_for_a_day(ledger: Ledger) -> None:
    """By every fetcher, for all its profiles."""
    await begin(ledger, "office", server="pop.example.net 995s")
    await ledger.remember_host(HostNote(host="pop.example.net", window=4))
    await ledger.remember_host(HostNote(host="pop.example.net", hangs_up_on_capa=True))
    (lease,) = await ledger.claim_due("one", 10)
    assert lease.memory == HostMemory(window=4, hangs_up_on_capa=True)
    await end(ledger, [lease], PollResult.EMPTY)

    await change(ledger, "UPDATE hosts SET window_until = 1, no_capa_until = 1")

    (lease,) = await ledger.claim_due("one", 10)
    assert lease.memory == HostMemory()


async def test_a_disabled_profile_stands_before_nobody(ledger: Ledger) -> None:
    """It has no time at which it is due, whatever ends or is asked meanwhile; once enabled it is due at once."""
    await begin(ledger, "off", "office")
    leases = await ledger.claim_due("one", 10)
    await ledger.sync_profiles([profile("off", enabled=False), profile("office")], managed_by="file")
    await end(ledger, leases, PollResult.EMPTY)
    await ledger.set_due("off")

    assert (await standing(ledger, "off")).due_at is None

    await ledger.sync_profiles([profile("off"), profile("office")], managed_by="file")
    assert sorted(await claim(ledger)) == ["off", "office"]
