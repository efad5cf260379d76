"""Checks of the broker: whether it lets us work, whether it is set up as PPS asks, and what waits in it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from common.broker import DEAD, FETCHED, OUTCOMES, Depth, jobs_queue
from common.broker_keys import AUTO
from common.config import Config
from common.connect import broker_url
from common.failures import PpsError
from common.rabbitmq.address import Address, parse_address
from common.rabbitmq.layout import MONITOR, POLICIES, ROLES, is_ours
from common.rabbitmq.visitor import Visitor, visit_rabbitmq
from common.secrets import Secret
from manager.doctor.check import Check, ok, problem, warning
from manager.rabbitmq.api import Api, ApiError, api_addresses, monitors_url, open_api
from manager.rabbitmq.plan import policy_changes

SECONDS: Final = 60.0
"""How long RabbitMQ may take in all; connecting has its own, shorter deadline."""

_SETUP: Final = "pps broker setup"
_WORK_POLICY, _DEAD_POLICY = POLICIES


async def broker_checks(config: Config, log: FilteringBoundLogger) -> AsyncIterator[Check]:
    """Connect to the broker as a worker would, and look at rights, policies and queues."""
    if config.service.broker == "memory:":
        yield ok("broker", "embedded")
        return
    try:
        try:
            url = await broker_url(config.service, config.base)
        except PpsError as error:
            if (own := await monitors_url(config)) is None:
                raise
            url = own
            yield warning("broker", f"{error}; what follows is what [service] broker_api lets us see")
        address = parse_address(url)
        async with asyncio.timeout(SECONDS), visit_rabbitmq(url, role="doctor", log=log) as visitor:
            waiting = {name: await visitor.depth(name) for name in _queues(config)}
            rights = [check async for check in _rights_checks(visitor, address, config)]
    except TimeoutError:
        yield problem("broker", "[service] broker: connects, but doesn't tell of its queues: see rabbitmqctl status")
        return
    except PpsError as error:
        yield problem("broker", str(error))
        return
    for check in (*_depth_checks({name: depth for name, depth in waiting.items() if depth is not None}), *rights):
        yield check
    async for check in _api_checks(config, address):
        yield check


def _depth_checks(waiting: Mapping[str, Depth]) -> Iterator[Check]:
    ready = sum(depth.ready for name, depth in waiting.items() if name != DEAD)
    yield ok("broker", f"answers; {ready} messages wait")
    for name, depth in waiting.items():
        if name == DEAD and depth.ready:
            yield warning("broker", f"{DEAD} holds {depth.ready} messages that nobody understood: pps queues")
        elif name != DEAD and depth.ready and not depth.consumers:
            yield problem("broker", f"{depth.ready} messages wait in {name}, and nobody takes them: start its role")


async def _rights_checks(visitor: Visitor, address: Address, config: Config) -> AsyncIterator[Check]:
    """Say of which roles the user has the rights; where it has those of none, what it lacks for the nearest."""
    if address.user == "guest":
        yield warning("broker", f"[service] broker: guest may do everything: let each role have its own user: {_SETUP}")
    lacking = {role: await visitor.complaints(role, config.targets) for role in (*ROLES, MONITOR)}
    able = [role for role in ROLES if not lacking[role]]
    if able:
        yield ok("broker", f"user {address.user!r} has the rights of: {', '.join(able)}")
    elif not lacking[MONITOR] and all(len(lacking[role]) > 1 for role in ROLES):
        yield warning("broker", f"user {address.user!r} may look, and do no role's work")
    else:
        named = [role for role in ROLES if address.user.endswith(role)]
        role = named[0] if named else min(ROLES, key=lambda one: len(lacking[one]))
        for complaint in lacking[role]:
            yield problem("broker", f"[service] broker: as {role}: {complaint} (or: {_SETUP})")


async def _api_checks(config: Config, address: Address) -> AsyncIterator[Check]:
    """Compare policies and queues with what PPS asks for, where somebody may look."""
    try:
        addresses = await api_addresses(config, address)
        if not addresses:
            return
        async with open_api(addresses, address.user, Secret(address.password)) as api:
            await api.tags()
            found = [check async for check in _set_up_checks(api, address.vhost)]
    except ApiError as error:
        unasked = config.service.broker_api == AUTO
        yield (ok if unasked else problem)("broker", f"its policies can't be seen: {error}")
    except PpsError as error:
        yield problem("broker", str(error))
    else:
        for check in found:
            yield check


async def _set_up_checks(api: Api, vhost: str) -> AsyncIterator[Check]:
    there = {policy["name"]: policy for policy in await api.get("policies", vhost)}
    changes = list(policy_changes(vhost, there))
    for change in changes:
        what = "is missing" if change.does == "is new" else f"differs: {change.does}"
        yield warning("broker", f"{change.what} in vhost {vhost!r} {what}: {_SETUP}")
    if not changes:
        yield ok("broker", "its policies are those that PPS asks for")
    for queue in await api.get("queues", vhost):
        for check in _queue_checks(queue, vhost):
            yield check


def _queue_checks(queue: Mapping[str, Any], vhost: str) -> Iterator[Check]:
    name, kind, policy = str(queue["name"]), queue.get("type", "quorum"), queue.get("policy")
    if not is_ours(name):
        return
    if kind != "quorum":
        mend = f"delete it, and it is made anew: rabbitmqctl delete_queue --vhost {vhost} {name}"
        yield problem("broker", f"{name} is a {kind} queue, not a quorum queue: {mend}")
    wanted = _DEAD_POLICY if name == DEAD else _WORK_POLICY
    if policy and policy != wanted:
        yield warning(
            "broker", f"policy {policy} applies to {name} before {wanted}: lower its priority, or its pattern"
        )


def _queues(config: Config) -> list[str]:
    return [FETCHED, OUTCOMES, DEAD, *(jobs_queue(name) for name in config.targets)]
