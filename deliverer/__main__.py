"""Wires the deliverer role: `python -m deliverer` is `pps deliverer`."""

import sys
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from common.config import Config
from common.ledger.notice_board import NoticeBoard
from common.role import run_role
from common.target_settings import TargetSettings
from common.target_url import QUARANTINE, refused_target
from common.worker import Parts, Worker
from deliverer.account import account_of
from deliverer.make import make_target
from deliverer.notices import Notifier
from deliverer.target import Target, TargetOptions
from deliverer.work import DelivererWorker


async def build(parts: Parts) -> tuple[Worker, ...]:
    """Return what delivers to all targets of the configuration; raises PpsError that names the key."""
    maker = TargetMaker(parts)
    deliverer = DelivererWorker(
        broker=parts.broker,
        ledger=parts.ledger,
        blobs=parts.blobs,
        targets=await maker.make(parts.config, {}),
        log=parts.log,
        make=maker.make,
        metrics=parts.metrics,
    )
    notifier = Notifier(
        settings=parts.config.notices,
        board=NoticeBoard(parts.ledger),
        blobs=parts.blobs,
        targets=lambda: deliverer.targets,
        log=parts.log,
    )
    return notifier, deliverer  # in this order they stop: a notice that is being sent needs its target


class TargetMaker:
    """Makes targets of their settings, and remembers of what it made them."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._options: WeakKeyDictionary[Target, TargetOptions] = WeakKeyDictionary()

    async def make(self, config: Config, standing: Mapping[str, Target]) -> dict[str, Target]:
        """Return the targets of a configuration: those that stand where nothing changed; raises PpsError."""
        return {name: await self._target(name, settings, standing) for name, settings in config.targets.items()}

    async def _target(self, name: str, settings: TargetSettings, standing: Mapping[str, Target]) -> Target:
        options = await self._resolved(name, settings)
        there = standing.get(name)
        if there is not None and options.ca is options.client_cert is None and self._options.get(there) == options:
            return there  # a file of certificates may hold others by now
        made = make_target(name, options, installation=self._parts.ledger.installation, log=self._parts.log)
        self._options[made] = options
        return made

    async def _resolved(self, name: str, settings: TargetSettings) -> TargetOptions:
        return TargetOptions(
            url=settings.url,
            tls=settings.tls,
            ca=settings.ca,
            received=settings.received,
            sender=settings.sender,
            connections=settings.connections,
            refused_to="" if settings.refused == QUARANTINE else refused_target(name),
            account=await account_of(name, settings, self._parts.config.base),
            client_cert=settings.client_cert,
            client_key=settings.client_key,
        )


if __name__ == "__main__":
    sys.exit(run_role("deliverer", build, sys.argv[1:]))
