"""The router worker between a real embedded broker, a real SQLite ledger and real blobs."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from common.broker import DEAD, FETCHED
from common.ledger.engine import writing
from common.ledger.records import MailState
from common.messages import MAX_INLINE, Blob, encode
from router import work
from tests.mails import mail
from tests.unit.router_bench import Bench, open_bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A router with all its neighbours in a folder of its own."""
    async with open_bench(tmp_path) as found:
        yield found


async def test_a_mail_becomes_one_job_a_recipient(bench: Bench) -> None:
    """Same bytes, own delivery each, and the reason travels along."""
    message = await bench.fetched(
        mail(to="ann@local.example, Bob <bob@local.example>", extra="Return-Path: <x@far.example>\r\n")
    )

    ann, bob = sorted(await bench.route(message), key=lambda job: job.recipient)

    assert (ann.recipient, bob.recipient) == ("ann@local.example", "bob@local.example")
    assert ann.delivery_id != bob.delivery_id
    assert ann.content == bob.content == message.content
    assert (ann.mail_id, ann.digest, ann.size) == (message.mail_id, message.digest, message.content.size)
    assert (ann.sender, ann.fallback, ann.attempt) == ("x@far.example", "postmaster@local.example", 1)
    assert ann.reason == "to-cc: To names ann@local.example"
    assert await bench.state(message.mail_id) == (MailState.ROUTED, None)
    assert [event["recipients"] for event in bench.events("mail_routed")] == [(ann.recipient, bob.recipient)]


async def test_mail_that_names_nobody_goes_to_the_fallback(bench: Bench) -> None:
    """With the reason in the job and in the log."""
    (job,) = await bench.route(await bench.fetched(mail(to="x@far.example")))

    assert job.recipient == "postmaster@local.example"
    assert job.reason == "fallback: To and Cc name no local user"
    assert [event["fallback"] for event in bench.events("mail_routed")] == [True]


async def test_copies_of_one_mail_are_delivered_once(bench: Bench) -> None:
    """The provider stored it once a recipient: the second copy adds only who is new."""
    first = mail(to="ann@local.example", message_id="<1@far.example>", extra="Delivered-To: ann@local.example\r\n")
    second = first.replace(b"Delivered-To: ann", b"Delivered-To: bob")

    one, two = await bench.fetched(first), await bench.fetched(second)
    jobs = await bench.route(one, two)

    assert [(job.recipient, job.mail_id) for job in jobs] == [("ann@local.example", one.mail_id)]
    assert [event["joined"] for event in bench.events("mail_routed")] == [False, True]


async def test_a_mail_published_twice_is_the_same_deliveries(bench: Bench) -> None:
    """What a crash between ledger and ack costs: the jobs may come again, under the same names."""
    message = await bench.fetched(mail(to="ann@local.example, bob@local.example"))

    jobs = await bench.route(message, message)

    assert len({job.delivery_id for job in jobs}) == 2


async def test_an_outdated_message_is_dropped(bench: Bench) -> None:
    """The mail was sent back to be fetched since: its newer message counts."""
    message = await bench.fetched(mail(to="ann@local.example"))

    assert await bench.route(replace(message, fetches=message.fetches + 1)) == []
    assert bench.events("mail_stale")


async def test_what_cannot_be_read_is_buried(bench: Bench) -> None:
    """An undecodable message must not come back for ever."""
    assert await bench.route(b"not a message") == []
    assert (await bench.broker.depth(DEAD)).ready == 1


async def test_many_copies_of_a_large_mail_share_a_blob(bench: Bench) -> None:
    """Up to 1 MiB of copies travel inline; what is more is written once."""
    raw = mail(to=", ".join(f"u{number}@local.example" for number in range(20)), size=MAX_INLINE)
    message = await bench.fetched(raw)

    jobs = await bench.route(message)

    assert {job.content for job in jobs} == {Blob(key=message.mail_id, size=MAX_INLINE)}
    assert b"".join([chunk async for chunk in bench.blobs.stream(message.mail_id)]) == raw


