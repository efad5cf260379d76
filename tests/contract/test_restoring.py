"""A ledger that came back from a backup is recognised, on both databases, by what was left beside the blobs."""

import os
from pathlib import Path
from typing import Final

import pytest
import structlog
from structlog.testing import capture_logs

from common.folder_blobs import FolderBlobs
from common.ledger import Ledger
from common.ledger.restoring import ACCEPT, BLOBS_REST_MS, SAY_RESTORED, Origin, Witness, origin_of
from common.ledger.schema import new_id
from common.ledger.verifications import KEEP, Verification
from common.memory_broker import MemoryBroker
from fetcher import witness
from fetcher.sweep import Sweeper
from fetcher.witness import Witnesses
from tests.ledger import change

OLD: Final = "017f2162-b20c-73d7-bf3e-4a6fba6f23ee"
"""An installation that was made years ago."""

OTHER: Final = "01a2162d-b20c-73d7-bf3e-4a6fba6f23ee"


def witnesses(ledger: Ledger, folder: Path) -> Witnesses:
    """Return what a fetcher compares the ledger by."""
    return Witnesses(ledger=ledger, blobs=FolderBlobs(folder), log=structlog.get_logger())


async def origin(ledger: Ledger) -> Origin:
    """Return where the ledger comes from."""
    return await ledger.read(origin_of)


async def verified(ledger: Ledger, began_at: int, *, whole: bool = True) -> None:
    """Record a verification."""
    counts = {"mails": 0, "breaches": 0, "undelivered": 0}
    await ledger.write(KEEP, Verification(began_at=began_at, whole=whole, document={}, **counts))


async def test_a_ledger_that_was_never_restored_may_delete(ledger: Ledger, tmp_path: Path) -> None:
    """At its first start, at each later one, and with two fetchers whose counts overtake each other."""
    one, two = witnesses(ledger, tmp_path), witnesses(ledger, tmp_path)
    for fetcher in (one, two, one, one, two):
        await fetcher.look()
        assert await fetcher.why_kept() is None
    await witnesses(ledger, tmp_path).keep()
    assert (await origin(ledger)).restored_at is None


async def test_the_blobs_of_a_ledger_before_it_rest_for_a_week(ledger: Ledger) -> None:
    """A ledger that was lost and made anew knows none of them: one may be some mail's only copy."""
    assert (await origin(ledger)).blobs_rest
    await change(ledger, "UPDATE installation SET id = :id", id=OLD)
    assert not (await origin(ledger)).blobs_rest


async def test_an_older_ledger_deletes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    """It counts less than what lies with the blobs; the alarm stays over restarts, until a person accepts."""
    await witnesses(ledger, tmp_path).look()
    await witnesses(ledger, tmp_path).look()
    await change(ledger, "UPDATE installation SET epoch = 1")

    again = witnesses(ledger, tmp_path)
    await again.look()

    why = (
        "mail is not deleted: the ledger comes from a backup: it is older than what was written last: see `pps verify`"
    )
    assert await again.why_kept() == why
    later = witnesses(ledger, tmp_path)
    await later.look()
    assert await later.why_kept() == why
    assert (await origin(ledger)).blobs_rest


async def test_a_ledger_that_is_restored_under_a_running_fetcher_deletes_nothing(
    ledger: Ledger, tmp_path: Path
) -> None:
    """It is compared with what this process knows before each deletion, not only every minute."""
    running = witnesses(ledger, tmp_path)
    await running.look()
    await change(ledger, "UPDATE installation SET epoch = 0")

    assert await running.why_kept() is not None


async def test_another_ledger_s_witness_is_none_of_ours(ledger: Ledger, tmp_path: Path) -> None:
    """Pulls without a file may keep several ledgers, and one folder of blobs."""
    await FolderBlobs(tmp_path).put(OTHER, Witness(installation=OTHER, epoch=1000).to_bytes())

    fetcher = witnesses(ledger, tmp_path)
    await fetcher.look()

    assert await fetcher.why_kept() is None


