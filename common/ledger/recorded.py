"""Profiles as they stand in the ledger, for who looks: through a Reader, beside whatever works.

Plain SQL, without SQLAlchemy: `pps profile list` must not wait for its import.
"""

import contextlib
from dataclasses import dataclass, field
from typing import Final

from common.ledger.reader import Reader
from common.profile import Profile

FILE: Final = "file"
MANAGER: Final = "manager"
REMOVED: Final = "removed"
"""Who managed it, does no more; the row stays for the mails it has."""

LASTING: Final = frozenset({FILE, MANAGER})
"""Managers whose profiles are polled by themselves: those of `pps pull --server` are not."""

PROFILES: Final = "SELECT id, enabled, settings, managed_by, secret FROM profiles ORDER BY name"

UNDER_WAY: Final = """
SELECT m.profile_id, count(*) AS count FROM mails m
WHERE m.state IN ('fetched', 'routed') AND (m.state = 'fetched' OR EXISTS (
    SELECT 1 FROM deliveries d WHERE d.copy_id = m.copy_id AND d.state IN ('pending', 'deferred', 'quarantined')))
GROUP BY m.profile_id
"""
"""Mails that are fetched, and not yet with all their recipients, by profile; answered by the index on states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProfile:
    """A profile as the ledger has it."""

    profile_id: str
    profile: Profile
    managed_by: str
    sealed: bytes | None = field(repr=False)
    under_way: int  # mails that are fetched and not yet with all their recipients


async def read_profiles(reader: Reader) -> tuple[StoredProfile, ...]:
    """Return all profiles that can be read, by name, those left behind among them."""
    waiting = {row["profile_id"]: int(row["count"]) for row in await reader.rows(UNDER_WAY)}
    found = []
    for row in await reader.rows(PROFILES):
        with contextlib.suppress(ValueError):  # written by another version
            found.append(
                StoredProfile(
                    profile_id=row["id"],
                    profile=Profile.from_json(row["settings"]).model_copy(update={"enabled": bool(row["enabled"])}),
                    managed_by=row["managed_by"],
                    sealed=row["secret"],
                    under_way=waiting.get(row["id"], 0),
                )
            )
    return tuple(found)
