"""What a session does with each listed mail, state by state."""

import pytest

from common.ledger.records import KnownMail, ListedMail, MailState
from fetcher.plan import TRY_SKIPPED_MS, Plan, plan, same_mail
from tests.ledger import profile

HASH = b"h" * 32
A_DAY_MS = 86_400_000


def listed(number: int, size: int = 100) -> ListedMail:
    """Return a line of a listing."""
    uidl = b"u%d" % number
    return ListedMail(number=number, uidl_key=uidl, uidl=uidl, size=size)


def known(
    number: int,
    state: MailState,
    *,
    deletable: bool = False,
    age: int = 0,
    breaks: int = 0,
    size: int = 100,
    digest: bytes | None = HASH,
) -> KnownMail:
    """Return what the ledger knows of it."""
    return KnownMail(
        mail_id=f"mail-{number}",
        uidl_key=b"u%d" % number,
        size=size,
        state=state,
        fetches=0,
        breaks=breaks,
        deletable=deletable,
        header_hash=HASH,
        digest=digest,
        body_digest=HASH,
        age=age,
    )


def planned(*mails: KnownMail, fetch: bool = True, **wishes: object) -> Plan:
    """Plan a session whose listing holds just these mails, numbered by their UIDL, of 100 octets each."""
    listing = [listed(int(mail.uidl_key[1:])) for mail in mails]
    return plan(listing, {mail.uidl_key: mail for mail in mails}, profile("office", **wishes), fetch=fetch)


def numbers(plan: Plan) -> tuple[list[int], list[int], list[int], int]:
    """Return what is retrieved, verified and recorded as kept, by number, and how many are on their way."""
    parts = (plan.retrieve, plan.verify, plan.keep)
    retrieve, verify, keep = ([pair.listed.number for pair in part] for part in parts)
    return retrieve, verify, keep, plan.waiting


@pytest.mark.parametrize(
    ("mail", "expected"),
    [
        (known(1, MailState.LISTED), ([1], [], [], 0)),
        (known(1, MailState.FETCHED), ([], [], [], 1)),
        (known(1, MailState.ROUTED), ([], [], [], 1)),
        (known(1, MailState.ROUTED, deletable=True), ([], [1], [], 0)),
        (known(1, MailState.DELETED), ([], [1], [], 0)),
        (known(1, MailState.KEPT), ([], [1], [], 0)),
        (known(1, MailState.SKIPPED, age=TRY_SKIPPED_MS - 1), ([], [], [], 0)),
        (known(1, MailState.SKIPPED, age=TRY_SKIPPED_MS), ([1], [], [], 0)),
        (known(1, MailState.QUARANTINED), ([], [], [], 0)),
        (known(1, MailState.LOST), ([], [], [], 0)),
    ],
)
def test_each_state_has_one_consequence(mail: KnownMail, expected: tuple[list[int], list[int], list[int], int]) -> None:
    """Only what is new, sent back or long skipped is fetched; only what every recipient has is deleted."""
    assert numbers(planned(mail)) == expected


@pytest.mark.parametrize(
    ("mail", "expected"),
    [
        (known(1, MailState.LISTED), ([1], [], [], 0)),
        (known(1, MailState.ROUTED), ([], [], [], 1)),
        (known(1, MailState.ROUTED, deletable=True), ([], [], [1], 0)),
        (known(1, MailState.DELETED), ([], [], [], 0)),
        (known(1, MailState.KEPT), ([], [], [], 0)),
        (known(1, MailState.KEPT, size=99), ([], [], [], 0)),
        (known(1, MailState.LISTED, size=99), ([1], [], [], 0)),
    ],
)
def test_a_profile_that_keeps_deletes_nothing(
    mail: KnownMail, expected: tuple[list[int], list[int], list[int], int]
) -> None:
    """Delivered mail is recorded as kept, once; if its size changes, its UIDL may name another mail by now."""
    todo = planned(mail, keep=True)
    assert numbers(todo) == expected
    assert [pair.known for pair in todo.doubt] == [mail] * (mail.state is MailState.KEPT and mail.size == 99)


def test_while_the_target_takes_nothing_mail_is_deleted_but_not_fetched() -> None:
    """A paused target holds up what is new, not what is done."""
    mails = (known(1, MailState.LISTED), known(2, MailState.ROUTED, deletable=True))
    assert numbers(planned(*mails, fetch=False)) == ([], [2], [], 0)


def test_what_broke_a_session_comes_last() -> None:
    """Else it would hold up all that is listed after it."""
    mails = (
        known(1, MailState.LISTED, breaks=2),
        known(2, MailState.LISTED),
        known(3, MailState.LISTED, breaks=1),
        known(4, MailState.LISTED),
    )
    assert numbers(planned(*mails)) == ([2, 4, 3, 1], [], [], 0)


def test_mail_that_the_ledger_does_not_know_is_left_alone() -> None:
    """It may have been listed under a lease that is lost."""
    assert numbers(plan([listed(1)], {}, profile(), fetch=True)) == ([], [], [], 0)


def test_the_same_mail_has_size_and_header_hash_of_the_one_on_record() -> None:
    """Invariant I2; without a recorded hash, nothing is certain."""
    mail = known(1, MailState.ROUTED)
    assert same_mail(mail, size=100, header_hash=HASH)
    assert not same_mail(mail, size=101, header_hash=HASH)
    assert not same_mail(mail, size=100, header_hash=b"x" * 32)
    assert not same_mail(mail, size=100, header_hash=None)


@pytest.mark.parametrize(
    ("mail", "expected"),
    [
        (known(1, MailState.ROUTED, deletable=True, age=A_DAY_MS * 99), ([], [], [1], 0)),
        (known(1, MailState.KEPT, age=A_DAY_MS * 14 - 1), ([], [], [], 0)),
        (known(1, MailState.KEPT, age=A_DAY_MS * 14), ([], [1], [], 0)),
        (known(1, MailState.DELETED), ([], [1], [], 0)),
    ],
)
def test_mail_is_kept_for_a_time_from_its_delivery(
    mail: KnownMail, expected: tuple[list[int], list[int], list[int], int]
) -> None:
    """Then it is verified like any mail of an earlier session, and deleted."""
    assert numbers(planned(mail, keep="14d")) == expected


def test_mail_larger_than_wished_is_skipped_once() -> None:
    """What is skipped already is not reported daily; what was fetched before is fetched again, whatever its size."""
    mails = (
        known(1, MailState.LISTED, digest=None),
        known(2, MailState.SKIPPED, digest=None, age=TRY_SKIPPED_MS),
        known(3, MailState.LISTED),
    )
    todo = planned(*mails, max_size=99)
    assert [pair.listed.number for pair in todo.too_large] == [1]
    assert numbers(todo) == ([3], [], [], 0)
    assert numbers(planned(*mails, max_size=100)) == ([1, 2, 3], [], [], 0)


def test_the_newest_comes_first_where_that_is_wished() -> None:
    """But what broke a session still comes last."""
    mails = (known(1, MailState.LISTED), known(2, MailState.LISTED, breaks=1), known(3, MailState.LISTED))
    assert numbers(planned(*mails, order="newest")) == ([3, 1, 2], [], [], 0)
