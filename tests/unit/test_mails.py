"""The builders of test mails: what other tests may take for granted about them."""

from collections import Counter

import pytest

from common.header import split_header
from common.routing_policy import RoutingPolicy
from router.recipients import recipients_of
from tests.mails import DOMAIN, FALLBACK, Sample, by_recipient, mail, varied
from tests.sample import LOCAL_USERS, demo_mails


@pytest.mark.parametrize("size", [300, 301, 302, 1000, 65_536])
def test_a_mail_has_the_size_that_was_asked_for(size: int) -> None:
    """To the octet, so that limits can be tested at their edge."""
    assert len(mail(size=size)) == size


def test_two_mails_are_never_the_same() -> None:
    """Each default Message-ID is new: equal mails would be joined as one copy."""
    assert mail() != mail()


def test_varied_mails_are_the_same_for_the_same_seed() -> None:
    """A failure can be run again."""
    assert varied(60, 7, odd=True) == varied(60, 7, odd=True)
    assert varied(60, 7) != varied(60, 8)


def test_varied_mails_are_varied() -> None:
    """Sizes on both sides of the inline limit, every octet value, dots, long lines, cut ends; all of them different."""
    mails = [sample.raw for sample in varied(200)]
    assert len(set(mails)) == 200
    assert all(1_000 <= len(raw) <= 400_000 for raw in mails)
    assert 10 < sum(len(raw) > 65_536 for raw in mails) < 60
    assert any(b"\r\n.\r\n" in raw for raw in mails)
    assert any(not raw.endswith(b"\n") for raw in mails)
    assert any(max(map(len, raw.split(b"\r\n"))) > 998 for raw in mails)
    assert not any(b"\0" in raw or b"\n" in raw.replace(b"\r\n", b"") for raw in mails)


def test_varied_mails_reach_everybody() -> None:
    """Each user and the fallback gets some, and who gets what is known beforehand."""
    held = by_recipient(varied(200, domain="local.example"))
    assert sorted(held) == [f"{user}@local.example" for user in sorted(LOCAL_USERS)]


def test_the_sample_has_25_mails_for_the_four_users() -> None:
    """All labels and mails differ, and recipients are local users only."""
    samples = demo_mails()
    assert len({sample.label for sample in samples}) == len({sample.raw for sample in samples}) == 25
    assert set(by_recipient(samples)) == {f"{user}@example.com" for user in LOCAL_USERS}
    assert Counter(len(sample.recipients) for sample in samples)[1] > 10


@pytest.mark.parametrize("sample", [*demo_mails(), *varied(60, odd=True)], ids=lambda sample: sample.label)
def test_the_router_gives_each_mail_to_whom_the_builder_says(sample: Sample) -> None:
    """The builder states the recipients on its own; the product must come to the same."""
    policy = RoutingPolicy(distribute=True, local_domains=(DOMAIN,), fallback=f"{FALLBACK}@{DOMAIN}", same_users=False)
    routed = recipients_of(sample.raw[: split_header(sample.raw)], policy, header_cut=False)
    assert sorted(routed.addresses) == sorted(sample.recipients)
