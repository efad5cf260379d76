"""What a mail costs a router, on RabbitMQ and PostgreSQL: CPU of its process, and which part of it takes how much.

`python -m tests.bench.router_cost` routes mails with a typical header of 2 kB in this process, as `pps router` would:
plainly for the figure, then under a profiler for the shares.
"""

import argparse
import asyncio
import cProfile
import hashlib
import os
import pstats
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from common.broker import FETCHED, Broker, jobs_queue
from common.connect import connect_broker
from common.folder_blobs import FolderBlobs
from common.header import split_header
from common.ledger import Ledger, migrate_database
from common.ledger.records import FetchedMail, Lease, ListedMail
from common.log import open_log
from common.messages import Inline, MailFetched, encode
from common.profile import Profile
from common.worker import collect_less
from router.work import RouterWorker
from tests.mails import filling

LOOK_SECONDS: Final = 0.5  # a look costs a channel
BODY: Final = 6_000
"""Octets of body: with the header, the 8 kB of a typical mail."""

_KEYS: Final = {
    "server": "127.0.0.1 110",
    "password": "env:NONE",
    "local_domain": ["local.example"],
    "local_user": "postmaster",
    "distribute": True,
}

_HOP: Final = (
    "Received: from mail-{n}.far.example (mail-{n}.far.example [192.0.2.{n}])\r\n"
    "\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)\r\n"
    "\t key-exchange X25519 server-signature RSA-PSS (2048 bits))\r\n"
    "\tby mx{n}.provider.example (Postfix) with ESMTPS id 4Xyz{n}\r\n"
    "\tfor <default@local.example>; Mon,  5 Jan 2026 10:00:0{n} +0000 (UTC)\r\n"
)
_HEADER: Final = (
    "Return-Path: <sender@far.example>\r\n{hops}"
    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=far.example; s=mail;\r\n\tbh={bh}; h=From:To:Subject;\r\n"
    "\tb={b}\r\n"
    'From: "Sender, Some" <sender@far.example>\r\nTo: Ann Smith <ann{number}@local.example>, x@far.example\r\n'
    "Cc: =?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <someone@near.example>\r\n"
    "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=\r\nDate: Mon, 05 Jan 2026 10:00:00 +0000\r\n"
    "Message-ID: <{number}.{b}@far.example>\r\nMIME-Version: 1.0\r\n"
    'Content-Type: multipart/alternative; boundary="----=_Part_{number}"\r\nX-Mailer: Mailer 16.0\r\n'
    "X-Spam-Status: No, score=-2.1 required=5.0 tests=BAYES_00,DKIM_SIGNED,DKIM_VALID\r\n\r\n"
)

PARTS: Final = {
    "msgpack, checks": ("common/messages.py", "common/routing_policy.py", "/msgpack/", "pydantic", "Validator"),
    "ledger": ("common/ledger/", "sqlalchemy", "asyncpg", "greenlet"),
    "broker": ("common/rabbitmq/", "common/handling.py", "/pika/", "_socket", "ssl.py"),
    "header, addresses": ("router/",),
    "log": ("structlog", "common/log.py", "/logging/", "json"),
    "event loop": ("asyncio", "_asyncio", "select.epoll", "_contextvars"),
}


def pace() -> float:
    """Return the seconds that this machine takes now for two million steps of Python: 0.1 where it is left alone."""
    began, steps = time.process_time(), 0
    for step in range(2_000_000):
        steps += step
    return time.process_time() - began


def mails(count: int) -> list[bytes]:
    """Return mails to one local user each, with four hops, a signature, encoded words."""
    hops = "".join(_HOP.format(n=n) for n in range(1, 4))
    return [
        _HEADER.format(hops=hops, number=number, bh="b" * 44, b="s" * 172).encode() + filling(BODY)
        for number in range(count)
    ]


async def plant(ledger: Ledger, lease: Lease, broker: Broker, raws: Sequence[bytes]) -> None:
    """Record mails as fetched, and publish them, as a fetcher does."""
    start = time.monotonic_ns()
    listed = [
        ListedMail(number=at, uidl_key=b"%d-%d" % (start, at), uidl=b"%d-%d" % (start, at), size=len(raw))
        for at, raw in enumerate(raws, 1)
    ]
    known = (await ledger.record_listing(lease, listed)).known
    for begin in range(0, len(raws), 500):
        part = list(zip(listed, raws, strict=True))[begin : begin + 500]
        messages = [_message(known[one.uidl_key].mail_id, lease, raw) for one, raw in part]
        async with asyncio.TaskGroup() as recording:
            for message in messages:
                recording.create_task(ledger.record_fetched(_fetched(lease, message)))
        async with asyncio.TaskGroup() as publishing:
            for message in messages:
                publishing.create_task(broker.publish(FETCHED, encode(message), message_id=str(uuid4())))


