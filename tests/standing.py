"""Builders of how things stand, for tests of what is told about it. Times are milliseconds; now is AT."""

from collections.abc import Mapping
from typing import Any, Final

from common.ledger.standing import Flow, ProfileStanding, Standing, TargetStanding, Waiting

MINUTE: Final = 60_000
AT: Final = 1_800_000_000_000


def waiting(count: int = 1, *, minutes: int = 1) -> Waiting:
    """Return some mails or deliveries that wait for so long."""
    return Waiting(count=count, oldest=AT - minutes * MINUTE, since=AT - minutes * MINUTE)


def profile(name: str = "office", **keys: Any) -> ProfileStanding:  # noqa: ANN401 (the fields of a profile)
    """Return a profile that is doing well, but for these keys."""
    well: dict[str, Any] = {
        "name": name,
        "server": "mail.example.com 995s",
        "user": f"{name}@example.com",
        "target": "local",
        "enabled": True,
        "polling": False,
        "due_at": AT + 5 * MINUTE,
        "failures": 0,
        "last_started_at": AT - 5 * MINUTE,
        "last_finished_at": AT - 5 * MINUTE,
        "last_success_at": AT - 5 * MINUTE,
        "last_result": "ok",
        "last_error": None,
        "mails": {},
    }
    return ProfileStanding(**(well | keys))


def target(
    name: str = "local",
    *,
    paused_since: int | None = None,
    reason: str | None = None,
    deliveries: Mapping[str, Waiting] | None = None,
    last_reply: str | None = None,
) -> TargetStanding:
    """Return a target: working, unless told otherwise."""
    return TargetStanding(
        name=name, paused_since=paused_since, reason=reason, deliveries=deliveries or {}, last_reply=last_reply
    )


def standing(**keys: Any) -> Standing:  # noqa: ANN401 (the fields of a Standing)
    """Return how things stand: well, but for these keys."""
    flow = Flow(last_hour=12, last_day=124, last_at=AT - 3 * MINUTE)
    nothing: dict[str, Any] = {"targets": (), "set_aside": (), "undelivered_since": None, "undeleted_since": None}
    return Standing(**({"at": AT, "flow": flow, "profiles": (profile(),), **nothing} | keys))
