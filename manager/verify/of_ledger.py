"""The ledger against itself and against the blobs: where each mail is, and what contradicts an invariant."""

from collections.abc import Iterable
from typing import Final

from common.blobs import BlobStore
from common.ledger.accounting import MailRow, empty_copies, mails, mails_now
from common.ledger.reader import Reader
from common.messages import MAX_INLINE
from manager.verify.account import Account, Kind, Report

GRACE_MS: Final = 7 * 3_600_000
"""How long bytes may be in a queue's message alone: after 6 h the sweeper takes in hand what stands still."""

_SETTLED: Final = frozenset({"deleted", "kept"})


async def count_mails(reader: Reader, blobs: BlobStore | None, report: Report) -> None:
    """Count every mail once, and find what must not be; what seems a breach is looked at again before it is one."""
    async for rows in mails(reader):
        suspects: set[str] = set()
        for row in rows:
            account = report.account_of(row.profile_id)
            if account is None:
                continue  # of a profile that wasn't asked for
            _count(account, row)
            if await _contradiction(row, blobs, report.at) is not None:
                suspects.add(row.id)
            elif blobs is not None and _wants_blob(row) and not await blobs.exists(row.id):
                report.blobs.missing += 1
        for row in await mails_now(reader, suspects):
            breach = await _contradiction(row, blobs, report.at)
            if breach is not None:
                report.add(breach[0], row.id, breach[1], row.profile_id)


async def check_copies(reader: Reader, mailboxes: dict[str, str], report: Report) -> None:
    """Find copies that nobody is to get; `mailboxes` gives each mailbox's profile."""
    async for rows in empty_copies(reader):
        for row in rows:
            if row["mailbox"] in mailboxes:
                says = "a copy that nobody is to get"
                report.add(Kind.COPY_WITHOUT_DELIVERY, row["id"], says, mailboxes[row["mailbox"]])


async def check_vanished(reader: Reader, blobs: BlobStore | None, ids: Iterable[str], report: Report) -> None:
    """Find what somebody still wants of mails that a server doesn't list any more, although the ledger says it does."""
    if blobs is None:
        return
    for row in await mails_now(reader, set(ids)):
        if row.unseen_since is None and _wanted_beyond_doubt(row, report.at) and not await blobs.exists(row.id):
            report.add(Kind.CONTENT_NOWHERE, row.id, _NOWHERE, row.profile_id)


_NOWHERE: Final = "somebody is still to get it; the server doesn't list it, and there is no blob"


def _count(account: Account, row: MailRow) -> None:
    account.mails += 1
    account.on_server += row.unseen_since is None
    match row.state:
        case "deleted" | "kept" | "routed" if row.taken and not (row.given or row.waiting or row.stuck):
            account.discarded += 1
        case "deleted":
            account.deleted += 1
        case "kept":
            account.kept += 1
        case "skipped":
            account.skipped += 1
        case "lost":
            account.lost += 1
        case "quarantined":
            account.quarantined += 1
        case "listed" if row.unseen_since is not None:
            account.removed += 1
        case "routed" if row.stuck:
            account.quarantined += 1
        case "routed" if row.taken and not row.waiting:
            account.done += 1
        case _:
            account.under_way += 1


async def _contradiction(row: MailRow, blobs: BlobStore | None, now: int) -> tuple[Kind, str] | None:
    if row.state in _SETTLED and not row.taken:
        kind = Kind.DELETED_UNDELIVERED if row.state == "deleted" else Kind.KEPT_UNDELIVERED
        return kind, f"{row.state}, and nobody is on record who got it"
    if row.state == "deleted" and row.own_undone:
        return Kind.DELETED_UNDONE, f"deleted, and {row.own_undone} of {row.pieces} deliveries are undone"
    if row.state == "routed" and not row.pieces:
        return Kind.ROUTED_TO_NOBODY, "routed, and nobody is to get it"
    if row.unseen_since is not None and blobs is not None and _wanted_beyond_doubt(row, now):
        return None if await blobs.exists(row.id) else (Kind.CONTENT_NOWHERE, _NOWHERE)
    return None


def _wanted_beyond_doubt(row: MailRow, now: int) -> bool:
    """Whether somebody wants the mail's bytes, and no message in a queue can have them any more.

    Before any outcome but "delivered" the deliverer makes a blob, so what was tried has one. What is lost says so.
    """
    if row.state in {"lost", "quarantined", *_SETTLED}:
        return False
    waits = row.state == "fetched" or row.own_pending > 0
    return row.own_tried > 0 or (waits and row.progress_at < now - GRACE_MS)


def _wants_blob(row: MailRow) -> bool:
    """Whether a mail that is too large for a message is on its way."""
    on_its_way = row.state == "fetched" or (row.state == "routed" and row.own_undone > 0)
    return on_its_way and (row.octets or 0) > MAX_INLINE
