"""What people are told of, as deliverers see it: looked for, recorded, claimed by one of them, sent."""

from collections.abc import Sequence

from common.ledger import notices, reading
from common.ledger.ledger import Ledger
from common.profile import Profile


class NoticeBoard:
    """The notices of a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.installation = ledger.installation
        self._ledger = ledger

    async def noticeable(self, wanted: notices.Wanted) -> list[notices.Finding]:
        """Return what people should be told of, and were not yet; raises PpsError."""
        return await self._ledger.read(lambda connection: notices.noticeable(connection, wanted))

    async def wait(self) -> bool:
        """Return whether notices wait to be sent; cheap, and asked often; raises PpsError."""
        return await self._ledger.read(notices.wait)

    async def profiles(self) -> list[tuple[str, Profile]]:
        """Return the id and settings of every profile that is enabled; raises PpsError."""
        return await self._ledger.read(reading.enabled_profiles)

    async def record(self, findings: Sequence[notices.Finding]) -> None:
        """Record what people are to be told of; idempotent."""
        await self._ledger.write(notices.RECORD_FINDINGS, tuple(findings))

    async def claim(self, every: int) -> tuple[notices.Notice, ...]:
        """Take all that waits, so that no other worker sends it; nothing within `every` seconds after the last time."""
        return await self._ledger.write(notices.CLAIM_NOTICES, every)

    async def sent(self, ids: Sequence[str]) -> None:
        """Record that people were told."""
        await self._ledger.write(notices.NOTICES_SENT, tuple(ids))
