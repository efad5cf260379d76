"""Nothing that the service or a person asks often grows with what was settled: each query's plan on a full ledger."""

import asyncio
from typing import TYPE_CHECKING, Final

from common.failures import PollResult
from common.ledger import reading
from common.ledger.claiming import HeldClaim
from common.ledger.deciding import Decision, Verb
from common.ledger.desk import Desk
from common.ledger.gauges import read_gauges
from common.ledger.hiding import missing_of
from common.ledger.lives import Wanted, find_mails, life_of, list_mails, siblings_of
from common.ledger.notice_board import NoticeBoard
from common.ledger.notices import Wanted as Noticeable
from common.ledger.pruning import prunable
from common.ledger.pulling import read_pulling, recipients_since
from common.ledger.queued import read_queued
from common.ledger.reader import LedgerReader
from common.ledger.records import Claimed, ClaimRequest, PlannedDelivery
from common.ledger.schedule import PollEnd
from common.ledger.standing import read_standing
from common.ledger.stuck import Stuck
from common.ledger.sweeping import Return
from common.messages import DeliveryOutcome, Result, Stage
from common.retention import USUAL
from tests.contract.plans import Plans, plans, too_much
from tests.history import add_history, add_waiting_profiles
from tests.ledger import Scene, outcome, profile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["plans"]

HISTORY: Final = 20_000
"""Settled mails, half of them of the very mailbox that is polled."""

BATCH: Final = 40
MOST: Final = 10 * BATCH
"""Rows of one table that one statement of a batch may look at: some a mail, whatever else was settled."""


async def filled(plans: Plans) -> Scene:
    """Begin a poll of a mailbox with a long history beside another one's."""
    ledger = plans.ledger
    await ledger.sync_profiles([profile(), profile("other"), profile("idle")], managed_by="file")
    leases = {lease.profile.name: lease for lease in await ledger.claim_due("test", 10)}
    boxes = [(leases[name].profile.mailbox, leases[name].profile_id) for name in ("office", "other")]
    await add_history(ledger, boxes, count=HISTORY)
    plans.count_rows()
    return Scene(ledger=ledger, lease=leases["office"])


async def test_a_mail_s_way_looks_at_its_own_rows_only(plans: Plans) -> None:
    """From the claim of its poll to its deletion, in batches, as workers do it."""
    scene = await filled(plans)
    ledger = plans.ledger
    with plans.collected() as touches:
        uidls = [b"u%d" % number for number in range(BATCH)]
        await scene.list(*uidls)
        await asyncio.gather(*(scene.fetch(uidl) for uidl in uidls))
        routes = await asyncio.gather(
            *(scene.route(uidl, "ann@example.com", fingerprint=f"{n % 30:064}") for n, uidl in enumerate(uidls))
        )
        planned = [one for route in routes for one in route.deliveries]
        claimed = await asyncio.gather(*(ledger.claim(_request(one)) for one in planned))
        helds = [_held(one, claim) for one, claim in zip(planned, claimed, strict=True)]
        await asyncio.gather(*(ledger.renew(held) for held in helds))
        await asyncio.gather(*(ledger.release(held) for held in helds[:5]))
        results = [Result.DEFERRED, Result.REFUSED, Result.NO_CONTENT, *[Result.DELIVERED] * len(planned)]
        await asyncio.gather(*(ledger.settle(_ended(*one)) for one in zip(planned, results, strict=False)))
        ids = [known.mail_id for known in scene.known.values()]
        deletable = sorted(await ledger.deletable(ids))
        await ledger.undone_at("local")
        assert await ledger.record_deleted(scene.lease, deletable[:20])
        assert await ledger.record_kept(scene.lease, deletable[20:])
        assert await ledger.record_skipped(scene.lease, ids[:1], "too large")
        assert await ledger.record_broken(scene.lease, ids[:1], "cut")
        await scene.list(*uidls[10:])
        await scene.list(*uidls[30:])
        await scene.list(*uidls[30:])
        await ledger.renew_identity(scene.lease, ids[-1:])
        await ledger.end_poll(PollEnd(lease=scene.lease, result=PollResult.OK, error=None, due_in=0))
        assert await ledger.claim_due("test", 10)
        await ledger.seconds_to_next_poll()
    assert {touch.table for touch in touches} >= {"mails", "deliveries", "copies"}
    assert not (found := too_much(touches, most=MOST)), "\n".join(found)


def _request(planned: PlannedDelivery) -> ClaimRequest:
    return ClaimRequest(delivery_id=planned.delivery_id, attempt=planned.attempt, repeatable=True)


def _held(planned: PlannedDelivery, claimed: Claimed) -> HeldClaim:
    return HeldClaim(delivery_id=planned.delivery_id, attempt=planned.attempt, token=claimed.token)


def _ended(planned: PlannedDelivery, result: Result) -> DeliveryOutcome:
    code = 250 if result is Result.DELIVERED else 550
    return outcome(planned.delivery_id, planned.mail_id, 1, result, code=code, enhanced="5.1.1", stage=Stage.RCPT)


