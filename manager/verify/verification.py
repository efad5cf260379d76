"""One verification, from the ledger to the servers, and what is kept of it. Only leases and the result are written."""

import time
from collections.abc import Collection, Sequence
from typing import Final

from common.blobs import BlobStore
from common.config import Config
from common.config_errors import nearest
from common.connect import open_blobs
from common.failures import PpsError, UsageError
from common.ledger.reader import Reader
from common.ledger.recorded import read_profiles
from common.ledger.restoring import ACCEPT, SAY_RESTORED, origin_of
from common.ledger.standing import read_clock
from common.ledger.verifications import KEEP, Verification
from common.ledger.verified import read_seen_new
from common.messages import one_line
from manager.profile_changes import opened_ledger
from manager.profiles import Known
from manager.standing import reading
from manager.verify.account import Account, Kind, Report
from manager.verify.of_blobs import check_blobs
from manager.verify.of_ledger import check_copies, count_mails
from manager.verify.of_servers import Servers
from manager.verify.of_targets import Targets

SAID: Final = "an administrator says that the ledger comes from a backup"


async def verify(config: Config, names: Collection[str], *, remote: bool) -> Report:
    """Account for every mail of these profiles, of all if none is named; raises PpsError where there is no ledger."""
    began = time.monotonic()
    async with reading(config) as reader, opened_ledger(config) as ledger:
        profiles = await _profiles(reader, names)
        report = Report(at=await read_clock(reader), every=not names, remote=remote)
        origin = await ledger.read(origin_of)
        report.restored = origin.restored_why if origin.withheld else None
        report.accounts |= {
            known.stored.profile_id: Account(name=known.profile.name) for known in profiles if known.stored
        }
        blobs = open_blobs(config.service, config.base)
        await _try(blobs, ledger.installation, report)
        await _walk(config, reader, blobs, profiles, report)
        if remote:
            before = await read_seen_new(reader)
            servers = Servers(config=config, ledger=ledger, reader=reader, blobs=blobs, report=report, before=before)
            await servers.look(profiles)
        report.seconds = round(time.monotonic() - began, 3)
        await ledger.write(KEEP, _kept(report))
    return report


async def _profiles(reader: Reader, names: Collection[str]) -> list[Known]:
    """Return the ledger's profiles, removed ones too, for their mails have rows; raises UsageError."""
    rows = {row.profile.name: row for row in await read_profiles(reader)}
    for name in names:
        if name not in rows:
            raise UsageError(f'verify: the ledger knows no profile "{one_line(name, 64)}": {nearest(name, list(rows))}')
    return [
        Known(profile=row.profile, managed_by=row.managed_by, stored=row)
        for name, row in rows.items()
        if not names or name in names
    ]


async def _try(blobs: BlobStore, key: str, report: Report) -> None:
    """Note a blob store that doesn't answer: nothing is said to be missing there."""
    try:
        await blobs.exists(key)
    except OSError as error:
        report.blobs.why_not = str(error)


async def _walk(config: Config, reader: Reader, blobs: BlobStore, profiles: Sequence[Known], report: Report) -> None:
    """Go through all that is here: rows, files and blobs."""
    at_hand = None if report.blobs.why_not else blobs
    await count_mails(reader, at_hand, report)
    mailboxes = {known.profile.mailbox: known.stored.profile_id for known in profiles if known.stored}
    await check_copies(reader, mailboxes, report)
    await Targets(reader, config.targets, report).check()
    if at_hand is not None:
        try:
            await check_blobs(reader, blobs, report)
        except OSError as error:
            report.blobs.why_not = str(error)


def _kept(report: Report) -> Verification:
    return Verification(
        began_at=report.at,
        whole=report.whole,
        mails=report.mails,
        breaches=report.total,
        undelivered=report.counts.get(Kind.DELETED_UNDELIVERED, 0),
        document=report.document(),
    )


async def accept(config: Config) -> None:
    """Have mail deleted again, since a person has read what was found; raises PpsError where nothing was yet."""
    async with reading(config), opened_ledger(config) as ledger:
        if not (await ledger.read(origin_of)).withheld:
            raise PpsError("verify: nothing is withheld: mail is deleted as ever")
        if not await ledger.write(ACCEPT, None):
            raise PpsError(
                "verify: nothing was verified since the ledger was restored, or not whole: "
                "run `pps verify` without names and --no-remote, and read it"
            )


async def say_restored(config: Config) -> None:
    """Withhold every deletion until all was verified: the ledger comes from a backup. Raises PpsError."""
    async with reading(config), opened_ledger(config) as ledger:
        await ledger.write(SAY_RESTORED, SAID)
