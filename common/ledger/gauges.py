"""The ledger's numbers for metrics, cheap enough to be asked for four times a minute: the settled isn't counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from common.failures import PollResult
from common.ledger.reader import Reader
from common.ledger.standing import DELIVERIES, HOSTS, TARGETS, UNDELETED, read_clock
from common.ledger.verified import Verified, read_verified

OVERDUE_MS: Final = 60_000
"""How late a poll may begin: fetchers look every second, and what may not be polled now is not due."""

MAILS: Final = """
SELECT CASE WHEN state = 'listed' AND unseen_since IS NOT NULL THEN 'removed' ELSE state END AS state,
       count(*) AS count, min(listed_at) AS oldest, min(progress_at) AS since
FROM mails WHERE state IN ('listed', 'fetched', 'routed', 'skipped', 'quarantined', 'lost') GROUP BY 1
"""

MAILS_SET_ASIDE: Final = """
SELECT CASE WHEN state = 'lost' THEN 'lost' WHEN reason LIKE 'sent back to be fetched%' THEN 'sent_back'
       WHEN reason LIKE 'loop:%' THEN 'loop' ELSE 'other' END AS reason, count(*) AS count
FROM mails WHERE state IN ('quarantined', 'lost') GROUP BY 1
"""

DELIVERIES_SET_ASIDE: Final = """
SELECT CASE WHEN last_reply LIKE 'may have been delivered:%' THEN 'ambiguous'
       WHEN last_reply LIKE 'tried for 5 days:%' THEN 'expired' ELSE 'refused' END AS reason, count(*) AS count
FROM deliveries WHERE state = 'quarantined' GROUP BY 1
"""

PROFILES: Final = """
SELECT CASE WHEN NOT p.enabled THEN 'disabled' WHEN s.due_at IS NULL THEN 'stopped'
       WHEN s.failures > 0 THEN 'backoff' ELSE 'active' END AS state, count(*) AS count
FROM profiles p JOIN schedule s ON s.profile_id = p.id GROUP BY 1
"""

OVERDUE: Final = """
SELECT count(*) AS count FROM schedule s JOIN profiles p ON p.id = s.profile_id
WHERE s.due_at <= :before AND (s.lease_until IS NULL OR s.lease_until <= :time) AND p.enabled
"""

EACH_PROFILE: Final = """
SELECT p.name, s.last_result, s.last_success_at FROM profiles p JOIN schedule s ON s.profile_id = p.id
WHERE p.enabled ORDER BY p.name LIMIT :limit
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileGauge:
    """How the last polls of one profile went."""

    name: str
    up: bool | None  # None: it was never polled
    last_success: float | None  # seconds since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """The ledger's numbers at one moment of the database's clock; ages are seconds."""

    mails: Mapping[str, int]  # by state
    deliveries: Mapping[str, int]  # by state
    quarantined: Mapping[str, int]  # by class of reason
    profiles: Mapping[str, int]  # by state
    overdue: int
    each_profile: Sequence[ProfileGauge]  # empty if there are more than were asked for
    paused_targets: frozenset[str]
    paused_hosts: int
    undelivered_age: float
    undeleted_age: float
    fetched_age: float  # of the oldest mail that waits for a router
    pending_age: Mapping[str, float]  # of the oldest delivery that waits for a deliverer, by target
    verified: Verified


async def read_gauges(reader: Reader, *, most_profiles: int) -> Gauges:
    """Return the numbers of now; raises what the reader raises."""
    time = await read_clock(reader)
    mails = {row["state"]: row for row in await reader.rows(MAILS)}
    deliveries = await reader.rows(DELIVERIES)
    aside = [*await reader.rows(MAILS_SET_ASIDE), *await reader.rows(DELIVERIES_SET_ASIDE)]
    profiles = await reader.rows(EACH_PROFILE, limit=most_profiles + 1)
    (overdue,) = await reader.rows(OVERDUE, before=time - OVERDUE_MS, time=time)
    (undeleted,) = await reader.rows(UNDELETED)
    on_the_way = [mails[state]["oldest"] for state in ("listed", "fetched") if state in mails]
    on_the_way += [row["oldest"] for row in deliveries if row["state"] != "quarantined"]
    return Gauges(
        mails={state: int(row["count"]) for state, row in mails.items()},
        deliveries=_summed(deliveries, "state"),
        quarantined=_summed(aside, "reason"),
        profiles=_summed(await reader.rows(PROFILES), "state"),
        overdue=int(overdue["count"]),
        each_profile=[_profile(row) for row in profiles] if len(profiles) <= most_profiles else [],
        paused_targets=frozenset(row["name"] for row in await reader.rows(TARGETS, time=time)),
        paused_hosts=len(await reader.rows(HOSTS)),
        undelivered_age=_age(min(on_the_way, default=None), time),
        undeleted_age=_age(undeleted["since"], time),
        fetched_age=_age(mails["fetched"]["since"] if "fetched" in mails else None, time),
        pending_age={row["key"]: _age(row["oldest"], time) for row in deliveries if row["state"] == "pending"},
        verified=await read_verified(reader),
    )


def _summed(rows: Sequence[Mapping[str, object]], column: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        key = str(row[column])
        found[key] = found.get(key, 0) + int(str(row["count"]))
    return found


def _profile(row: Mapping[str, object]) -> ProfileGauge:
    result, success = row["last_result"], row["last_success_at"]
    return ProfileGauge(
        name=str(row["name"]),
        up=None if result is None else result in {PollResult.OK, PollResult.EMPTY},
        last_success=success / 1000 if isinstance(success, int) else None,
    )


def _age(since: int | None, time: int) -> float:
    """Return how long ago that was, 0 for never: the clock of the database may have been set back."""
    return 0.0 if since is None else max(0, time - since) / 1000
