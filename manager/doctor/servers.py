"""Checks of ledger, broker and blob store: whether they answer, and what waits in them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from structlog.typing import FilteringBoundLogger

from common.blobs import BlobStoreError
from common.broker import DEAD, FETCHED, OUTCOMES, jobs_queue
from common.config import Config
from common.connect import broker_url, connect_broker, open_blobs
from common.failures import PpsError
from common.ledger.reader import Reader, newest_schema
from manager.doctor.check import Check, ok, problem, warning
from manager.doctor.here import is_to_be_made
from manager.standing import overview_of, reading

SECONDS: Final = 60.0
"""How long RabbitMQ may take in all; connecting has its own, shorter deadline."""

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
    yield ok("ledger", f"answers, at schema {newest_schema()}, with {len(found.standing.profiles)} profiles")
    for trouble in found.troubles:
        if trouble.what == "service" and found.running is False:
            continue  # told by the lock already
        area = f"{trouble.what} {trouble.name}" if trouble.name else trouble.what
        counted = "" if trouble.count is None else f"{trouble.count}: "
        grade = warning if trouble.what in _HARMLESS else problem
        yield grade(area, f"{counted}{trouble.reason}: {trouble.mend}")


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


async def broker_checks(config: Config, log: FilteringBoundLogger) -> AsyncIterator[Check]:
    """Connect to the broker as a worker would, and look into its queues."""
    if config.service.broker == "memory:":
        yield ok("broker", "embedded")
        return
    try:
        url = await broker_url(config.service, config.base)
        broker = await connect_broker(url, role="doctor", log=log)
    except PpsError as error:
        yield problem("broker", str(error))
        return
    try:
        async with asyncio.timeout(SECONDS):
            waiting = {name: await broker.depth(name) for name in _queues(config)}
    except TimeoutError:
        yield problem("broker", "[service] broker: connects, but doesn't tell of its queues: see rabbitmqctl status")
        return
    finally:
        await broker.close()
    ready = sum(depth.ready for name, depth in waiting.items() if name != DEAD)
    yield ok("broker", f"answers; {ready} messages wait")
    for name, depth in waiting.items():
        if name == DEAD and depth.ready:
            yield warning(
                "broker", f"{DEAD} holds {depth.ready} messages that nobody understood: see their reason header"
            )
        elif name != DEAD and depth.ready and not depth.consumers:
            yield problem("broker", f"{depth.ready} messages wait in {name}, and nobody takes them: start its role")


def _queues(config: Config) -> list[str]:
    return [FETCHED, OUTCOMES, DEAD, *(jobs_queue(name) for name in config.targets)]
