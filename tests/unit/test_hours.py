"""When a mailbox may be polled: windows of the week, in a time zone, over midnight and over a change of the clock."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from common.hours import parse_window, parse_zone, seconds_until_open

BERLIN = "Europe/Berlin"


def at(text: str) -> float:
    """Return the timestamp of a moment in Berlin; 2026-11-25 is a Wednesday."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN)).timestamp()


def wait(moment: str, *hours: str) -> float:
    """Return the hours until polls are allowed in Berlin."""
    windows = [parse_window(text) for text in hours]
    return seconds_until_open(windows, now=at(moment), zone=BERLIN) / 3600


@pytest.mark.parametrize(
    ("hours", "moment", "expected"),
    [
        ("08:00-18:00", "2026-11-25 08:00", 0),
        ("08:00-18:00", "2026-11-25 17:59", 0),
        ("08:00-18:00", "2026-11-25 18:00", 14),
        ("08:00-18:00", "2026-11-25 07:00", 1),
        ("mon-fri 08:00-18:00", "2026-11-27 18:00", 62),
        ("sat,sun 08:00-18:00", "2026-11-25 08:00", 72),
        ("wed 08:00-18:00", "2026-11-25 18:00", 6 * 24 + 14),
        ("fri-mon 10:00-11:00", "2026-11-30 10:30", 0),
        ("22:00-02:00", "2026-11-25 01:00", 0),
        ("wed 22:00-02:00", "2026-11-26 01:00", 0),
        ("thu 22:00-02:00", "2026-11-26 01:00", 21),
        ("00:00-24:00", "2026-11-25 23:59", 0),
        ("wed 00:00-00:00", "2026-11-25 12:00", 0),
    ],
)
def test_polls_wait_for_the_next_window(hours: str, moment: str, expected: float) -> None:
    """A window begins on its days, and may end on the next."""
    assert wait(moment, hours) == expected


def test_several_windows_are_one_union() -> None:
    """The one that opens next counts."""
    assert wait("2026-11-25 12:30", "08:00-12:00", "13:00-17:00") == 0.5
    assert wait("2026-11-25 12:30") == 0


def test_openings_move_with_summer_time() -> None:
    """On 2026-03-29 the night in Berlin has an hour less, on 2026-10-25 one more."""
    assert wait("2026-03-28 20:00", "08:00-18:00") == 11
    assert wait("2026-10-24 20:00", "08:00-18:00") == 13


def test_without_a_zone_the_machine_s_own_counts() -> None:
    """As for cron."""
    now = datetime.fromisoformat("2026-11-25 07:00").timestamp()
    assert seconds_until_open([parse_window("08:00-18:00")], now=now, zone=None) == 3600


@pytest.mark.parametrize("text", ["", "8:00-18:00", "08:00", "25:00-26:00", "08:60-09:00", "mo 08:00-09:00", 8])
def test_what_is_no_window_is_refused(text: object) -> None:
    """With the form shown."""
    with pytest.raises(ValueError, match="is not hours such as"):
        parse_window(text)


@pytest.mark.parametrize("name", ["", "Berlin", "/etc/passwd", "../UTC", "Europe", 1])
def test_what_is_no_zone_is_refused(name: object) -> None:
    """Never as a file that was looked for."""
    with pytest.raises(ValueError, match="is not a time zone"):
        parse_zone(name)
