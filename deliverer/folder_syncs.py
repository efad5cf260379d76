"""Shares the fsync of a folder among all the links made before it begins: one a batch instead of one a mail."""

import asyncio
from collections.abc import Awaitable, Callable


class FolderSyncs:
    """At most one sync of a folder runs, and at most one waits for it; whoever comes meanwhile joins the waiting one.

    `sync` makes one folder durable; `count` tells how often it was called.
    """

    def __init__(self, sync: Callable[[str], Awaitable[None]]) -> None:
        self.count = 0
        self._sync = sync
        self._running: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, asyncio.Task[None]] = {}

    async def cover(self, folder: str) -> None:
        """Return once a sync is done that began after this call, so that it covers what was linked before."""
        task = self._waiting.get(folder)
        if task is None:
            task = asyncio.create_task(self._sync_after(self._running.get(folder), folder))
            self._waiting[folder] = task
        await asyncio.shield(task)  # others wait for it, too

    async def close(self) -> None:
        """Wait for what runs."""
        await asyncio.gather(*self._waiting.values(), *self._running.values(), return_exceptions=True)

    async def _sync_after(self, earlier: asyncio.Task[None] | None, folder: str) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        task = self._waiting.pop(folder)
        self._running[folder] = task
        self.count += 1
        try:
            await self._sync(folder)
        finally:
            if self._running[folder] is task:
                del self._running[folder]
