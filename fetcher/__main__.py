"""Wires the fetcher role: `python -m fetcher` is `pps fetcher`."""

import sys

from common.role import run_role
from common.worker import Parts, Worker
from fetcher.session import Workplace
from fetcher.settle import Settler
from fetcher.work import FetcherWorker


async def build(parts: Parts, *, names: frozenset[str] | None = None) -> tuple[Worker, Worker]:
    """Return what polls, and what settles outcomes: the second stops last, when nobody makes outcomes any more."""
    settler = Settler(broker=parts.broker, ledger=parts.ledger, log=parts.log)
    at = Workplace(
        broker=parts.broker,
        ledger=parts.ledger,
        blobs=parts.blobs,
        settler=settler,
        targets=parts.config.targets,
        log=parts.log,
        base=parts.config.base,
    )
    return FetcherWorker(at, names=names), settler


if __name__ == "__main__":
    sys.exit(run_role("fetcher", build, sys.argv[1:]))
