"""RabbitMQ's queues: from the management API where it answers, else as any worker can see them, by passive declare."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from common.broker import DEAD
from common.config import Config
from common.connect import broker_url
from common.dead_letters import DeadLetter, letter_of
from common.failures import PpsError
from common.ledger.queued import Queued
from common.rabbitmq.address import Address, parse_address
from common.rabbitmq.layout import is_ours
from common.rabbitmq.visitor import Visitor, visit_rabbitmq
from common.secrets import Secret
from manager.queues import MOST_LETTERS, Dead, Queues, QueueStanding, names_of
from manager.rabbitmq.api import Api, ApiError, api_addresses, monitors_url, open_api
from manager.standing import silent

ROLE: Final = "queues"

_RUNNING: Final = "running"


async def look(config: Config, at: int, queued: Mapping[str, Queued]) -> Queues:
    """Return how the queues are; raises PpsError where neither way leads to them."""
    url = await _url(config)
    address = parse_address(url)
    names = names_of(config.targets, queued)
    addresses = await api_addresses(config, address)
    note = '[service] broker_api is "off"'
    if addresses:
        try:
            async with open_api(addresses, address.user, Secret(address.password)) as api:
                return await _by_api(api, address, at, names, queued)
        except ApiError as error:
            note = str(error)
    async with visit_rabbitmq(url, role=ROLE, log=silent()) as visitor:
        return await _by_amqp(visitor, at, names, queued, note)


async def purge_dead(config: Config) -> int:
    """Forget all dead letters; return how many there were. Raises PpsError."""
    url = await _url(config)
    address = parse_address(url)
    addresses = await api_addresses(config, address)
    if addresses:
        try:
            async with open_api(addresses, address.user, Secret(address.password)) as api:
                found = await api.find("queues", address.vhost, DEAD)
                if found is None:
                    return 0
                await api.delete("queues", address.vhost, DEAD, "contents")
                return int(found.get("messages_ready", 0))
        except ApiError:  # who may not ask may still have the right to the queue
            pass
    async with visit_rabbitmq(url, role=ROLE, log=silent()) as visitor:
        return await visitor.purge()


async def _url(config: Config) -> str:
    """Return the service's own URL, or that of who monitors: systemd's credentials are for the service alone."""
    try:
        return await broker_url(config.service, config.base)
    except PpsError:
        if (url := await monitors_url(config)) is None:
            raise
        return url


async def _by_api(api: Api, address: Address, at: int, names: Sequence[str], queued: Mapping[str, Queued]) -> Queues:
    there = {str(one["name"]): one for one in await api.get("queues", address.vhost)}
    others = sorted(name for name in there if is_ours(name) and name not in {*names, DEAD})
    queues = [standing_of(name, there.get(name), queued.get(name)) for name in (*names, *others)]
    return Queues(
        at=at,
        broker="rabbitmq",
        source="api",
        note="",
        queues=tuple(queues),
        dead=await _dead_by_api(api, address, there.get(DEAD)),
    )


def standing_of(name: str, found: Mapping[str, Any] | None, queued: Queued | None) -> QueueStanding:
    """Return a queue as the API told of it, if it did."""
    oldest = None if queued is None else queued.oldest
    if found is None:
        return QueueStanding(name=name, ready=0, unacked=0, consumers=0, oldest=oldest, note=_ABSENT)
    return QueueStanding(
        name=name,
        ready=found.get("messages_ready"),  # None in a queue's first seconds
        unacked=found.get("messages_unacknowledged"),
        consumers=found.get("consumers"),
        oldest=oldest,
        note=_oddity(found),
    )


def _oddity(found: Mapping[str, Any]) -> str:
    """Return what is wrong with a queue as RabbitMQ tells it: down, without a leader, or on too few nodes."""
    state, members, online = found.get("state", _RUNNING), found.get("members", []), found.get("online", [])
    if state != _RUNNING:
        return f"is {state}"
    if members and not found.get("leader"):
        return "has no leader: nothing moves in it"
    return f"on {len(online)} of its {len(members)} nodes" if len(online) < len(members) else ""


_ABSENT: Final = "isn't there yet"


async def _dead_by_api(api: Api, address: Address, found: Mapping[str, Any] | None) -> Dead:
    if found is None:
        return Dead(count=0, letters=())
    count = found.get("messages_ready")
    if count == 0:
        return Dead(count=0, letters=())
    wanted = {"count": MOST_LETTERS, "ackmode": "ack_requeue_true", "encoding": "base64", "truncate": 1}
    try:
        messages = await api.post("queues", address.vhost, DEAD, "get", document=wanted)
    except ApiError as error:
        return Dead(count=count, letters=(), unseen=f"user {api.user!r} may not read {DEAD}: {error}")
    letters = tuple(_letter(message) for message in messages)
    return Dead(count=max(count or 0, len(letters)), letters=letters)


def _letter(message: Mapping[str, Any]) -> DeadLetter:
    headers = message.get("properties", {}).get("headers", {})
    return letter_of(headers if isinstance(headers, dict) else {})


async def _by_amqp(visitor: Visitor, at: int, names: Sequence[str], queued: Mapping[str, Queued], note: str) -> Queues:
    queues = []
    for name in names:
        depth = await visitor.depth(name)
        queues.append(
            QueueStanding(
                name=name,
                ready=0 if depth is None else depth.ready,
                unacked=None,
                consumers=0 if depth is None else depth.consumers,
                oldest=queued[name].oldest if name in queued else None,
                note=_ABSENT if depth is None else "",
            )
        )
    return Queues(
        at=at, broker="rabbitmq", source="amqp", note=note, queues=tuple(queues), dead=await _dead_by_amqp(visitor)
    )


async def _dead_by_amqp(visitor: Visitor) -> Dead:
    depth = await visitor.depth(DEAD)
    if depth is None or not depth.ready:
        return Dead(count=0, letters=())
    try:
        return Dead(count=depth.ready, letters=tuple(await visitor.letters(MOST_LETTERS)))
    except PpsError as error:
        return Dead(count=depth.ready, letters=(), unseen=str(error))
