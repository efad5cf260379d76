"""The blobs against the ledger: each belongs to a mail on record, and is what was fetched."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

from common.blobs import TRIAL, BlobStore, NoBlobError, StoredBlob
from common.ledger.accounting import mails_of_blobs
from common.ledger.reader import Found, Reader
from common.ledger.restoring import MAX_WITNESS, Witness
from manager.verify.account import Kind, Report

FETCH_SECONDS: Final = 1.0
"""How long after a blob its mail's digest may come into the ledger: what differs is looked at again after that."""

_DONE_WITH: Final = frozenset({"deleted", "kept", "skipped"})
_FETCHED: Final = frozenset({"fetched", "routed", "quarantined", "lost"})
"""Mails whose blob is what was fetched last; of one to be fetched again it may be that of a fetch that died."""


async def check_blobs(reader: Reader, blobs: BlobStore, report: Report) -> None:
    """Look at every blob; those of profiles that weren't asked for are counted, and no more. Raises OSError."""
    async for batch in blobs.stored():
        stored = [blob for blob in batch if not await _is_no_mail(blobs, blob)]
        report.blobs.blobs += len(stored)
        report.blobs.octets += sum(blob.size for blob in stored)
        await _check(reader, blobs, stored, report)
    report.blobs.looked = True


async def _is_no_mail(blobs: BlobStore, blob: StoredBlob) -> bool:
    """Whether it tells of a ledger's age, or was left by a worker that tried the store and died."""
    if blob.size > MAX_WITNESS:
        return False
    data = b""
    try:
        async for chunk in blobs.stream(blob.key):
            data += chunk
    except NoBlobError:
        return False
    witness = Witness.from_bytes(data)
    return data == TRIAL or (witness is not None and witness.installation == blob.key)


async def _check(reader: Reader, blobs: BlobStore, stored: Sequence[StoredBlob], report: Report) -> None:
    """Judge some blobs; what seems wrong is judged again a little later: its mail may be in a fetcher's hands."""
    rows = await mails_of_blobs(reader, {blob.key for blob in stored})
    report.blobs.orphaned += sum(row["state"] in _DONE_WITH for row in rows.values())
    suspects = [blob for blob in stored if await _fault(blobs, blob, rows.get(blob.key), report) is not None]
    if not suspects:
        return
    await asyncio.sleep(FETCH_SECONDS)
    rows = await mails_of_blobs(reader, {blob.key for blob in suspects})
    for blob in suspects:
        row = rows.get(blob.key)
        fault = await _fault(blobs, blob, row, report)
        if fault is not None:
            report.add(fault[0], blob.key, fault[1], None if row is None else row["profile_id"])


async def _fault(blobs: BlobStore, blob: StoredBlob, row: Found | None, report: Report) -> tuple[Kind, str] | None:
    """Return what is wrong with a blob, if anything is."""
    if row is None:
        if not report.every or not await blobs.exists(blob.key):
            return None
        return Kind.BLOB_WITHOUT_ROW, "a mail that no row tells of: it may be the only copy"
    if row["profile_id"] not in report.accounts or row["state"] not in _FETCHED:
        return None
    said = await _differs(blobs, row)
    return None if said is None else (Kind.BLOB_DIFFERS, said)


async def _differs(blobs: BlobStore, row: Found) -> str | None:
    """Return how a blob differs from what was fetched; None for not at all, or where nothing was fetched yet."""
    if row["digest"] is None or row["octets"] is None:
        return None  # stored by a fetch that died before it was recorded: replaced by the next
    digest, size = hashlib.sha256(), 0
    try:
        async for chunk in blobs.stream(row["id"]):
            digest.update(chunk)
            size += len(chunk)
    except NoBlobError:
        return None  # removed since: its mail is done with
    if size != row["octets"]:
        return f"{size} octets, where {row['octets']} were fetched"
    return None if digest.digest() == bytes(row["digest"]) else "other octets than were fetched"
