"""Wires the deliverer role: `python -m deliverer` is `pps deliverer`."""

import sys

from common.config import QUARANTINE, TargetSettings
from common.failures import PpsError
from common.role import run_role
from common.secrets import resolve
from common.target_url import refused_target
from common.worker import Parts, Worker
from deliverer.make import make_target
from deliverer.target import Target, TargetOptions
from deliverer.work import DelivererWorker


async def build(parts: Parts) -> tuple[Worker, ...]:
    """Return what delivers to all targets of the configuration; raises PpsError that names the key."""
    targets = {name: await _target(name, settings, parts) for name, settings in parts.config.targets.items()}
    return (
        DelivererWorker(broker=parts.broker, ledger=parts.ledger, blobs=parts.blobs, targets=targets, log=parts.log),
    )


async def _target(name: str, settings: TargetSettings, parts: Parts) -> Target:
    options = TargetOptions(
        url=settings.url,
        tls=settings.tls,
        ca=settings.ca,
        received=settings.received,
        sender=settings.sender,
        connections=settings.connections,
        refused_to="" if settings.refused == QUARANTINE else refused_target(name),
        user=settings.user,
        password=await _password(name, settings, parts),
    )
    return make_target(name, options, installation=parts.ledger.installation, log=parts.log)


async def _password(name: str, settings: TargetSettings, parts: Parts) -> str | None:
    if settings.password is None:
        return None
    try:
        return (await resolve(settings.password, base=parts.config.base)).reveal()
    except PpsError as error:
        raise type(error)(f"[target.{name}] password: {error}") from error


if __name__ == "__main__":
    sys.exit(run_role("deliverer", build, sys.argv[1:]))
