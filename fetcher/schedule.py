"""When to poll next: pure. Politeness and patience are decided here, from how the last poll ended."""

from typing import Final

from common.failures import PollResult
from fetcher.session import SessionEnd

AUTH_LADDER: Final = (900, 3600, 21_600)
"""Seconds after each refused sign-in in a row; after the last, the profile stops and says so."""

SOON_SECONDS: Final = 60
"""How soon a mailbox is polled again while mail in it waits to be fetched or deleted."""

FAILURE_SECONDS: Final = (30, 60, 120, 300)
"""Seconds after failures that are nobody's fault; then the profile's own interval."""

JITTER: Final = 0.1


def seconds_to_next_poll(
    result: PollResult, *, interval: int, failures: int, auth_failures: int, end: SessionEnd | None
) -> float | None:
    """Return when to poll again, None for never by itself; the counts are those before this poll."""
    if result is PollResult.AUTH:
        return AUTH_LADDER[auth_failures] if auth_failures < len(AUTH_LADDER) else None
    if result in {PollResult.GRANT, PollResult.PAUSED}:
        return None
    if result in {PollResult.OK, PollResult.EMPTY}:
        waiting = end is not None and (end.more or end.unsettled > 0)
        return min(interval, SOON_SECONDS) if waiting else interval
    if result in {PollResult.IN_USE, PollResult.THROTTLED}:
        return interval
    return min(interval, FAILURE_SECONDS[failures]) if failures < len(FAILURE_SECONDS) else interval


def jittered(seconds: float, spread: float) -> float:
    """Spread polls out, so that a thousand profiles that began together don't stay together; spread is -1 to 1."""
    return seconds * (1 + JITTER * spread)
