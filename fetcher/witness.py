"""Bears witness to the ledger's age beside the blobs, and says whether mail may be deleted on this ledger's word."""

import asyncio
from collections.abc import Collection
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStore, NoBlobError
from common.failures import PpsError
from common.ledger import Ledger
from common.ledger.restoring import ADVANCE, MAX_WITNESS, Origin, Witness, origin_of

LOOK_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 5.0
"""How long the first comparison is waited for: blobs that are away must not hold up who asks."""

SECONDS: Final = 60.0
"""Between two counts of the ledger's age: a backup that is younger than that when it comes back isn't recognised."""


_UNTOLD: Final = "mail is not deleted: the blobs don't tell whether the ledger is the one written last"


class Witnesses:
    """One a fetcher. It looks at its start, and again every SECONDS in which the ledger was written to."""

    def __init__(self, *, ledger: Ledger, blobs: BlobStore, log: FilteringBoundLogger) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._log = log
        self._epoch: int | None = None  # the newest that we wrote; None: nothing could be compared yet
        self._commits = -1
        self._due_at = 0.0
        self._trouble = ""  # why the last comparison failed
        self._alone = asyncio.Lock()
        self._known = asyncio.Event()  # it could be compared

    async def run(self) -> None:
        """Look whenever it is time, until cancelled."""
        while True:
            try:
                await self.keep()
            except Exception:  # noqa: BLE001 (what can't be compared deletes nothing, and must end nothing)
                self._log.exception("witness_crashed")
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Compare ledger and witness, and leave the next count; raises PpsError, OSError."""
        async with self._alone:
            before = await self._ledger.read(origin_of)
            witness = await self._ledger.write(ADVANCE, await self._read())
            await self._blobs.put(
                self._ledger.installation, witness.to_bytes()
            )  # a crash before it leaves an older one
            self._epoch = witness.epoch
            self._commits = self._ledger.commits
            self._due_at = asyncio.get_running_loop().time() + SECONDS
            self._known.set()
            after = await self._ledger.read(origin_of)
        if after.withheld and before.restored_at != after.restored_at:
            self._log.error("ledger_restored", reason=after.restored_why, mend="pps verify")

    async def keep(self) -> None:
        """Look if it is time, and something was written since; where that fails nothing is deleted until it doesn't."""
        clock = asyncio.get_running_loop().time
        if self._epoch is not None and (clock() < self._due_at or self._ledger.commits == self._commits):
            return
        try:
            await self.look()
            self._trouble = ""
        except (PpsError, OSError) as error:
            self._due_at = clock() + SECONDS
            if str(error) != self._trouble:  # every few seconds it would be said again
                self._log.warning("witness_unanswered", error=str(error))
            self._trouble = str(error)

    async def why_kept(self) -> str | None:
        """Return why no mail may be deleted now, None if it may; raises PpsError, OSError."""
        origin = await self.origin()
        if origin is None:
            return f"{_UNTOLD}: {self._trouble or 'they are slow'}"
        return f"mail is not deleted: {origin.restored_why}: see `pps verify`" if origin.withheld else None

    async def origin(self) -> Origin | None:
        """Return where the ledger comes from, None while nobody can tell; raises PpsError, OSError."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._known.wait()
        except TimeoutError:
            return None
        origin = await self._ledger.read(origin_of)
        if self._epoch is not None and origin.epoch < self._epoch:  # restored while we work
            await self.look()
            origin = await self._ledger.read(origin_of)
        return origin

    async def neighbour(self, old: Collection[str]) -> str | None:
        """Return another installation that keeps blobs here, unless its witness is among the `old` ones; OSError.

        Our ledger knows none of its blobs: to us they look as if nobody asked for them.
        """
        async for batch in self._blobs.stored():
            for blob in batch:
                if blob.size <= MAX_WITNESS and blob.key not in old and blob.key != self._ledger.installation:
                    witness = Witness.from_bytes(await self._content(blob.key))
                    if witness is not None and witness.installation == blob.key:
                        return blob.key
        return None

    async def _read(self) -> Witness | None:
        data = await self._content(self._ledger.installation)
        witness = Witness.from_bytes(data)
        if data and witness is None:
            self._log.warning("witness_unreadable", key=self._ledger.installation)
        return witness

    async def _content(self, key: str) -> bytes:
        """Return as much as a witness may have; nothing where there is no such blob."""
        data = b""
        try:
            async for chunk in self._blobs.stream(key):
                data = (data + chunk)[: MAX_WITNESS + 1]
        except NoBlobError:
            return b""
        return data
