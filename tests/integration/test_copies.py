"""A catch-all whose provider stored one copy a recipient, on RabbitMQ with two routers: each user has one."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.service import Installation, catch_all, install, wait_until
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox
from tests.servers.rabbitmq import RabbitMQ

LETTERS = 12
USERS = ("ann", "bob", "carol", "dave")
MESSAGE_ID = re.compile(rb"^Message-ID: <(\d+)@", re.MULTILINE)


def copies(letter: int) -> list[bytes]:
    """Return a letter as the provider stored it: for each of its users, one named in nothing but the trace fields."""
    named, blind = (USERS[letter % 4], USERS[(letter + 1) % 4]), USERS[(letter + 2) % 4]
    stored = []
    for number, user in enumerate((*named, blind)):
        trace = (
            f"Return-Path: <sender+{user}=local.example@far.example>\r\nDelivered-To: {user}@local.example\r\n"
            f"Received: from mx{number}.far.example by mx.provider.example with ESMTP id {letter}-{number}\r\n"
            f"\tfor <{user}@local.example>; Mon, 5 Jan 2026 10:00:0{number} +0000\r\n"
        )
        to = f"{named[0]}@local.example"
        letter_itself = mail(
            to=to, cc=f"{named[1]}@local.example", message_id=f"<{letter}@far.example>", subject=f"letter {letter}"
        )
        stored.append(trace.encode() + letter_itself)
    return stored


def expected(letter: int, *, blind: bool) -> set[str]:
    """Return the users that a letter names; `blind`: also the one that only the envelope names."""
    return {USERS[(letter + more) % 4] for more in range(3 if blind else 2)}


@pytest.mark.parametrize("envelope", [False, True], ids=["by To and Cc", "by the envelope"])
def test_every_user_has_one_copy(
    mailbox: Mailbox, tmp_path: Path, database: str, rabbitmq: RabbitMQ, *, envelope: bool
) -> None:
    """One copy of each letter comes in a first session, the others in a later one, on whichever router takes them."""
    keys: dict[str, Any] = {"envelope": ["Delivered-To"]} if envelope else {}
    there = install(
        tmp_path,
        catch_all(mailbox, target=f"copies{int(envelope)}", **keys),
        targets={f"copies{int(envelope)}": {"url": "maildir:mail/{user}?create=yes"}},
        ledger=database,
        broker=rabbitmq.url,
    )
    assert there.pps("migrate").code == 0
    stored = [copies(letter) for letter in range(LETTERS)]
    mailbox.plant(*(group[0] for group in stored))

    with there.running("fetcher", "router", "router", "deliverer"):
        wait_until(lambda: len(there.events("mail_deleted")) == LETTERS)
        mailbox.plant(*(copy for group in stored for copy in group[1:]))
        there.pps("pull", "office")
        wait_until(lambda: len(there.events("mail_deleted")) == 3 * LETTERS)

    assert held(there) == {
        user: Counter(letter for letter in range(LETTERS) if user in expected(letter, blind=envelope)) for user in USERS
    }
    assert mailbox.remaining() == []
    routed = there.events("mail_routed")
    assert len(routed) == 3 * LETTERS
    assert sum(event["joined"] for event in routed) == 2 * LETTERS
    assert len({event["pid"] for event in routed}) == 2


def held(there: Installation) -> dict[str, Counter[int]]:
    """Return how often each user holds each letter."""
    return {user: Counter(_letter(raw) for raw in there.inbox(user)) for user in there.counts()}


def _letter(raw: bytes) -> int:
    match = MESSAGE_ID.search(raw)
    assert match is not None
    return int(match[1])
