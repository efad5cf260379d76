"""How moments are written: ISO 8601 in UTC for scripts, ages and the reader's own clock for people."""

import re
from datetime import UTC, datetime
from time import time
from typing import Final

from common.failures import UsageError

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_AGO: Final = re.compile(r"(\d{1,6})\s*([smhd])")


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


def moment_of(text: str, option: str) -> int:
    """Return the moment, in milliseconds, that a person means: "2h" ago, a date, a time of day; raises UsageError."""
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        sizes = {unit: size for size, unit in _UNITS}
        return int((time() - int(ago[1]) * sizes[ago[2]]) * 1000)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(
            f'{option}: {text!r} is not a time such as "90s", "2h", "3d", "2026-11-23" or "2026-11-23 19:00"'
        ) from error
    return int(moment.timestamp() * 1000)  # without a zone, the reader's own
