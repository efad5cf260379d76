"""How all stands, as `pps status` shows it: cheap with a million settled mails, since only the unsettled are looked at.

What was settled is counted for a day, in an index alone: a count over all rows would take a second, for a number
that nobody acts on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from common.config_errors import nearest
from common.failures import UsageError
from common.ledger.reader import Found, Reader
from common.ledger.verified import Verified, read_verified
from common.messages import one_line
from common.secrets import STORED

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

MAX_LISTED: Final = 50
"""Mails in quarantine that are named; there may be more, and they are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Some mails or deliveries in one state."""

    count: int
    oldest: int  # when the oldest was listed, or a delivery made
    since: int  # when the first of them came into this state, as far as is known


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileStanding:
    """How one profile stands."""

    name: str
    server: str
    user: str
    target: str
    enabled: bool
    polling: bool  # somebody holds the lease now
    due_at: int | None  # None: stopped until a person acts
    failures: int  # in a row
    last_started_at: int | None
    last_finished_at: int | None
    last_success_at: int | None
    last_result: str | None
    last_error: str | None
    held: str | None = None  # why a poll that was due was not made, until one is
    mails: Mapping[str, Waiting]  # by state, unsettled ones only; "removed" by someone else before they were fetched
    with_tokens: bool = False  # whether it signs in with OAuth 2
    with_stored: bool = False  # whether its password was typed, and is kept in the ledger
    grant_expires_at: int | None = None  # when those are given no more, if the provider says so


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStanding:
    """How one target stands: every target that is paused, or that a delivery waits for."""

    name: str
    paused_since: int | None
    reason: str | None
    deliveries: Mapping[str, Waiting]  # by state, undone ones only
    last_reply: str | None  # to the oldest delivery that was put off


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStanding:
    """A host that refuses so many sign-ins that the passwords can't be to blame."""

    name: str
    reason: str
    paused_since: int
    paused_until: int  # then one profile at a time is tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Mails that were settled: delivered to everybody, and deleted or kept."""

    last_hour: int
    last_day: int
    last_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """A mail, or one recipient's delivery of it, that can't go on without a person."""

    mail_id: str
    profile: str
    recipient: str | None
    state: str  # quarantined or lost
    reason: str
    since: int


_UNVERIFIED: Final = Verified()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How all stands, at one moment of the database's clock."""

    at: int
    flow: Flow
    profiles: tuple[ProfileStanding, ...]
    targets: tuple[TargetStanding, ...]
    hosts: tuple[HostStanding, ...] = ()  # whose sign-ins are paused
    set_aside: tuple[SetAside, ...]  # the newest MAX_LISTED
    undelivered_since: int | None  # the oldest mail that somebody doesn't have yet
    undeleted_since: int | None  # the oldest that everybody has, and that is still on the server
    verified: Verified = _UNVERIFIED


PROFILES: Final = """
SELECT p.id, p.name, p.enabled, p.settings, s.due_at, s.lease_until, s.failures, s.last_started_at, s.last_finished_at,
       s.last_success_at, s.last_result, s.last_error, s.held, g.grant_expires_at
FROM profiles p JOIN schedule s ON s.profile_id = p.id
LEFT JOIN grants g ON g.mailbox = p.mailbox AND g.refused IS NULL ORDER BY p.name
"""

MAILS: Final = """
SELECT profile_id, CASE WHEN state = 'listed' AND unseen_since IS NOT NULL THEN 'removed' ELSE state END AS state,
       count(*) AS count, min(listed_at) AS oldest, min(progress_at) AS since
FROM mails WHERE state IN ('listed', 'fetched', 'routed', 'skipped', 'quarantined', 'lost') GROUP BY 1, 2
"""

DELIVERIES: Final = """
SELECT target AS key, state, count(*) AS count, min(created_at) AS oldest, min(created_at) AS since
FROM deliveries WHERE state IN ('pending', 'deferred', 'quarantined') GROUP BY 1, 2
"""

FLOW: Final = """
SELECT (SELECT count(*) FROM mails WHERE state = 'deleted' AND progress_at > :hour)
     + (SELECT count(*) FROM mails WHERE state = 'kept' AND progress_at > :hour) AS last_hour,
       (SELECT count(*) FROM mails WHERE state = 'deleted' AND progress_at > :day)
     + (SELECT count(*) FROM mails WHERE state = 'kept' AND progress_at > :day) AS last_day,
       (SELECT max(progress_at) FROM mails WHERE state = 'deleted') AS deleted_at,
       (SELECT max(progress_at) FROM mails WHERE state = 'kept') AS kept_at
"""
"""All answered by the index on state and progress."""

TARGETS: Final = """
SELECT name, CASE WHEN held_until > :time THEN doubt ELSE reason END AS reason,
       CASE WHEN paused_until > :time THEN paused_since ELSE doubted_since END AS paused_since
FROM targets WHERE paused_until > :time OR held_until > :time
"""

HOSTS: Final = "SELECT name, reason, paused_since, paused_until FROM hosts WHERE paused_since IS NOT NULL ORDER BY name"

FIRST_PUT_OFF: Final = """
SELECT last_reply FROM deliveries WHERE state = 'deferred' AND target = :target ORDER BY created_at LIMIT 1
"""

