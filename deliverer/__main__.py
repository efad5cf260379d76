"""Wires the deliverer role: `python -m deliverer` is `pps deliverer`."""

import sys
from collections.abc import Mapping
from functools import partial
from weakref import WeakKeyDictionary

from common.config import QUARANTINE, Config, TargetSettings
from common.failures import PpsError
from common.role import run_role
from common.secrets import resolve
from common.target_url import refused_target
from common.worker import Parts, Worker
from deliverer.make import make_target
from deliverer.sign_in import Account
from deliverer.target import Target, TargetOptions
from deliverer.work import DelivererWorker


async def build(parts: Parts) -> tuple[Worker, ...]:
    """Return what delivers to all targets of the configuration; raises PpsError that names the key."""
    maker = TargetMaker(parts)
    return (
        DelivererWorker(
            broker=parts.broker,
            ledger=parts.ledger,
            blobs=parts.blobs,
            targets=await maker.make(parts.config, {}),
            log=parts.log,
            make=maker.make,
        ),
    )


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
            account=await self._account(name, settings),
            client_cert=settings.client_cert,
            client_key=settings.client_key,
        )

    async def _account(self, name: str, settings: TargetSettings) -> Account | None:
        """Return as whom to sign in; a secret that isn't there at the start is a mistake, later it is an outage."""
        if settings.user is None or settings.password is None:
            return None
        secret = partial(_secret, settings.password, self._parts)
        try:
            await secret()
        except PpsError as error:
            raise type(error)(f"[target.{name}] password: {error}") from error
        return Account(user=settings.user, reference=settings.password, secret=secret, auth=settings.auth)


async def _secret(reference: str, parts: Parts) -> str:
    return (await resolve(reference, base=parts.config.base)).reveal()


if __name__ == "__main__":
    sys.exit(run_role("deliverer", build, sys.argv[1:]))
