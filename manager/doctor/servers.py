"""Checks of ledger and blob store: whether they answer, and what stands still."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from common.blobs import BlobStoreError
from common.config import Config
from common.connect import open_blobs
from common.counted import counted
from common.failures import PpsError
from common.ledger.reader import Reader, newest_schema
from manager.doctor.check import Check, ok, problem, warning
from manager.doctor.here import is_to_be_made
from manager.standing import overview_of, reading

SECONDS: Final = 60.0
"""How long the store may take in all."""

_HARMLESS: Final = frozenset({"skipped", "deferred", "undeleted"})
"""Troubles that hold up single mails: by nature or by their own retries they end without a person."""


async def ledger_checks(config: Config) -> AsyncIterator[Check]:
    """Ask the ledger how all stands; what stands still is a problem, each with its mend."""
    if is_to_be_made(config.service.ledger, "sqlite:///"):
        yield ok("ledger", "isn't there yet: the first `pps run` or `pps pull` makes it")
        return
    shared = not config.service.ledger.startswith("sqlite:")
    try:
        async with reading(config) as reader:
            if shared and (check := await _rights_check(reader)) is not None:
                yield check
                return
            found = await overview_of(config, reader)
    except PpsError as error:
        yield problem("ledger", str(error))
        return
    if shared and (check := _privacy_check(config.service.ledger)) is not None:
        yield check
    yield ok("ledger", f"answers, at schema {newest_schema()}, with {counted(len(found.standing.profiles), 'profile')}")
    for trouble in found.troubles:
        if trouble.what == "service" and found.running is False:
            continue  # told by the lock already
        area = f"{trouble.what} {trouble.name}" if trouble.name else trouble.what
        number = "" if trouble.count is None else f"{trouble.count}: "
        grade = warning if trouble.what in _HARMLESS else problem
        yield grade(area, f"{number}{trouble.reason}: {trouble.mend}")


async def _rights_check(reader: Reader) -> Check | None:
    from common.ledger.rights import missing_rights  # noqa: PLC0415 (who asks PostgreSQL has imported SQLAlchemy)

    missing = await missing_rights(reader)
    if not missing:
        return None
    mend = "GRANT them, as deploy/postgresql/roles.sql does"
    return problem("ledger", f"[service] ledger: its user lacks {'; '.join(missing)}: {mend}")


def _privacy_check(url: str) -> Check | None:
    from common.ledger.rights import can_be_overheard  # noqa: PLC0415 (as above)

    if not can_be_overheard(url):
        return None
    return warning(
        "ledger",
        "[service] ledger: nobody verifies that it is your PostgreSQL: add ?sslmode=verify-full&sslrootcert=FILE to "
        "its URL (docs/postgresql.md)",
    )


async def store_checks(config: Config) -> AsyncIterator[Check]:
    """Write, read, list and delete a small blob, where blobs lie on S3."""
    if not config.service.blobs.startswith("s3:"):
        return
    try:
        async with asyncio.timeout(SECONDS):
            await open_blobs(config.service, config.base).check()
    except TimeoutError:
        yield problem("blobs", f"{config.service.blobs}: no answer within {SECONDS:.0f} s: check network and store")
    except BlobStoreError as error:
        yield problem("blobs", str(error))
    else:
        yield ok("blobs", f"{config.service.blobs} lets us write, read, list and delete")
