"""Messages between versions, and what a routing policy may not be at either end."""

from dataclasses import replace
from typing import Any

import msgpack
import pytest

from common.messages import MAX_MESSAGE, Inline, MailFetched, UndecodableError, decode, encode
from common.routing_policy import MAX_USERS_OF_ONE, MAX_WILDCARDS, RoutingPolicy, Subaddress

SOME_ID = "01900000-0000-7000-8000-000000000000"
POLICY = RoutingPolicy(distribute=True, local_domains=("local.example",), fallback="boss@local.example")
FULL = replace(
    POLICY,
    same_users=True,
    bcc=True,
    resent=True,
    envelope=("delivered-to:2", "received"),
    envelope_hops=2,
    envelope_prefix="mbox-",
    envelope_by=("mx.far.example",),
    subaddress=Subaddress.STRIP,
    separator="+-",
    fallback_subaddress=True,
    users=("ann",),
    aliases=(("sales-*", ("ann@local.example", "bob@local.example")),),
    lists=(("news.far.example", ("ann@local.example",)),),
)


def fetched(policy: RoutingPolicy) -> MailFetched:
    """Return a mail with a policy."""
    return MailFetched(
        mail_id=SOME_ID,
        mailbox="m",
        profile_id=SOME_ID,
        revision=1,
        fetches=0,
        policy=policy,
        target="local",
        content=Inline(data=b"", header_length=0),
        digest=bytes(32),
        body_digest=bytes(32),
        source_host="pop3.far.example",
        fetched_at=0,
    )


def with_policy(**changes: object) -> bytes:
    """Return a message whose policy somebody else wrote."""
    document: dict[str, Any] = msgpack.unpackb(encode(fetched(POLICY)))
    document["policy"] |= changes
    packed: bytes = msgpack.packb(document)
    return packed


@pytest.mark.parametrize("policy", [POLICY, FULL])
def test_a_policy_arrives_as_it_was_sent(policy: RoutingPolicy) -> None:
    """Every key of it."""
    assert decode(encode(fetched(policy)), MailFetched).policy == policy


def test_what_is_not_set_does_not_travel() -> None:
    """A router that knows nothing of newer keys reads the policies that don't use them."""
    assert msgpack.unpackb(encode(fetched(POLICY)))["policy"] == {
        "distribute": True,
        "local_domains": ["local.example"],
        "fallback": "boss@local.example",
    }


def test_a_key_from_the_future_is_refused_by_its_name() -> None:
    """Better read by nobody than half understood; the mail is fetched again."""
    with pytest.raises(UndecodableError, match=r"not a MailFetched: policy\.horoscope"):
        decode(with_policy(horoscope=True), MailFetched)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"aliases": [["sales", ["ann@far.example"]]]}, "'ann@far.example' is not in local_domain"),
        ({"lists": [["news.far.example", ["ann"]]]}, "'ann' is not in local_domain"),
        ({"aliases": [["sales", ["<ann>@local.example"]]]}, "is not in local_domain"),
        ({"aliases": [["sales", []]]}, "one stands for 1 to 100 users"),
        ({"aliases": [["sales", ["ann@local.example"] * (MAX_USERS_OF_ONE + 1)]]}, "one stands for 1 to 100 users"),
        ({"aliases": [[f"{n}*", ["ann@local.example"]] for n in range(MAX_WILDCARDS + 1)]}, "more than 100 with a"),
        ({"users": ["ann"] * 1001}, "more than 1000 local domains, users"),
        ({"users": ["a" * 1000] * 500}, "names take more than 393216 octets"),
        ({"envelope": ["received"]}, "Received needs envelope_by"),
        ({"envelope": ["x"] * 11}, "more than 10 fields or hosts"),
        ({"envelope_hops": -1}, "envelope_hops: is not between 0 and 20"),
        ({"subaddress": "drop"}, "Input should be"),
        ({"separator": "+" * 65}, "longer than 64"),
        ({"separator": ""}, "subaddress_separator: is empty"),
        ({"local_domains": []}, "distribution needs a local domain"),
        ({"local_domains": ["Local.Example"]}, "not an A-label domain"),
    ],
)
def test_a_policy_is_checked_where_it_arrives(changes: dict[str, object], complaint: str) -> None:
    """I6 above all: no message makes a router send mail outside the local domains."""
    with pytest.raises(UndecodableError) as caught:
        decode(with_policy(**changes), MailFetched)

    assert complaint in str(caught.value)


def test_the_largest_policy_fits_beside_the_largest_header() -> None:
    """Else a mail with a long header could never be routed."""
    domains = tuple(f"{n}.{'x' * 60}.{'y' * 60}.{'z' * 60}.{'w' * 60}.example" for n in range(1000))
    largest = replace(POLICY, local_domains=domains, users=tuple(f"{n}-{'u' * 55}" for n in range(1000)))

    assert len(encode(fetched(largest))) < MAX_MESSAGE - 300 * 1024
