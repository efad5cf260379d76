"""Messages that no worker of ours ever sent: each goes to pps.dead with its reason, once, and holds up nobody."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import msgpack
import pika
import pytest

from common.broker import DEAD, FETCHED, OUTCOMES, jobs_queue
from common.lock import alone
from common.messages import (
    VERSION,
    Blob,
    DeliveryJob,
    DeliveryOutcome,
    Inline,
    MailFetched,
    Message,
    Result,
    Stage,
    encode,
)
from common.routing_policy import RoutingPolicy
from tests.bad_input.calls import called
from tests.integration.service import WAIT_SECONDS, Installation, Serving, catch_all, install
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.rabbitmq import PASSWORD, USER, VHOST, RabbitMQ

LOCAL: Final = jobs_queue("local")
DIGEST: Final = bytes(32)
MAIL: Final = mail()
TOO_LARGE: Final = 20 * 1024 * 1024


def fetched(**changes: Any) -> MailFetched:  # noqa: ANN401 (fields of any type)
    """Return a message for a router, of a mail that nobody has fetched."""
    fields: dict[str, Any] = {
        "mail_id": str(uuid4()),
        "mailbox": "m" * 64,
        "profile_id": str(uuid4()),
        "revision": 1,
        "fetches": 0,
        "policy": RoutingPolicy(local_domains=("local.example",), fallback="boss@local.example", distribute=True),
        "target": "local",
        "content": Inline(data=MAIL, header_length=len(MAIL)),
        "digest": DIGEST,
        "body_digest": DIGEST,
        "source_host": "pop3.example.com",
        "fetched_at": 0,
    }
    return MailFetched(**{**fields, **changes})


def job(**changes: Any) -> DeliveryJob:  # noqa: ANN401 (as above)
    """Return a message for a deliverer, of a delivery that nobody has planned."""
    fields: dict[str, Any] = {
        "delivery_id": str(uuid4()),
        "mail_id": str(uuid4()),
        "profile_id": str(uuid4()),
        "recipient": "ann@local.example",
        "fallback": "boss@local.example",
        "target": "local",
        "sender": "",
        "content": Inline(data=MAIL, header_length=len(MAIL)),
        "digest": DIGEST,
        "size": len(MAIL),
        "source_host": "pop3.example.com",
        "attempt": 1,
        "first_attempt_at": 0,
        "reason": "",
    }
    return DeliveryJob(**{**fields, **changes})


def outcome(**changes: Any) -> DeliveryOutcome:  # noqa: ANN401 (as above)
    """Return a message for a fetcher, of a delivery that nobody has planned."""
    fields: dict[str, Any] = {
        "delivery_id": str(uuid4()),
        "mail_id": str(uuid4()),
        "attempt": 1,
        "result": Result.DELIVERED,
        "code": 250,
        "enhanced": "2.0.0",
        "reply": "250 saved",
        "stage": Stage.DOT,
        "target": "local",
        "duration": 0.1,
        "at": 0,
    }
    return DeliveryOutcome(**{**fields, **changes})


def altered(message: Message, **changes: object) -> bytes:
    """Return a message as bytes, with fields that its own checks would refuse."""
    packed: bytes = msgpack.packb({**msgpack.unpackb(encode(message)), **changes})
    return packed


def evil(message: Message, kind: str) -> dict[bytes, str]:
    """Return what is wrong in any queue, and how the reason begins."""
    whole = encode(message)
    return {
        b"\xc1garbage": "not msgpack: FormatError",
        b"": "not msgpack: ",
        whole[:-7]: "not msgpack: ",
        whole + b"more": "not msgpack: ExtraData",
        b"\x01": f"not a {kind}",
        altered(message, version=VERSION + 98): f"{kind} of version 99, this program reads 1",
        altered(message, type="MailForged"): f"not a {kind}",
        altered(message, mail_id="../../etc/passwd"): f"not a {kind}: ",
        altered(message, target="../../etc"): f"not a {kind}: ",
        altered(message, surprise=1): f"not a {kind}: surprise",
        altered(message, extra=msgpack.ExtType(1, b"x")): "not msgpack: ",
    }


PATH: Final = {"key": "../../etc/passwd", "size": len(MAIL), "header": b"", "header_cut": False}

BAD: Final = {
    FETCHED: evil(fetched(), "MailFetched")
    | {
        altered(fetched(), content=PATH): "not a MailFetched: content",
        encode(
            fetched(target="nowhere")
        ): "a mail for the target nowhere: no [target.nowhere], and no profile names it",
        encode(job()): "not a MailFetched",
    },
    LOCAL: evil(job(), "DeliveryJob")
    | {
        altered(job(), content=PATH): "not a DeliveryJob: content",
        encode(job(target="nowhere")): "a job for the target nowhere",
        altered(job(), recipient="ann@local.example\r\nRCPT TO:<x@far.example>"): "not a DeliveryJob: ",
        encode(outcome()): "not a DeliveryJob",
    },
    OUTCOMES: evil(outcome(), "DeliveryOutcome")
    | {
        altered(outcome(), result="stolen"): "not a DeliveryOutcome: result",
        altered(outcome(), refused_to="../x"): "not a DeliveryOutcome: ",
        encode(fetched()): "not a DeliveryOutcome",
    },
}
"""What is put into each queue, and the reason with which it must be buried."""

UNKNOWN: Final[Mapping[str, Sequence[Message]]] = {
    FETCHED: [fetched(), fetched(content=Blob(key=str(uuid4()), size=9, header=MAIL))],
    LOCAL: [job(), job(content=Blob(key=str(uuid4()), size=9), size=9)],
    OUTCOMES: [outcome(), outcome(result=Result.REFUSED, code=550, enhanced="5.1.1", refused_to="nowhere")],
}
"""Well-formed, of mails and deliveries that the ledger doesn't know: dropped, with a line in the log."""

