"""How `pps status` reads: the answer first, each trouble in a line, and no flood where there are many profiles."""

import pytest

from common.ledger.verified import Verified
from manager.cli.status_view import blocks_of
from manager.cli.tables import Line, Rows
from manager.standing import Overview
from manager.trouble import is_flowing, troubles_of
from tests.standing import AT, MINUTE, profile, standing, target, waiting


def shown(*, short: bool = True, running: bool | None = True, **keys: object) -> tuple[list[str], list[Rows]]:
    """Return the lines and the tables that are shown."""
    found = standing(**keys)
    overview = Overview(
        standing=found,
        running=running,
        flowing=is_flowing(found, running=running),
        troubles=troubles_of(found, running=running),
    )
    blocks = list(blocks_of(overview, short=short))
    lines = [block.text for block in blocks if isinstance(block, Line) and block.text]
    return lines, [block for block in blocks if isinstance(block, Rows)]


def test_where_all_is_well_one_line_says_so() -> None:
    """Then a row a profile."""
    lines, (profiles,) = shown()

    assert lines == ["mail flows: 124 mails done in 24 h, 12 in the last hour, the last 3m ago"]
    assert profiles.rows == [["office", "mail.example.com 995s", "active", "in 5m", "5m ago", ""]]


def test_each_trouble_says_whose_since_when_and_how_much_waits() -> None:
    """And what to do, on a line of its own."""
    failing = profile(failures=2, last_result="local", last_error="no password", mails={"listed": waiting(3)})
    paused = target(paused_since=AT - 7 * MINUTE, reason="refused", deliveries={"pending": waiting(2)})
    put_off = target("spare", deliveries={"deferred": waiting(4, minutes=9)}, last_reply="452 full")

    lines, _ = shown(profiles=(failing, profile("well", mails={"lost": waiting()})), targets=(paused, put_off))

    assert [line for line in lines if line.startswith("!")] == [
        "! target local for 7m, 2 waiting: takes nothing: refused",
        "! 4 deliveries to spare for 9m: put off: 452 full",
        "! profile office without success for 5m, 3 waiting: no password",
        "! 1 lost for 1m: gone from the server before everybody had it",
    ]
    assert sum(line.startswith("  -> ") for line in lines) == 4


@pytest.mark.parametrize(("count", "told"), [(1, "! 1 breach for 1m: "), (2, "! 2 breaches for 1m: ")])
def test_what_a_verification_found_is_counted(count: int, told: str) -> None:
    """In English."""
    lines, _ = shown(verified=Verified(at=AT - MINUTE, breaches=count))

    assert any(line.startswith(told) for line in lines), lines


def test_of_many_profiles_a_terminal_shows_those_in_trouble() -> None:
    """The others are counted; --all shows them."""
    many = tuple(profile(f"p{number}", failures=int(number == 7)) for number in range(30))

    lines, (profiles,) = shown(profiles=many)
    _, (every,) = shown(profiles=many, short=False)

    assert [row[0] for row in profiles.rows] == ["p7"]
    assert lines[-1] == "29 more profiles without trouble: pps status --all"
    assert len(every.rows) == 30
