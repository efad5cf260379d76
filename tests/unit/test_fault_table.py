"""The table of faults: what was lost, or doubled beyond what can't be helped, is a failure, and is shown."""

import pytest

from tests.crash.nodes import PAUSE_SECONDS
from tests.crash.page import Tally, page, table
from tests.crash.scene import Drained
from tests.maildir import Accounting

ONE = [("ann@example.com", b"Subject: one\n")]


@pytest.mark.parametrize(
    ("drained", "allowed", "fails"),
    [
        (Drained(accounting=Accounting(), seconds=1.0), 0, False),
        (Drained(accounting=Accounting(doubled=ONE), seconds=1.0), 1, False),
        (Drained(accounting=Accounting(doubled=ONE), seconds=1.0), 0, True),
        (Drained(accounting=Accounting(lost=ONE), seconds=1.0), 1, True),
        (Drained(accounting=Accounting(foreign=ONE), seconds=1.0), 1, True),
        (Drained(accounting=Accounting(), seconds=1.0, pause=PAUSE_SECONDS + 1), 0, True),
    ],
)
def test_a_run_that_must_not_be_so_is_a_failure(drained: Drained, allowed: int, fails: bool) -> None:  # noqa: FBT001 (a table's column)
    """And what is no failure is counted all the same."""
    tally = Tally(runs=1)

    tally.add(drained, allowed)

    assert bool(tally.failures) is fails
    assert (tally.lost, tally.doubled, tally.foreign) == tuple(
        map(len, (drained.accounting.lost, drained.accounting.doubled, drained.accounting.foreign))
    )


def test_the_page_tells_of_failures_too() -> None:
    """Terminal and page show the same counts."""
    tallies = {"one: good": Tally(runs=3, longest=1.25), "one: bad": Tally(runs=3, lost=2, failures=["two lost"])}

    shown, written = table(tallies, 60.0), page(tallies, 60.0, 3)

    assert "| one: good | 3 | 0 | 0 | 0 | 1.2 s |  |" in written
    assert "| one: bad | 3 | 2 | 0 | 1 | 0.0 s |  |" in written
    assert "make crash N=3 WRITE=yes" in written
    assert "6 runs in 60 s" in shown
    assert shown.endswith("one: bad:\ntwo lost\n")
