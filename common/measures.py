"""How times and sizes are written in pps.toml: "90s", "14d", "50MB". Pure; errors show the form."""

import re
from typing import Final

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
OCTETS: Final = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}

_DURATION: Final = re.compile(r"(\d{1,12})\s*([smhd])")
_SIZE: Final = re.compile(r"(\d{1,12})\s*([kKMG]i?B|B)")


def parse_duration(value: object) -> int:
    """Return seconds from "90s", "10m", "2h", "1d", or from a whole number of seconds; raise ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{value!r} is not a time such as "90s", "10m", "2h" or "1d"')
    return int(match[1]) * SECONDS[match[2]]


def parse_size(value: object) -> int:
    """Return octets from "500kB", "50MB", "1GiB", or from a whole number of octets; raise ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] not in OCTETS:
        raise ValueError(f'{value!r} is not a size such as "500kB", "50MB" or "1GiB"')
    return int(match[1]) * OCTETS[match[2]]
