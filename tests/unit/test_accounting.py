"""The words at the end of a pull: every mail is accounted for, every trouble has its line."""

from common.ledger.standing import SetAside
from manager.cli.accounting import closing_line, complaints, document, recipients_of
from manager.pull import Pulled, PullReport
from tests.standing import standing, target, waiting


def pulled(
    name: str = "office",
    *,
    result: str = "ok",
    error: str | None = None,
    recipients: dict[str, int] | None = None,
    deleted: int = 0,
    kept: int = 0,
    discarded: int = 0,
    left: int = 0,
    quarantined: int = 0,
    skipped: int = 0,
    lost: int = 0,
) -> Pulled:
    """Return how the pull of a profile ended."""
    return Pulled(
        name=name,
        result=result,
        error=error,
        recipients=recipients or {},
        deleted=deleted,
        kept=kept,
        discarded=discarded,
        left=left,
        quarantined=quarantined,
        skipped=skipped,
        lost=lost,
    )


def test_the_closing_line_accounts_for_every_mail() -> None:
    """Over all profiles, in words, the zeros left out."""
    report = PullReport(
        profiles=(pulled(deleted=9, left=1), pulled("branch", deleted=1, discarded=3, quarantined=1, skipped=2))
    )

    assert (
        closing_line(report)
        == "17 mails: 10 delivered and deleted, 3 discarded by a person, 1 not done yet, 2 skipped, 1 quarantined"
    )


def test_one_mail_and_none_read_well() -> None:
    """A line for people."""
    assert closing_line(PullReport(profiles=(pulled(kept=1),))) == "1 mail: 1 delivered and kept on the server"
    assert closing_line(PullReport(profiles=(pulled(result="empty"),))) == "no mail"


def test_recipients_are_summed_over_profiles() -> None:
    """One user may be served by several mailboxes."""
    report = PullReport(
        profiles=(pulled(recipients={"bob@a.example": 1, "ann@a.example": 2}), pulled(recipients={"bob@a.example": 3}))
    )

    assert list(recipients_of(report).items()) == [("ann@a.example", 2), ("bob@a.example", 4)]


def test_each_failed_profile_paused_target_and_quarantined_mail_has_its_line() -> None:
    """What, and in whose words; what went well has none."""
    report = PullReport(
        profiles=(
            pulled(deleted=1),
            pulled("branch", result="auth", error="mail.example.com refused the password of u: check password"),
            pulled("shop", result="network"),
        )
    )
    found = standing(
        targets=(target(paused_since=0, reason="connection refused"), target("other", reason=None)),
        set_aside=tuple(
            SetAside(
                mail_id=f"m{number}",
                profile="office",
                recipient="ann@a.example" if number else None,
                state="quarantined",
                reason="554 no",
                since=0,
            )
            for number in range(9)
        ),
    )

    lines = complaints(report, found, {"local"})

    assert lines[:4] == [
        "branch: mail.example.com refused the password of u: check password",
        "shop: network",
        "target local takes nothing now: connection refused",
        "quarantined: mail m0: 554 no",
    ]
    assert lines[4] == "quarantined: mail m1 for ann@a.example: 554 no"
    assert len(lines) == 3 + 5


def test_mail_that_waits_for_another_target_is_told() -> None:
    """It was routed when another target was named, and must not silently go elsewhere or wait for ever."""
    found = standing(
        targets=(
            target("local", deliveries={"deferred": waiting(3)}),
            target(
                "pull-1",
                paused_since=0,
                reason="connection refused",
                deliveries={"pending": waiting(), "deferred": waiting()},
            ),
            target("pull-2", deliveries={"quarantined": waiting()}),
        ),
    )

    assert complaints(PullReport(profiles=(pulled(left=2),)), found, {"local"}) == [
        "2 deliveries of an earlier pull wait for target pull-1: pull once more with the target they had"
    ]


def test_json_tells_the_same() -> None:
    """Scripts get the counts apart."""
    report = PullReport(profiles=(pulled(deleted=2, recipients={"ann@a.example": 2}),))

    found = document(report, complaints(report, standing(), ()))

    assert found["done"] is True
    assert found["profiles"][0]["deleted"] == 2
    assert (found["recipients"], found["errors"]) == ({"ann@a.example": 2}, [])
