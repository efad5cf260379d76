"""Advice on a catch-all's envelope fields, from samples as providers write them."""

from collections.abc import Callable

import pytest

from common.routing_policy import RoutingPolicy
from router.advice import MIN_SAMPLE, FieldAdvice, Verdict, advise
from router.headers import fields_of

POLICY = RoutingPolicy(distribute=True, local_domains=("local.example",), fallback="boss@local.example")
MAILS = 20


def sample(header: Callable[[int], str], mails: int = MAILS) -> dict[str, FieldAdvice]:
    """Return the advice on mails with these headers, by entry."""
    headers = [fields_of(header(number).replace("\n", "\r\n").encode()) for number in range(mails)]
    return {one.entry: one for one in advise(headers, POLICY)}


def received(by: str, recipient: str = "") -> str:
    """Return a Received field."""
    clause = f" for <{recipient}>" if recipient else ""
    return f"Received: from a.example by {by} with ESMTP id 1{clause}; Mon, 5 Jan 2026 10:00:00 +0000\n"


def test_a_field_on_all_mail_that_tells_recipients_apart_is_advised() -> None:
    """With the keys to write, the place included."""
    found = sample(
        lambda n: received("store.isp.example") + f"X-Original-To: u{n}@local.example\n" + received("mx.isp.example")
    )

    one = found["X-Original-To"]
    assert (one.verdict, one.present, one.local, one.users, one.hops) == (Verdict.USABLE, MAILS, MAILS, MAILS, (1, 1))
    assert one.keys == 'envelope = ["X-Original-To"], envelope_hops = 1'
    assert one.says == "X-Original-To is on all mail, at one place, and tells the recipients apart"


def test_a_constant_field_is_advised_against() -> None:
    """It names the mailbox: nobody's mail would be found."""
    found = sample(lambda n: f"Delivered-To: box@local.example\nTo: u{n}@local.example\n")

    assert (found["Delivered-To"].verdict, found["Delivered-To"].keys) == (Verdict.CONSTANT, "")
    assert "always box@local.example: it names the mailbox" in found["Delivered-To"].says


def test_the_second_field_of_a_name_is_looked_at_by_itself() -> None:
    """The topmost is the mailbox, the one below the recipient."""
    found = sample(lambda n: f"Delivered-To: box@isp.example\nDelivered-To: u{n}@local.example\n")

    assert found["Delivered-To"].verdict is Verdict.CONSTANT
    assert (found["Delivered-To:2"].verdict, found["Delivered-To:2"].keys) == (
        Verdict.USABLE,
        'envelope = ["Delivered-To:2"]',
    )


def test_a_field_on_some_mail_leaves_the_rest_to_to_and_cc() -> None:
    """Said with its share."""
    found = sample(lambda n: f"X-Envelope-To: u{n}@local.example\n" if n % 2 else "Subject: x\n")

    assert found["X-Envelope-To"].verdict is Verdict.PARTIAL
    assert found["X-Envelope-To"].says == "X-Envelope-To is on 10 of 20 mails: To and Cc would decide for the rest"


def test_a_field_now_here_now_there_is_not_believed() -> None:
    """Others write it, too: lists, forwarders, forgers."""
    found = sample(lambda n: received("mx.isp.example") * (n % 4) + f"Delivered-To: u{n}@local.example\n")

    assert (found["Delivered-To"].verdict, found["Delivered-To"].keys) == (Verdict.VARYING, "")


def test_a_field_of_other_domains_is_of_no_use() -> None:
    """It is for somebody, but for nobody here."""
    assert sample(lambda n: f"X-Rcpt-To: u{n}@isp.example\n")["X-Rcpt-To"].verdict is Verdict.FOREIGN


def test_a_prefix_of_qmail_is_found() -> None:
    """Every local part begins with it, and goes on differently."""
    found = sample(lambda n: f"Delivered-To: local.example-u{n}x@local.example\n")

    assert found["Delivered-To"].keys == 'envelope = ["Delivered-To"], envelope_prefix = "local.example-"'


def test_received_comes_with_its_hosts() -> None:
    """Several of one domain are written as one."""
    found = sample(lambda n: received(f"mx{n % 3}.isp.example", f"u{n}@local.example"))

    assert found["Received"].keys == 'envelope = ["Received"], envelope_by = ["*.isp.example"]'


@pytest.mark.parametrize("mails", range(MIN_SAMPLE))
def test_a_few_mails_tell_nothing(mails: int) -> None:
    """Two mails to two users look like any rule."""
    assert sample(lambda n: f"Delivered-To: u{n}@local.example\n", mails) == {}


def test_the_best_comes_first() -> None:
    """Then the rest, so that what not to use is told as well."""
    headers = [
        fields_of(f"Delivered-To: box@isp.example\r\nX-Original-To: u{n}@local.example\r\n".encode()) for n in range(9)
    ]

    assert [one.verdict for one in advise(headers, POLICY)] == [Verdict.USABLE, Verdict.CONSTANT]