async def test_the_sweeper_and_who_looks_read_what_waits_only(plans: Plans) -> None:
    """Sweeps, status, lists of mails, quarantine and its decisions, notices: beside a long history."""
    scene = await filled(plans)
    ledger, reader = plans.ledger, LedgerReader(plans.ledger)
    uidls = [b"u%d" % number for number in range(BATCH)]
    await scene.list(*uidls)
    await asyncio.gather(*(scene.fetch(uidl) for uidl in uidls))
    routes = await asyncio.gather(*(scene.route(uidl, "ann@example.com") for uidl in uidls[5:]))
    planned = [one for route in routes for one in route.deliveries]
    refused = [outcome(one.delivery_id, one.mail_id, 1, Result.REFUSED, code=554) for one in planned[:10]]
    await asyncio.gather(*(ledger.settle(one) for one in refused))
    for uidl in uidls[:2]:
        await ledger.quarantine(scene.known[uidl].mail_id, "a loop")
    await scene.age("UPDATE deliveries SET next_attempt_at = 1 WHERE state = 'pending'")
    await scene.age("UPDATE mails SET progress_at = 1 WHERE state = 'fetched'")
    plans.count_rows()
    mail_id, stuck = planned[0].mail_id, Desk(ledger)
    decided = Decision(verb=Verb.REDIRECT, mail_id=mail_id, delivery_id=planned[0].delivery_id, recipient="bob")

    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "sweep deliveries": ledger.take_due,
        "sweep mails": ledger.take_stale,
        "fetch again": lambda: ledger.fetch_again(Return(delivery_ids=(planned[-1].delivery_id,), counted=True)),
        "needed blobs": lambda: ledger.read(lambda c: reading.needed_blobs(c, [one.mail_id for one in planned])),
        "vanished": lambda: ledger.read(lambda c: reading.vanished_undeleted(c, scene.lease.profile.mailbox)),
        "unrecorded": lambda: ledger.read(lambda c: reading.unrecorded(c, scene.lease.profile.mailbox, uidls)),
        "status": lambda: read_standing(reader),
        "queues": lambda: read_queued(reader),
        "metrics": lambda: read_gauges(reader, most_profiles=100),
        "hidden mail": lambda: ledger.read(lambda c: missing_of(c, scene.lease.profile.mailbox)),
        "pulling": lambda: read_pulling(reader, 1 << 60),
        "recipients": lambda: recipients_since(reader, scene.lease.profile_id, 1 << 60),
        "mails": lambda: list_mails(reader, Wanted(limit=20)),
        "mails of a profile": lambda: list_mails(reader, Wanted(limit=20, profile="office")),
        "mails of an idle profile": lambda: list_mails(reader, Wanted(limit=20, profile="idle")),
        "mails in a state": lambda: list_mails(reader, Wanted(limit=20, state="deleted")),
        "mails quarantined": lambda: list_mails(reader, Wanted(limit=20, quarantined=True)),
        "mails deferred": lambda: list_mails(reader, Wanted(limit=20, deferred=True)),
        "mails to a recipient": lambda: list_mails(reader, Wanted(limit=20, recipient="user7")),
        "mails since": lambda: list_mails(reader, Wanted(limit=20, since=1 << 42)),
        "a mail by its beginning": lambda: find_mails(reader, mail_id[:30]),
        "a delivery by its beginning": lambda: find_mails(reader, planned[0].delivery_id[:30]),
        "quarantine": lambda: stuck.stuck(Stuck()),
        "quarantine by reason": lambda: stuck.stuck(Stuck(reason="spam", older_than=5)),
        "quarantine by id": lambda: stuck.stuck(Stuck(ids=(mail_id,))),
        "deferred": lambda: stuck.stuck(Stuck(deferred=True)),
        "a decision": lambda: stuck.decide(decided),
        "notices": lambda: NoticeBoard(ledger).noticeable(Noticeable(down_after=60, growth=True)),
        "pruning": lambda: ledger.prune(USUAL),
        "what pruning would take": lambda: ledger.read(lambda c: prunable(c, USUAL)),
        "a start with an empty broker": ledger.begin_again,
    }
    found: dict[str, list[str]] = {}
    for name, ask in asked.items():
        with plans.collected() as touches:
            await ask()
        found[name] = too_much(touches, most=MOST)
    with plans.collected() as touches:
        await siblings_of(reader, await life_of(reader, mail_id))
    found["a mail's life"] = too_much(touches, most=MOST)
    assert not any(found.values()), "\n".join(f"{name}: {one}" for name, what in found.items() for one in what)


async def test_a_claim_looks_at_what_is_due_only(plans: Plans) -> None:
    """Beside thousands of mailboxes that wait for their turn, are polled by others, or stand still."""
    ledger = plans.ledger
    due = [f"due{number}" for number in range(BATCH)]
    await ledger.sync_profiles([profile(name, server=f"pop{name}.example.net 995s") for name in due], managed_by="pull")
    await add_waiting_profiles(ledger, count=HISTORY, settings=profile().to_json())
    plans.count_rows()
    plans.tables = frozenset({"schedule"})
    with plans.collected() as touches:
        assert await ledger.seconds_to_next_poll() == 0
        leases = await ledger.claim_due("test", BATCH)
        assert len(leases) == BATCH
        assert all(await asyncio.gather(*(ledger.renew_lease(lease) for lease in leases)))
        ends = [PollEnd(lease=lease, result=PollResult.EMPTY, error=None, due_in=600) for lease in leases]
        assert all(await asyncio.gather(*(ledger.end_poll(end) for end in ends)))
        assert await ledger.set_due("due7")
        assert await ledger.claim_due("test", BATCH)
    assert touches
    assert not (found := too_much(touches, most=MOST)), "\n".join(found)