DROPPED: Final = {FETCHED: "mail_stale", LOCAL: "job_dropped", OUTCOMES: "delivery_settled"}


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> Iterator[str]:
    """Make a vhost that no other test has messages in; return its URL."""
    name = f"bad{uuid4().hex[:8]}"
    own = f'<<"{USER}">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>'
    rabbitmq.ctl(
        "eval",
        f'rabbit_vhost:add(<<"{name}">>, <<"test">>), rabbit_auth_backend_internal:set_permissions({own}).',
    )
    yield rabbitmq.url.removesuffix(VHOST) + name
    rabbitmq.ctl("delete_vhost", name)


@pytest.fixture(params=["memory", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of each broker in turn."""
    url: str = "memory:" if request.param == "memory" else request.getfixturevalue("vhost")
    return url


async def put(serving: Serving, url: str, queue: str, bodies: list[bytes]) -> None:
    """Put messages into a queue, as somebody who may write to it: RabbitMQ takes any, the embedded broker ours."""
    if url == "memory:":
        for body in bodies:
            await serving.parts.broker.publish(queue, body, message_id="forged")
    else:
        await asyncio.to_thread(put_by_hand, url, queue, bodies)


def put_by_hand(url: str, queue: str, bodies: list[bytes]) -> None:
    """Put messages into RabbitMQ, past all our checks."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for body in bodies:
            channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))


async def eventually(condition: Callable[[], object]) -> None:
    """Return once `condition` holds."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 (a log tells nobody)
            await asyncio.sleep(0.02)


async def test_each_goes_to_the_dead_letters_with_its_reason_and_mail_passes_by(
    mailbox: Mailbox, tmp_path: Path, broker_url: str
) -> None:
    """Whatever lies in a role's queue, its consumer is there afterwards, and the next mail goes its way."""
    there = install(tmp_path, catch_all(mailbox), broker=broker_url)
    mailbox.plant(mail())
    bad = {queue: dict(reasons) for queue, reasons in BAD.items()}
    async with there.serving() as serving:
        await serving.poll()
        for queue, reasons in bad.items():
            large = (
                {}
                if broker_url == "memory:"
                else {bytes(TOO_LARGE): f"message of {TOO_LARGE} octets is over the limit"}
            )
            bad[queue] = reasons | large
            await put(serving, broker_url, queue, [*bad[queue], *map(encode, UNKNOWN[queue])])
        expected = sum(len(reasons) for reasons in bad.values())
        await eventually(lambda: len(there.events("message_dead")) >= expected)
        for queue, event in DROPPED.items():
            ids = {message.mail_id for message in UNKNOWN[queue]}
            await eventually(lambda e=event, i=ids: i <= {line["mail"] for line in there.events(e)})  # type: ignore[misc]
        mailbox.plant(mail(subject="after"))
        await serving.poll()
        depth = await serving.parts.broker.depth(DEAD)
        shown = json.loads((await asyncio.to_thread(there.pps, "queues", "--json")).out)

    assert len(there.inbox("ann")) == 2
    assert mailbox.remaining() == []
    assert depth.ready == expected
    told = [(line["queue"], line["reason"]) for line in there.events("message_dead")]
    assert len(told) == expected  # each once: none came back
    for queue, reasons in bad.items():
        found = [reason for place, reason in told if place == queue]
        for reason in reasons.values():
            assert any(one.startswith(reason) for one in found), (queue, reason, found)
    assert there.events("handler_failed") == []
    assert (tmp_path / "mail" / "boss").exists() is False
    if broker_url != "memory:":
        assert shown["dead"]["count"] == expected
        assert {letter["queue"] for letter in shown["dead"]["letters"]} == set(BAD)
        assert TOO_LARGE in {letter["octets"] for letter in shown["dead"]["letters"]}
        assert PASSWORD not in str(shown)


def test_the_embedded_brokers_dead_letters_are_found_in_the_log(tmp_path: Path) -> None:
    """Those of the process that works now: an earlier one's died with it."""
    there: Installation = install(tmp_path)
    assert called(["migrate"], tmp_path).code == 0
    line = {"event": "message_dead", "queue": FETCHED, "reason": "not msgpack: FormatError", "octets": 3}
    at = "2026-11-26T04:00:00.000000Z"
    with alone(there.config):
        lines = [{**line, "pid": pid, "timestamp": at} for pid in (1, os.getpid())]
        (tmp_path / "pop3.log").write_text("".join(json.dumps(one) + "\n" for one in lines) + '{"message_dead"')
        found = json.loads(called(["queues", "--json"], tmp_path).out)["dead"]
    ended = json.loads(called(["queues", "--json"], tmp_path).out)["dead"]

    assert found == {
        "count": 1,
        "unseen": None,
        "letters": [
            {"reason": line["reason"], "queue": FETCHED, "octets": 3, "at": "2026-11-26T04:00:00.000Z"},
        ],
    }
    assert ended == {"count": 0, "unseen": None, "letters": []}