async def test_a_blob_travels_without_its_header(bench: Bench) -> None:
    """Deliverers read the blob; the header was for the router."""
    message = await bench.fetched(mail(to="ann@local.example", size=MAX_INLINE), blob=True)

    (job,) = await bench.route(message)

    assert job.content == Blob(key=message.mail_id, size=MAX_INLINE)


async def test_a_delivery_of_an_earlier_copy_has_bytes(bench: Bench) -> None:
    """Those of the copy in hand, which say the same: the ledger knows from then on whose bytes they are."""
    first = mail(to="ann@local.example", message_id="<1@far.example>", extra="Delivered-To: ann@local.example\r\n")
    await bench.route(await bench.fetched(first))
    await bench.make_overdue()
    two = await bench.fetched(first.replace(b"Delivered-To: ann", b"Delivered-To: bob"))

    (job,) = await bench.route(two)

    assert (job.mail_id, job.digest, job.content) == (two.mail_id, two.digest, two.content)


async def test_a_loop_is_set_aside(bench: Bench) -> None:
    """No job: the mail waits for a person, its remote copy untouched."""
    hop = "Received: from a.example by b.example; Mon, 05 Jan 2026 10:00:00 +0000\r\n"
    message = await bench.fetched(mail(to="ann@local.example", extra=hop * 51))

    assert await bench.route(message) == []
    assert await bench.state(message.mail_id) == (MailState.QUARANTINED, "loop: more than 50 Received fields")


async def test_a_fault_in_the_reading_is_no_endless_loop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever went wrong, the mail is for the fallback user, and the log says so without its content."""
    monkeypatch.setattr(work, "recipients_in", lambda *_arguments, **_options: 1 // 0)

    (job,) = await bench.route(await bench.fetched(mail(to="ann@local.example")))

    assert job.reason == "fallback: the header can't be read"
    assert [event["error"] for event in bench.events("header_unreadable")] == ["ZeroDivisionError"]


async def test_a_row_that_the_ledger_rejects_is_quarantined(bench: Bench) -> None:
    """One poisonous mail is set aside, its neighbours are routed."""
    poison = (
        "CREATE TRIGGER poison BEFORE INSERT ON deliveries WHEN NEW.recipient LIKE 'ann@%' "
        "BEGIN SELECT RAISE(ABORT, 'poison'); END"
    )
    async with writing(bench.ledger._engine) as connection:
        await connection.exec_driver_sql(poison)
    bad, good = await bench.fetched(mail(to="ann@local.example")), await bench.fetched(mail(to="bob@local.example"))

    jobs = await bench.route(bad, good)

    assert [job.recipient for job in jobs] == ["bob@local.example"]
    assert await bench.state(bad.mail_id) == (MailState.QUARANTINED, "record_routed: poison")


async def test_a_cancelled_router_hands_back_what_it_holds(bench: Bench) -> None:
    """Its supervisor's patience is over while the ledger is slow: the mail is in the queue for another router."""
    message = await bench.fetched(mail(to="ann@local.example"))
    await bench.broker.publish(FETCHED, encode(message), message_id="1")
    stop = Stop()

    async with writing(bench.ledger._engine):  # holds up every other write
        running = asyncio.create_task(bench.worker.run(stop))
        await stop.awaited.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    assert await bench.taken(FETCHED) == [encode(message)]
    await bench.ledger.renew_lease(bench.lease)  # what was submitted before it is committed now, asked for or not
    assert [job.recipient for job in await bench.route(message)] == ["ann@local.example"]


class Stop(asyncio.Event):
    """Tells when a worker has begun, and waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.awaited = asyncio.Event()

    async def wait(self) -> Literal[True]:
        """See asyncio.Event."""
        self.awaited.set()
        return await super().wait()