def _message(mail_id: str, lease: Lease, raw: bytes) -> MailFetched:
    length = split_header(raw)
    return MailFetched(
        mail_id=mail_id,
        mailbox=lease.profile.mailbox,
        profile_id=lease.profile_id,
        revision=1,
        fetches=0,
        policy=lease.profile.policy,
        target="local",
        content=Inline(data=raw, header_length=length),
        digest=hashlib.sha256(raw).digest(),
        body_digest=hashlib.sha256(raw[length:]).digest(),
        source_host="pop3.far.example",
        fetched_at=0,
    )


def _fetched(lease: Lease, message: MailFetched) -> FetchedMail:
    return FetchedMail(
        mail_id=message.mail_id,
        profile_id=lease.profile_id,
        epoch=lease.epoch,
        fetches=0,
        header_hash=message.digest,
        digest=message.digest,
        body_digest=message.body_digest,
        size=message.content.size,
    )


async def measured(database: str, url: str, folder: Path, count: int, profiler: cProfile.Profile | None) -> float:
    """Route `count` mails and return the CPU seconds of this process for one."""
    log = open_log("pop3.log", folder).bind(role="router")
    ledger = await Ledger.open(database, base=folder, log=log)
    broker = await connect_broker(url, role="router", log=log)
    name = uuid4().hex
    profile = Profile.from_document({**_KEYS, "name": name, "user": name})  # a mailbox that nobody knows yet
    await ledger.sync_profiles([profile], managed_by="file")
    (lease,) = await ledger.claim_due("bench", 1)
    worker = RouterWorker(broker=broker, ledger=ledger, blobs=FolderBlobs(folder / "blobs"), log=log)
    await plant(ledger, lease, broker, mails(count))
    before = (await broker.depth(jobs_queue("local"))).ready
    stop = asyncio.Event()
    collect_less()  # as a role does at its start
    began, wall, system = time.process_time(), time.monotonic(), os.times().system
    if profiler is not None:
        profiler.enable()
    working = asyncio.create_task(worker.run(stop))
    while (await broker.depth(jobs_queue("local"))).ready < before + count:  # noqa: ASYNC110 (another program's queue: no event tells)
        await asyncio.sleep(LOOK_SECONDS)
    stop.set()
    await working
    if profiler is not None:
        profiler.disable()
    spent, seconds = time.process_time() - began, time.monotonic() - wall
    kernel = os.times().system - system
    sys.stdout.write(
        f"{count} mails, {spent / count * 1e6:.0f} µs of CPU each, the kernel's {kernel / count * 1e6:.0f} with it; "
        f"{count / seconds:.0f} mails/s; pace {pace():.2f} s\n"
    )
    await broker.close()
    await ledger.close()
    return spent / count


def shares(profiler: cProfile.Profile) -> dict[str, float]:
    """Return each part's share of the time that was spent in it, callees in other parts left out."""
    spent: Counter[str] = Counter()
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    for (file, _, function), (_, _, own, _, callers) in stats.items():
        part = _part(file, function)
        if part is not None:
            spent[part] += own
        else:  # a builtin: its callers' share
            for (caller_file, _, caller), numbers in callers.items():
                spent[_part(caller_file, caller) or "other"] += numbers[2]
    total = sum(spent.values())
    return {part: seconds / total for part, seconds in spent.most_common()}


def _part(file: str, function: str) -> str | None:
    place = f"{file} {function}"
    for part, marks in PARTS.items():
        if any(mark in place for mark in marks):
            return part
    return None if file == "~" else "other"


def main() -> int:
    """Measure, and print."""
    from tests.servers.postgres import Postgres  # noqa: PLC0415 (servers start only here)
    from tests.servers.rabbitmq import RabbitMQ  # noqa: PLC0415 (as above)

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=5000)
    count = parser.parse_args().mails
    with tempfile.TemporaryDirectory(prefix="pps-bench-") as place, Postgres() as postgres, RabbitMQ() as rabbitmq:
        database, folder = postgres.fresh_database(), Path(place)
        asyncio.run(migrate_database(database, base=folder))
        for _ in range(2):
            asyncio.run(measured(database, rabbitmq.url, folder, count, None))
        profiler = cProfile.Profile()
        asyncio.run(measured(database, rabbitmq.url, folder, count, profiler))
        calls = pstats.Stats(profiler).total_calls  # type: ignore[attr-defined]
        sys.stdout.write(f"{calls / count:.0f} calls of functions a mail\n")
        for part, share in shares(profiler).items():
            sys.stdout.write(f"{share:6.1%}  {part}\n")
        pstats.Stats(profiler).sort_stats("tottime").print_stats(40)
    return 0


if __name__ == "__main__":
    sys.exit(main())
