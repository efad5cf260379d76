"""When a mailbox may be polled: windows of the week in one time zone, such as "mon-fri 08:00-18:00". Pure; no clock."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_WINDOW: Final = re.compile(r"(?:(?P<days>[a-z,-]+)\s+)?(?P<opens>\d\d:\d\d)-(?P<closes>\d\d:\d\d)", re.IGNORECASE)
_FORM: Final = 'is not hours such as "08:00-18:00", "mon-fri 07:30-19:00" or "sat,sun 22:00-02:00"'
_MINUTES_A_DAY: Final = 24 * 60
_AHEAD: Final = range(-1, 8)
"""Days around now on which a window may begin that is open or comes next: one over midnight began yesterday."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Hours on some days of the week; one that ends no later than it begins goes on past midnight."""

    days: frozenset[int]  # 0 is Monday
    opens: int  # minutes after midnight
    closes: int

    def openings(self, day: date, zone: tzinfo | None) -> Iterator[tuple[float, float]]:
        """Yield when the window opens on this day and when it closes, as timestamps; nothing on other days."""
        if day.weekday() in self.days:
            past_midnight = _MINUTES_A_DAY if self.closes <= self.opens else 0
            yield _moment(day, self.opens, zone), _moment(day, self.closes + past_midnight, zone)


def parse_window(text: object) -> Window:
    """Read "[DAYS ]HH:MM-HH:MM", where DAYS is like "mon-fri" or "sat,sun"; raise ValueError."""
    match = _WINDOW.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} {_FORM}")
    opens, closes = _minutes(match["opens"], text), _minutes(match["closes"], text)
    return Window(days=_days(match["days"], text), opens=opens, closes=closes)


def parse_zone(name: object) -> str:
    """Return the name of a time zone of the IANA database, such as "Europe/Berlin"; raise ValueError."""
    try:
        return ZoneInfo(name if isinstance(name, str) else "").key
    except (OSError, ValueError, KeyError):  # a folder, a name that leads elsewhere, none that is known
        raise ValueError(f'{name!r} is not a time zone such as "Europe/Berlin" or "UTC"') from None


def seconds_until_open(windows: Sequence[Window], *, now: float, zone: str | None) -> float:
    """Return how long it is until one of the windows is open, 0 if one is, or if there are none.

    `now` is a timestamp. Without a zone, the machine's own counts. A change to summer time moves openings with it.
    """
    if not windows:
        return 0.0
    place = None if zone is None else ZoneInfo(zone)
    today = datetime.fromtimestamp(now, place).date()
    openings = [
        opening
        for window in windows
        for ahead in _AHEAD
        for opening in window.openings(today + timedelta(days=ahead), place)
    ]
    if any(opens <= now < closes for opens, closes in openings):
        return 0.0
    return min(opens for opens, _ in openings if opens > now) - now


def _moment(day: date, minutes: int, zone: tzinfo | None) -> float:
    days, minute = divmod(minutes, _MINUTES_A_DAY)
    return datetime.combine(day + timedelta(days=days), time(minute // 60, minute % 60), zone).timestamp()


def _minutes(text: str, shown: object) -> int:
    hour, minute = (int(part) for part in text.split(":"))
    if hour * 60 + minute > _MINUTES_A_DAY or minute > 59:  # noqa: PLR2004 (minutes of an hour)
        raise ValueError(f"{shown!r} {_FORM}")
    return hour * 60 + minute


def _days(text: str | None, shown: object) -> frozenset[int]:
    if text is None:
        return frozenset(range(len(DAYS)))
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"{shown!r} {_FORM}")
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found.update(day % len(DAYS) for day in range(begin, end + 1 + (len(DAYS) if end < begin else 0)))
    return frozenset(found)
