"""How moments are written: ISO 8601 in UTC for scripts, ages and the reader's own clock for people. Pure."""

from datetime import UTC, datetime
from typing import Final

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def iso(milliseconds: int | None) -> str | None:
    """Return "2026-11-23T19:41:31.500Z", as `--json` prints times."""
    if milliseconds is None:
        return None
    moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(milliseconds: int) -> str:
    """Return "2026-11-23 20:41:31" on the reader's clock."""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(later: int, earlier: int) -> str:
    """Return the time between two moments in its largest unit: "12m"."""
    seconds = max(0, later - earlier) // 1000
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    return f"{seconds // size}{unit}"
