"""Wires the fetcher role: `python -m fetcher` is `pps fetcher`."""

import sys

from common.config import MANAGED_BY_FILE
from common.passwords import Passwords
from common.role import run_role
from common.worker import Parts, Worker
from fetcher.grants import grants_of
from fetcher.intake import Workplace
from fetcher.settle import Settler
from fetcher.witness import Witnesses
from fetcher.work import FetcherWorker


async def build(parts: Parts, *, names: frozenset[str] | None = None) -> tuple[Worker, Worker]:
    """Return what polls, and what settles outcomes: the second stops last, when nobody makes outcomes any more."""
    settler = Settler(broker=parts.broker, ledger=parts.ledger, log=parts.log)
    at = Workplace(
        broker=parts.broker,
        ledger=parts.ledger,
        blobs=parts.blobs,
        settler=settler,
        witnesses=Witnesses(ledger=parts.ledger, blobs=parts.blobs, log=parts.log),
        grants=grants_of(parts.config, parts.ledger, parts.log),
        targets=set(parts.config.targets),
        log=parts.log,
        passwords=Passwords(ledger=parts.ledger, key=parts.config.service.key, base=parts.config.base),
        base=parts.config.base,
        metrics=parts.metrics,
        pulse=parts.pulse,
    )
    service = parts.config.service
    polling = FetcherWorker(
        at,
        sessions=service.sessions,
        host_sessions=service.host_sessions,
        retention=service.retention,
        names=names,
    )
    return polling, settler


async def build_alone(parts: Parts) -> tuple[Worker, Worker]:
    """Return the same for a process of its own, which brings the file's profiles into the ledger."""
    await parts.ledger.sync_profiles(parts.config.profiles, managed_by=MANAGED_BY_FILE)
    return await build(parts)


if __name__ == "__main__":
    sys.exit(run_role("fetcher", build_alone, sys.argv[1:]))
