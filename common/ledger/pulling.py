"""How a pull goes on: what is settled since it began, and what is still to do. Asked a few times a second.

Cheap beside a million settled mails: only the unsettled are looked at, and those that were settled since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from common.ledger.reader import Found, Reader
from common.ledger.standing import read_clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulling:
    """How one profile stands since a pull began."""

    read_at: int
    profile_id: str
    name: str
    polling: bool
    last_finished_at: int | None
    last_result: str | None
    last_error: str | None
    held: str | None = None  # why a poll that was due was not made, until one is
    held_at: int | None = None
    mails: Mapping[str, int]  # not settled, by state; "removed" by someone else before they were fetched
    delivered: int  # of the routed ones: everybody has them, and they are still on the server
    pending: int  # deliveries that no attempt has ended of
    deleted: int  # since the pull began, as is `kept`
    kept: int
    octets: int  # of the mails that were fetched, and not settled before the pull began

    @property
    def left(self) -> int:
        """Mails that are neither done with nor set aside: something is still to be done for them."""
        return sum(self.mails.get(state, 0) for state in ("listed", "fetched", "routed"))

    @property
    def done(self) -> int:
        """Mails that everybody has."""
        return self.deleted + self.kept + self.delivered

    @property
    def total(self) -> int:
        """Mails that the pull is about, as far as is known yet."""
        return self.deleted + self.kept + self.left


PROFILES: Final = """
SELECT p.id, p.name, s.lease_until, s.last_finished_at, s.last_result, s.last_error,
       s.held, s.held_at
FROM profiles p JOIN schedule s ON s.profile_id = p.id
"""

UNSETTLED: Final = """
SELECT profile_id, CASE WHEN state = 'listed' AND unseen_since IS NOT NULL THEN 'removed' ELSE state END AS state,
       count(*) AS count, sum(octets) AS octets
FROM mails WHERE state IN ('listed', 'fetched', 'routed', 'skipped', 'quarantined', 'lost') GROUP BY 1, 2
"""

SETTLED: Final = """
SELECT profile_id, state, count(*) AS count, sum(octets) AS octets
FROM mails WHERE state IN ('deleted', 'kept') AND progress_at >= :since GROUP BY 1, 2
"""

DELIVERED: Final = """
SELECT m.profile_id, 'delivered' AS state, count(*) AS count, 0 AS octets
FROM mails m WHERE m.state = 'routed' AND m.unseen_since IS NULL
AND EXISTS (SELECT 1 FROM deliveries d WHERE d.copy_id = m.copy_id AND d.state IN ('delivered', 'discarded'))
AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.copy_id = m.copy_id
                AND d.state IN ('pending', 'deferred', 'quarantined')) GROUP BY 1, 2
"""

PENDING: Final = """
SELECT profile_id, state, count(*) AS count, 0 AS octets FROM deliveries WHERE state = 'pending' GROUP BY 1, 2
"""


async def read_pulling(reader: Reader, since: int) -> dict[str, Pulling]:
    """Return how every profile stands since this moment, by name."""
    time = await read_clock(reader)
    rows = [
        *await reader.rows(UNSETTLED),
        *await reader.rows(SETTLED, since=since),
        *await reader.rows(DELIVERED),
        *await reader.rows(PENDING),
    ]
    found: dict[str, list[Found]] = {}
    for row in rows:
        found.setdefault(row["profile_id"], []).append(row)
    return {row["name"]: _pulling(row, found.get(row["id"], []), time) for row in await reader.rows(PROFILES)}


def _pulling(profile: Found, rows: Sequence[Found], time: int) -> Pulling:
    counts = {str(row["state"]): int(row["count"]) for row in rows}
    own = {name: counts.pop(name, 0) for name in ("delivered", "pending", "deleted", "kept")}
    return Pulling(
        read_at=time,
        profile_id=profile["id"],
        name=profile["name"],
        polling=profile["lease_until"] is not None,
        last_finished_at=profile["last_finished_at"],
        held=profile["held"],
        held_at=profile["held_at"],
        last_result=profile["last_result"],
        last_error=profile["last_error"],
        mails=counts,
        octets=sum(int(row["octets"] or 0) for row in rows),
        **own,
    )


DISCARDED: Final = """
SELECT state, count(*) AS count FROM mails m
WHERE profile_id = :profile AND state IN ('deleted', 'kept') AND progress_at >= :since
AND EXISTS (SELECT 1 FROM deliveries d WHERE d.copy_id = m.copy_id AND d.state = 'discarded')
AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.copy_id = m.copy_id AND d.state = 'delivered') GROUP BY state
"""

RECIPIENTS: Final = """
SELECT d.recipient, count(*) AS count FROM (
    SELECT copy_id FROM mails WHERE state IN ('deleted', 'kept') AND progress_at >= :since
    UNION SELECT copy_id FROM mails WHERE state = 'routed'
) m JOIN deliveries d ON d.copy_id = m.copy_id
WHERE d.profile_id = :profile AND d.state = 'delivered' AND d.done_at >= :since
GROUP BY d.recipient ORDER BY d.recipient
"""


async def recipients_since(reader: Reader, profile_id: str, since: int) -> dict[str, int]:
    """Return how many mails each recipient of a profile was given since this moment."""
    rows = await reader.rows(RECIPIENTS, profile=profile_id, since=since)
    return {str(row["recipient"]): int(row["count"]) for row in rows}


async def discarded_since(reader: Reader, profile_id: str, since: int) -> dict[str, int]:
    """Return by state, deleted or kept, how many mails were settled since then for a person threw them away."""
    rows = await reader.rows(DISCARDED, profile=profile_id, since=since)
    return {str(row["state"]): int(row["count"]) for row in rows}
