"""What `make bench` makes of its measurements: no ratio that can't be trusted, and no aim judged by one."""

from collections import Counter
from pathlib import Path

import pytest

from tests.bench.race.accounting import account, digest
from tests.bench.race.figures import Goal, Outcome, Series
from tests.bench.race.page import page
from tests.bench.race.table import lines
from tests.maildir import canonical
from tests.mails import mail

FASTER = (Goal(label="times mpop", bound=1.2, of=("mpop",)),)
SMALL = (Goal(label="MB", bound=200, own="memory", most=True),)


def outcome(ours: Series, theirs: Series, **more: float) -> Outcome:
    """Return the outcome of a workload with two aims."""
    return Outcome(
        key="a", title="some mails", unit="mails/s", series=[ours, theirs], goals=[FASTER, SMALL], own={**more}
    )


def series(program: str, *values: float, fault: str = "") -> Series:
    """Return rounds of a program."""
    return Series(program=program, values=[*values], faults=[fault] if fault else [])


def test_a_ratio_is_that_of_the_medians() -> None:
    """One slow round says nothing; the spread shows it."""
    found = outcome(series("PPS", 240, 100, 250), series("mpop", 200, 190, 210), memory=150)

    assert found.ratio("mpop") == pytest.approx(1.2)
    assert found.series[0].spread == pytest.approx(150 / 240)
    assert [found.met(goals) for goals in found.goals] == [True, True]


@pytest.mark.parametrize("side", ["PPS", "mpop"])
def test_no_ratio_where_a_side_lost_or_doubled_mail(side: str) -> None:
    """Whoever loses a mail is not the faster one: neither a ratio nor an aim stands, and the reason does."""
    found = outcome(
        series("PPS", 900, fault="1 lost" if side == "PPS" else ""),
        series("mpop", 100, fault="1 lost" if side == "mpop" else ""),
        memory=1,
    )

    assert found.ratio("mpop") is None
    assert found.met(FASTER) is None
    assert found.right is (side == "mpop")
    assert "no ratio: 1 lost" in "\n".join(lines(found.document()))


def test_an_aim_that_fails_is_said_to_fail() -> None:
    """In the table and on the page."""
    document = outcome(series("PPS", 100), series("mpop", 100), memory=201).document()
    machine = {"date": "2026-01-01", "cpus": 2, "system": "Linux", "python": "3.11", "load": "0 0 0"}
    written = page(
        {"machine": machine, "rounds": 1, "part": 1, "workloads": [document]}, "## a\nIts limit is the disk.\n"
    )

    assert "\n".join(lines(document)).count("NOT met") == 2
    assert "| ≥ 1.2 times mpop | 1 | NOT met |" in written
    assert "Its limit is the disk." in written


def test_each_mail_is_counted_by_its_octets(tmp_path: Path) -> None:
    """A trace above the mail changes nothing; a mail that is there twice, or changed, or missing, is told."""
    first, second, third = (mail(size=1000) for _ in range(3))
    new = tmp_path / "ann" / "new"
    new.mkdir(parents=True)
    for name, raw in (("1", first), ("2", first), ("3", second.replace(b"morning", b"evening"))):
        (new / name).write_bytes(b"Received: from somewhere\n" + canonical(raw))

    came = account({"ann": Counter(map(digest, (first, second, third)))}, tmp_path, left=1)

    assert (came.lost, came.doubled, came.left) == (2, 2, 1)
    assert not came.exact