async def test_who_can_not_ask_the_blobs_deletes_nothing(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is away: nobody can tell; once it is back, all is as ever."""
    monkeypatch.setattr(witness, "PATIENCE_SECONDS", 0.01)
    place = tmp_path / "blobs"
    place.touch()
    fetcher = witnesses(ledger, place)
    await fetcher.keep()
    kept = await fetcher.why_kept() or ""
    assert kept.startswith("mail is not deleted: the blobs don't tell whether the ledger is the one written last: ")
    assert str(place) in kept

    place.unlink()
    await fetcher.keep()

    assert await fetcher.why_kept() is None


async def test_the_age_is_counted_only_where_something_was_written(ledger: Ledger, tmp_path: Path) -> None:
    """An idle service writes nothing; within a minute one count is enough."""
    fetcher = witnesses(ledger, tmp_path)
    await fetcher.keep()
    before = (await origin(ledger)).epoch
    await fetcher.keep()
    fetcher._due_at = 0.0
    await fetcher.keep()
    assert (await origin(ledger)).epoch == before

    await ledger.begin_again()
    await fetcher.keep()

    assert (await origin(ledger)).epoch == before + 1


async def test_an_unreadable_witness_is_written_anew(ledger: Ledger, tmp_path: Path) -> None:
    """A cut file is no proof of anything."""
    await FolderBlobs(tmp_path).put(ledger.installation, b"\xff" * 10_000)
    fetcher = witnesses(ledger, tmp_path)
    await fetcher.look()
    assert await fetcher.why_kept() is None


async def test_only_a_whole_verification_since_then_can_be_accepted(ledger: Ledger) -> None:
    """One from before, or of a part, isn't read for this; after that blobs still rest for a week."""
    await verified(ledger, began_at=1)
    await ledger.write(SAY_RESTORED, "somebody says so")
    at = (await origin(ledger)).at
    assert not await ledger.write(ACCEPT, None)
    await verified(ledger, began_at=at + 1, whole=False)
    assert not await ledger.write(ACCEPT, None)
    await verified(ledger, began_at=at + 1)

    assert await ledger.write(ACCEPT, None)

    await change(ledger, "UPDATE installation SET id = :id", id=OLD)
    assert not (await origin(ledger)).withheld
    assert (await origin(ledger)).blobs_rest
    await change(ledger, "UPDATE installation SET restored_at = restored_at - :week", week=BLOBS_REST_MS)
    assert not (await origin(ledger)).blobs_rest


async def test_a_second_restore_has_to_be_accepted_anew(ledger: Ledger) -> None:
    """What was accepted of the first says nothing of it."""
    await ledger.write(SAY_RESTORED, "the first")
    await verified(ledger, began_at=(await origin(ledger)).at + 1)
    assert await ledger.write(ACCEPT, None)
    await change(ledger, "UPDATE installation SET restored_at = 1, accepted_at = 2")
    await change(ledger, "DELETE FROM verifications")

    await ledger.write(SAY_RESTORED, "the second")

    assert (await origin(ledger)).withheld
    assert not await ledger.write(ACCEPT, None)


async def old_blob(folder: Path) -> tuple[FolderBlobs, Path]:
    """Leave a blob that is years old and that no row names."""
    blobs = FolderBlobs(folder)
    await blobs.put(OTHER, b"the only copy")
    path = blobs.path(OTHER)
    assert path is not None
    os.utime(path, (1, 1))
    return blobs, path


def sweeper_of(ledger: Ledger, looking: Witnesses, blobs: FolderBlobs) -> Sweeper:
    """Return a fetcher's sweeper."""
    log = structlog.get_logger()
    return Sweeper(
        broker=MemoryBroker(log),
        ledger=ledger,
        blobs=blobs,
        witnesses=looking,
        targets=(),
        retention=90 * 86_400,
        log=log,
    )


async def test_blobs_of_another_installation_are_never_swept(ledger: Ledger, tmp_path: Path) -> None:
    """Two share a folder or prefix by mistake: what no row of ours names may be the other's only copy."""
    blobs, path = await old_blob(tmp_path)
    neighbour = new_id()
    await blobs.put(neighbour, Witness(installation=neighbour, epoch=7).to_bytes())
    looking = witnesses(ledger, tmp_path)
    await looking.look()
    await change(ledger, "UPDATE installation SET id = :id", id=OLD)
    sweeper = sweeper_of(ledger, looking, blobs)

    with capture_logs() as lines:
        await sweeper.keep_house()
    assert path.exists()
    assert [(line["event"], line["installation"]) for line in lines] == [("blobs_shared", neighbour)]

    gone = blobs.path(neighbour)
    assert gone is not None
    os.utime(gone, (1, 1))  # nobody has written there for long: that installation is no more
    await sweeper.keep_house()
    assert not path.exists()


async def test_no_blob_is_swept_within_a_week_of_a_restore(ledger: Ledger, tmp_path: Path) -> None:
    """Blobs that no row of the restored ledger names, however old: not before it is accepted, and for a week after."""
    looking = witnesses(ledger, tmp_path)
    blobs, path = await old_blob(tmp_path)
    await looking.look()
    sweeper = sweeper_of(ledger, looking, blobs)

    await ledger.write(SAY_RESTORED, "it comes from a backup")
    await sweeper.keep_house()
    assert path.exists()
    await verified(ledger, began_at=(await origin(ledger)).at + 1)
    assert await ledger.write(ACCEPT, None)
    await sweeper.keep_house()
    assert path.exists()

    await change(ledger, "UPDATE installation SET id = :id", id=OLD)
    await sweeper.keep_house()
    assert path.exists()
    await change(ledger, "UPDATE installation SET restored_at = restored_at - :week", week=BLOBS_REST_MS)
    await sweeper.keep_house()
    assert not path.exists()
    assert await blobs.exists(ledger.installation)
