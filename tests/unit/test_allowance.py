"""What one poll may fetch by the profile's wish."""

from fetcher.allowance import Allowance


def takes(allowance: Allowance, *sizes: int) -> int:
    """Return how many mails of these sizes are allowed in a row."""
    return next((n for n, size in enumerate(sizes) if not allowance.takes(size)), len(sizes))


def test_without_a_wish_all_is_allowed() -> None:
    """And nothing is left for the next poll."""
    allowance = Allowance(mails=None, octets=None)
    assert takes(allowance, *[10**12] * 1000) == 1000
    assert not allowance.spent


def test_mails_are_counted() -> None:
    """The third of two is left."""
    allowance = Allowance(mails=2, octets=None)
    assert takes(allowance, 1, 1, 1) == 2
    assert allowance.spent


def test_octets_are_counted_but_one_mail_is_always_allowed() -> None:
    """Else a large mail would never come."""
    assert takes(Allowance(mails=None, octets=100), 60, 40, 1) == 2
    assert takes(Allowance(mails=None, octets=100), 500, 1) == 1
