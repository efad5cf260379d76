"""Who gets a mail: the corpus, the limits, and that no header reaches beyond the local domains."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.messages import DeliveryJob, Inline
from common.routing_policy import RoutingPolicy
from router.headers import MAX_FIELDS
from router.recipients import MAX_RECIPIENTS, Recipient, recipients_of
from router.rules import Rule
from tests.unit.header_corpus import CORPUS, FOLDER, Case

ADDRESSES = st.lists(
    st.sampled_from(
        ["ann", "Bob", '"c d"', "x%y", "ä", "\u202e", "@", "@local.example", "@SECOND.example", "@far.example",
         "<", ">", ",", ";", ":", " ", "\r\n ", "(", ")", '"', "\\", "\r\nCc: ", "\r\nTo: ", "\r\n\r\n", "\0"]
    ),
    max_size=40,
).map(lambda pieces: b"To: " + "".join(pieces).encode())  # fmt: skip


def policy(
    *, distribute: bool = True, domains: tuple[str, ...] = ("local.example", "second.example"), same: bool = False
) -> RoutingPolicy:
    """Return a policy with defaults."""
    return RoutingPolicy(distribute=distribute, local_domains=domains, fallback="user1", same_users=same)


@pytest.mark.parametrize("case", CORPUS, ids=[case.name for case in CORPUS])
def test_the_header_names(case: Case) -> None:
    """Every case of the corpus gives its users by their rules, or the fallback with a reason, with any line ends."""
    found = recipients_of(case.header, case.policy, header_cut=False)

    if case.expected:
        assert tuple((one.address, str(one.rule)) for one in found.recipients) == case.expected
    else:
        assert (found.addresses, found.fallback) == ((case.policy.fallback,), True)
    assert bool(found.why) == found.fallback
    assert recipients_of(case.header.replace(b"\r\n", b"\n"), case.policy, header_cut=False) == found


def test_the_corpus_is_read_whole() -> None:
    """No case is lost by a slip in its file, and each has a name and a source of its own."""
    written = sum(path.read_text().count("\n->") for path in FOLDER.glob("*.txt"))

    assert len(CORPUS) == written >= 200
    assert len({case.name for case in CORPUS}) == written
    assert all(case.source.strip() for case in CORPUS)


def test_each_recipient_knows_what_named_it() -> None:
    """The first mention is kept, with field, position and rule."""
    found = recipients_of(
        b"Cc: x@far.example, Bob@Local.Example\r\nTo: bob@local.example, ann@local.example\r\n\r\n",
        policy(),
        header_cut=False,
    )

    assert found.recipients == (
        Recipient(
            address="bob@local.example",
            field="Cc",
            position=1,
            rule=Rule.TO_CC,
            reason="to-cc: Cc names bob@local.example",
        ),
        Recipient(
            address="ann@local.example",
            field="To",
            position=2,
            rule=Rule.TO_CC,
            reason="to-cc: To names ann@local.example",
        ),
    )


def test_same_users_share_the_first_domain() -> None:
    """One user under several domains gets one copy, at the first domain."""
    found = recipients_of(
        b"To: ann@second.example, ann@local.example, bob@local.example\r\n\r\n", policy(same=True), header_cut=False
    )

    assert found.addresses == ("ann@local.example", "bob@local.example")
    assert [recipient.rule for recipient in found.recipients] == [Rule.SAME_USERS, Rule.TO_CC]


def test_without_distribution_the_local_user_gets_all() -> None:
    """To and Cc are not even looked at; this is the plan, no fallback."""
    found = recipients_of(b"To: ann@local.example\r\n\r\n", policy(distribute=False, domains=()), header_cut=True)

    assert [(recipient.address, recipient.rule) for recipient in found.recipients] == [("user1", Rule.ALL)]
    assert not found.fallback


@pytest.mark.parametrize(
    ("header", "cut", "why"),
    [
        (b"To: ann@local.example\r\n\r\n", True, "the header is too long to be read"),
        (b"To: ann@local.example\r\n" + b"X: y\r\n" * MAX_FIELDS, False, "the header has more than 1000 fields"),
        (
            b"To: " + b",".join(b"u%d@local.example" % number for number in range(MAX_RECIPIENTS + 1)),
            False,
            "To and Cc name more than 1000 local users",
        ),
        (b"Subject: x\r\n\r\n", False, "To and Cc name no local user"),
    ],
)
def test_beyond_a_limit_the_fallback_gets_the_mail(header: bytes, cut: bool, why: str) -> None:  # noqa: FBT001 (a table's column)
    """With the reason, so that a person can see it."""
    found = recipients_of(header, policy(), header_cut=cut)

    assert (found.addresses, found.fallback, found.why) == (("user1",), True, why)
    assert found.recipients[0].rule is Rule.FALLBACK
    assert found.recipients[0].reason == f"fallback: {why}"


def test_at_the_limits_everybody_gets_the_mail() -> None:
    """A thousand users in a thousand fields are still read, whoever else is named."""
    users = b",".join(b"u%d@local.example,u%d@far.example" % (number, number) for number in range(MAX_RECIPIENTS))
    header = b"X: y\r\n" * (MAX_FIELDS - 1) + b"To: " + users

    assert len(recipients_of(header, policy(), header_cut=False).recipients) == MAX_RECIPIENTS


@pytest.mark.parametrize(
    ("fields", "sender"),
    [
        (b"Return-Path: <Sender@Far.Example>\r\n", "Sender@far.example"),
        (b"Return-Path: sender@far.example\r\nReturn-Path: <other@far.example>\r\n", "sender@far.example"),
        (b"Return-Path:\r\n <sender@far.example>\r\n", "sender@far.example"),
        (b"Return-Path: <bounce+ann=local.example@far.example>\r\n", "bounce+ann=local.example@far.example"),
        (b"Return-Path: <>\r\n", ""),
        (b"Return-Path: <>\r\nReturn-Path: <other@far.example>\r\n", ""),
        (b"Return-Path: <a@far.example>, <b@far.example>\r\n", ""),
        (b'Return-Path: <"a b"@far.example>\r\n', ""),
        (b"Return-Path: <MAILER-DAEMON>\r\n", ""),
        (b"Return-Path: <" + b"a" * 65 + b"@far.example>\r\n", ""),
        (b"From: sender@far.example\r\n", ""),
    ],
)
def test_the_envelope_sender_is_the_topmost_return_path(fields: bytes, sender: str) -> None:
    """All but one plain address is the null sender: a bounce must go where the last server saw it come from."""
    assert recipients_of(fields + b"\r\n", policy(), header_cut=False).sender == sender


@given(st.one_of(ADDRESSES, st.binary(max_size=200), st.sampled_from([case.header for case in CORPUS])), st.booleans())
def test_no_header_reaches_beyond_the_local_domains(header: bytes, same: bool) -> None:  # noqa: FBT001 (drawn by hypothesis)
    """Every recipient is the fallback, or a safe address in a local domain that a job takes."""
    local = policy(same=same)

    found = recipients_of(header, local, header_cut=False)

    assert found.recipients
    for recipient in found.recipients:
        if recipient.rule is Rule.FALLBACK:
            assert recipient.address == local.fallback
        else:
            user, _, domain = recipient.address.partition("@")
            assert domain in (local.local_domains[:1] if same else local.local_domains)
            assert user == user.lower()
            assert not set(user) & set('/%!|\\"<>() \r\n\t\0')
            assert user[0] not in ".-"
        job(recipient, found.sender)


def job(recipient: Recipient, sender: str) -> DeliveryJob:
    """Return a job for the recipient: it checks what it takes."""
    some_id = "01900000-0000-7000-8000-000000000000"
    return DeliveryJob(
        delivery_id=some_id,
        mail_id=some_id,
        profile_id=some_id,
        recipient=recipient.address,
        fallback="user1",
        target="local",
        sender=sender,
        content=Inline(data=b"", header_length=0),
        digest=bytes(32),
        size=0,
        source_host="pop3.far.example",
        attempt=1,
        first_attempt_at=0,
        reason=recipient.reason,
    )
