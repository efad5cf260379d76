"""The blobs against the ledger: each belongs to a mail on record, and is what was fetched."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

from common.blobs import BlobStore, NoBlobError, StoredBlob
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
        stored = [blob for blob in batch if not await _is_witness(blobs, blob)]
        report.blobs.blobs += len(stored)
        report.blobs.octets += sum(blob.size for blob in stored)
        await _check(reader, blobs, stored, report)
    report.blobs.looked = True


async def _is_witness(blobs: BlobStore, blob: StoredBlob) -> bool:
    """Whether it tells of a ledger's age, and is no mail."""
    if blob.size > MAX_WITNESS:
        return False
    data = b""
    try:
        async for chunk in blobs.stream(blob.key):
            data += chunk
    except NoBlobError:
        return False
    witness = Witness.from_bytes(data)
    return witness is not None and witness.installation == blob.key


async def _check(reader: Reader, blobs: BlobStore, stored: Sequence[StoredBlob], report: Report) -> None:
    rows = await mails_of_blobs(reader, {blob.key for blob in stored})
    for blob in stored:
        row = rows.get(blob.key)
        if row is None:
            if report.every and await blobs.exists(blob.key):
                says = f"a mail of {blob.size} octets that no row tells of: it may be the only copy"
                report.add(Kind.BLOB_WITHOUT_ROW, blob.key, says)
        elif row["state"] in _DONE_WITH:
            report.blobs.orphaned += 1
        elif row["profile_id"] in report.accounts and row["state"] in _FETCHED and await _differs(blobs, blob, row):
            await asyncio.sleep(FETCH_SECONDS)
            await _confirm(reader, blobs, blob, report)


async def _confirm(reader: Reader, blobs: BlobStore, blob: StoredBlob, report: Report) -> None:
    """Look again: the mail may have been fetched anew meanwhile."""
    row = (await mails_of_blobs(reader, {blob.key})).get(blob.key)
    if row is None or row["state"] not in _FETCHED:
        return
    said = await _differs(blobs, None, row)
    if said:
        report.add(Kind.BLOB_DIFFERS, blob.key, said, row["profile_id"])


async def _differs(blobs: BlobStore, blob: StoredBlob | None, row: Found) -> str | None:
    """Return how a blob differs from what was fetched; None for not at all, or where nothing was fetched yet."""
    if row["digest"] is None or row["octets"] is None:
        return None  # stored by a fetch that died before it was recorded: replaced by the next
    if blob is not None and blob.size != row["octets"]:
        return f"{blob.size} octets, where {row['octets']} were fetched"
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
