"""Wires the router role: `python -m router` is `pps router`."""

import sys

from common.role import run_role
from common.worker import Parts, Worker
from router.work import RouterWorker


async def build(parts: Parts) -> tuple[Worker, ...]:
    """Return what routes."""
    router = RouterWorker(
        broker=parts.broker,
        ledger=parts.ledger,
        blobs=parts.blobs,
        log=parts.log,
        metrics=parts.metrics,
        targets=parts.config.targets,
    )
    return (router,)


if __name__ == "__main__":
    sys.exit(run_role("router", build, sys.argv[1:]))
