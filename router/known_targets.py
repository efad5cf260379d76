"""Which targets there are: a job for another would wait in a queue that nobody takes from."""

import json
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger import Ledger
from common.ledger.schema import profiles


class KnownTargets:
    """Those of the configuration, and those that profiles in the ledger name, which may be ahead of it.

    What was known once stays so: mail may be on its way to a target that left the configuration.
    """

    def __init__(self, names: Iterable[str], ledger: Ledger) -> None:
        self._names = set(names)
        self._ledger = ledger

    async def has(self, target: str, *, profile_id: str) -> bool:
        """Whether this target is known, or is that of the profile by now."""
        if target not in self._names:
            settings = await self._ledger.read(lambda connection: _settings_of(connection, profile_id))
            if settings is None or json.loads(settings).get("target") != target:
                return False
            self._names.add(target)
        return True


async def _settings_of(connection: AsyncConnection, profile_id: str) -> str | None:
    found = await connection.execute(select(profiles.c.settings).where(profiles.c.id == profile_id))
    return found.scalar_one_or_none()
