"""One fsync of a folder covers all links made before it began, and none made after."""

import asyncio

import pytest

from deliverer.folder_syncs import FolderSyncs


class Disk:
    """Syncs when the test lets it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gate = asyncio.Event()
        self.error: OSError | None = None

    async def sync(self, folder: str) -> None:
        """Begin, and end when the gate opens."""
        self.begun.append(folder)
        await self.gate.wait()
        if self.error is not None:
            raise self.error


async def ticks() -> None:
    """Let everything that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_during_a_sync_shares_the_next_one() -> None:
    """A hundred links while a sync runs cost one more, since the running one may not cover them."""
    disk = Disk()
    syncs = FolderSyncs(disk.sync)
    first = asyncio.create_task(syncs.cover("/m/new"))
    await ticks()
    later = [asyncio.create_task(syncs.cover("/m/new")) for _ in range(100)]
    await ticks()

    assert disk.begun == ["/m/new"]
    disk.gate.set()
    await asyncio.gather(first, *later)

    assert syncs.count == len(disk.begun) == 2


async def test_folders_do_not_wait_for_each_other() -> None:
    """A slow folder holds up only its own mail."""
    disk = Disk()
    syncs = FolderSyncs(disk.sync)
    tasks = [asyncio.create_task(syncs.cover(folder)) for folder in ("/a", "/b")]
    await ticks()

    assert sorted(disk.begun) == ["/a", "/b"]
    disk.gate.set()
    await asyncio.gather(*tasks)


async def test_failed_sync_fails_all_that_it_covers_and_no_other() -> None:
    """Nobody is told that a link is durable when it isn't; the next sync is a new chance."""
    disk = Disk()
    disk.error = OSError("no")
    syncs = FolderSyncs(disk.sync)
    disk.gate.set()

    results = await asyncio.gather(*(syncs.cover("/a") for _ in range(3)), return_exceptions=True)
    disk.error = None
    await syncs.cover("/a")

    assert all(isinstance(result, OSError) for result in results)
    assert len(results) == 3


async def test_cancelled_waiter_does_not_stop_the_sync_of_others() -> None:
    """The sync is shared: one who goes away leaves it to the others."""
    disk = Disk()
    syncs = FolderSyncs(disk.sync)
    goes, stays = (asyncio.create_task(syncs.cover("/a")) for _ in range(2))
    await ticks()
    goes.cancel()
    await ticks()
    disk.gate.set()

    await stays
    with pytest.raises(asyncio.CancelledError):
        await goes
    assert syncs.count == 1