UNDELETED: Final = """
SELECT min(m.progress_at) AS since FROM mails m WHERE m.state = 'routed' AND m.unseen_since IS NULL
AND EXISTS (SELECT 1 FROM deliveries d WHERE d.copy_id = m.copy_id AND d.state IN ('delivered', 'discarded'))
AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.copy_id = m.copy_id
                AND d.state IN ('pending', 'deferred', 'quarantined'))
"""

SET_ASIDE: Final = (
    """
SELECT m.id AS mail_id, p.name AS profile, NULL AS recipient, m.state, m.reason, m.progress_at AS since
FROM mails m JOIN profiles p ON p.id = m.profile_id WHERE m.state IN ('quarantined', 'lost')
ORDER BY m.progress_at DESC LIMIT :limit
""",
    """
SELECT d.mail_id, p.name AS profile, d.recipient, d.state, d.last_reply AS reason, d.created_at AS since
FROM deliveries d JOIN profiles p ON p.id = d.profile_id WHERE d.state = 'quarantined'
ORDER BY d.created_at DESC LIMIT :limit
""",
)


async def read_clock(reader: Reader) -> int:
    """Return the database's time in milliseconds."""
    (row,) = await reader.rows(f"SELECT {reader.clock} AS time")
    return int(row["time"])


async def require_profile(reader: Reader, name: str) -> None:
    """Raise UsageError, with the nearest name, where the ledger knows no such profile."""
    names = [str(row["name"]) for row in await reader.rows("SELECT name FROM profiles")]
    if name not in names:
        raise UsageError(f'the ledger knows no profile "{one_line(name, 64)}": {nearest(name, names)}')


async def read_standing(reader: Reader) -> Standing:
    """Return how all stands."""
    time = await read_clock(reader)
    mails = _by_key(await reader.rows(MAILS), "profile_id")
    profiles = tuple(_profile(row, mails.get(row["id"], {}), time) for row in await reader.rows(PROFILES))
    targets = await _targets(reader, time)
    (undeleted,) = await reader.rows(UNDELETED)
    return Standing(
        at=time,
        flow=await _flow(reader, time),
        profiles=profiles,
        targets=targets,
        hosts=tuple([HostStanding(**row) for row in await reader.rows(HOSTS)]),
        set_aside=await _set_aside(reader),
        undelivered_since=_undelivered(profiles, targets),
        undeleted_since=undeleted["since"],
        verified=await read_verified(reader),
    )


def _by_key(rows: Sequence[Found], key: str) -> dict[str, dict[str, Waiting]]:
    found: dict[str, dict[str, Waiting]] = {}
    for row in rows:
        waiting = Waiting(count=int(row["count"]), oldest=row["oldest"], since=row["since"])
        found.setdefault(row[key], {})[row["state"]] = waiting
    return found


def _profile(row: Found, mails: Mapping[str, Waiting], time: int) -> ProfileStanding:
    settings: dict[str, Any] = json.loads(row["settings"])  # as Profile.to_json wrote it; checked when it is used
    same = ("due_at", "failures", "last_started_at", "last_finished_at", "last_success_at", "last_result", "last_error")
    return ProfileStanding(
        name=row["name"],
        server=str(settings.get("server", "")),
        user=str(settings.get("user", "")),
        target=str(settings.get("target", "")),
        enabled=bool(row["enabled"]),
        polling=row["lease_until"] is not None and row["lease_until"] > time,
        mails=mails,
        held=row["held"],
        with_tokens=settings.get("oauth") is not None,
        with_stored=settings.get("password") == STORED,
        grant_expires_at=row["grant_expires_at"],
        **{name: row[name] for name in same},
    )


async def _flow(reader: Reader, time: int) -> Flow:
    (row,) = await reader.rows(FLOW, hour=time - HOUR_MS, day=time - DAY_MS)
    last = [at for at in (row["deleted_at"], row["kept_at"]) if at is not None]
    return Flow(last_hour=int(row["last_hour"]), last_day=int(row["last_day"]), last_at=max(last, default=None))


async def _targets(reader: Reader, time: int) -> tuple[TargetStanding, ...]:
    paused = {row["name"]: row for row in await reader.rows(TARGETS, time=time)}
    waiting = _by_key(await reader.rows(DELIVERIES), "key")
    found = []
    for name in sorted(paused.keys() | waiting.keys()):
        pause = paused.get(name, {})
        deliveries = waiting.get(name, {})
        replies = await reader.rows(FIRST_PUT_OFF, target=name) if "deferred" in deliveries else []
        found.append(
            TargetStanding(
                name=name,
                paused_since=pause.get("paused_since"),
                reason=pause.get("reason"),
                deliveries=deliveries,
                last_reply=replies[0]["last_reply"] if replies else None,
            )
        )
    return tuple(found)


async def _set_aside(reader: Reader) -> tuple[SetAside, ...]:
    rows = [row for query in SET_ASIDE for row in await reader.rows(query, limit=MAX_LISTED)]
    found = [SetAside(**{**row, "reason": row["reason"] or ""}) for row in rows]
    return tuple(sorted(found, key=lambda one: one.since, reverse=True)[:MAX_LISTED])


def _undelivered(profiles: Sequence[ProfileStanding], targets: Sequence[TargetStanding]) -> int | None:
    """Return when the oldest mail was listed that is on its way; what waits for a person is told apart."""
    of_mails = [one.mails[state].oldest for one in profiles for state in ("listed", "fetched") if state in one.mails]
    of_deliveries = [
        one.deliveries[state].oldest for one in targets for state in ("pending", "deferred") if state in one.deliveries
    ]
    return min(of_mails + of_deliveries, default=None)
