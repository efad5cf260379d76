"""What a message in pps.dead says of itself: why it is there, and whence and when it came. Pure, and trusts nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from common.messages import one_line

MAX_NAME: Final = 255
"""Octets of a queue's name (AMQP 0-9-1)."""

MAX_DIGITS: Final = 12
"""Of a size: far beyond what any broker takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message that no worker could read."""

    reason: str
    queue: str  # in which it was
    octets: int | None  # of the message as it came; what is kept may be cut
    at: int | None  # milliseconds since 1970 UTC, by the clock of the worker that put it there


def headers_of(reason: str, queue: str, octets: int) -> dict[str, str]:
    """Return what goes with a message into pps.dead."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"reason": one_line(reason), "queue": queue, "octets": str(octets), "at": at}


def letter_of(headers: Mapping[str, object]) -> DeadLetter:
    """Read what goes with it; anybody may have put something there without."""
    octets = str(headers.get("octets", ""))
    return DeadLetter(
        reason=one_line(str(headers.get("reason", "put there by hand: it has no reason"))),
        queue=one_line(str(headers.get("queue", "")), MAX_NAME),
        octets=int(octets) if octets.isascii() and octets.isdigit() and len(octets) <= MAX_DIGITS else None,
        at=_moment(str(headers.get("at", ""))),
    )


def _moment(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else int(moment.timestamp() * 1000)
