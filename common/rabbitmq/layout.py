"""What PPS asks of a RabbitMQ administrator, as data: a vhost's policies, and for each role the least rights it needs.

The files in deploy/rabbitmq are made from it, `pps broker setup` applies it, `pps doctor` compares with it. Pure.

RabbitMQ's rights to publish are an exchange's, and all of PPS publishes through the default one, which reaches every
queue: who may write at all may write anywhere. What a role may read and declare is told by queue.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from common.broker import DEAD, FETCHED, JOBS_PREFIX, OUTCOMES, jobs_queue

ROLES: Final = ("fetcher", "router", "deliverer")
RUN: Final = "run"
"""All roles in one process, as in `pps run` and `pps pull`."""

MONITOR: Final = "monitor"
"""Who only looks: `pps queues` and `pps status` from a machine that works on no mail."""

ACCOUNTS: Final = (*ROLES, MONITOR)
"""Those that have a user of their own."""

JOBS: Final = JOBS_PREFIX + "*"
"""Stands for the queues of all targets."""

_DECLARES: Final[Mapping[str, tuple[str, ...]]] = {
    "fetcher": (FETCHED, OUTCOMES, JOBS, DEAD),  # its sweeper publishes jobs again
    "router": (FETCHED, JOBS, DEAD),
    "deliverer": (JOBS, OUTCOMES, DEAD),
    MONITOR: (),
}
"""What each declares: what it consumes, what it publishes to, and pps.dead for what it can't read."""

_READS: Final[Mapping[str, tuple[str, ...]]] = {
    "fetcher": (OUTCOMES,),
    "router": (FETCHED,),
    "deliverer": (JOBS,),
    MONITOR: (DEAD,),
}

_DEFAULT_EXCHANGE: Final = r"^amq\.default$"
_NOTHING: Final = "^$"

SCRATCH_PREFIX: Final = "pps.scratch."
"""Queues of a moment, with which a worker finds out whether a queue that failed it is at fault, or all of RabbitMQ."""

LIMIT: Final = 1_000_000
"""Returns of one message; "unlimited" as -1 is refused by RabbitMQ 3, and as a policy does not hold on all of 4."""

POLICIES: Final[Mapping[str, Mapping[str, Any]]] = {
    "pps-work": {
        "pattern": r"^pps\.(fetched|outcomes|jobs\..+)$",
        "apply-to": "queues",
        "priority": 10,
        "definition": {"delivery-limit": LIMIT, "queue-leader-locator": "balanced"},
    },
    "pps-dead": {
        "pattern": r"^pps\.dead$",
        "apply-to": "queues",
        "priority": 10,
        "definition": {
            "delivery-limit": LIMIT,
            "max-length": 10_000,
            "max-length-bytes": 1024 * 1024 * 1024,
            "overflow": "drop-head",
        },
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """A user's rights in a vhost: three regular expressions over names of queues and exchanges."""

    configure: str
    write: str
    read: str

    def __str__(self) -> str:
        """Return them as rabbitmqctl takes them."""
        return f"'{self.configure}' '{self.write}' '{self.read}'"


def rights_of(roles: Collection[str]) -> Rights:
    """Return the least rights with which a user can do the work of all these roles."""
    declares, reads = uses_of(roles)
    configure = _pattern((*declares, SCRATCH_PREFIX + "*")) if declares else _NOTHING
    return Rights(configure=configure, write=_DEFAULT_EXCHANGE if declares else _NOTHING, read=_pattern(reads))


def uses_of(roles: Collection[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the queues that these roles declare, and those they read; JOBS stands for every target's."""
    order = (FETCHED, OUTCOMES, JOBS, DEAD)
    declares = {queue for role in roles for queue in _DECLARES[role]}
    reads = {queue for role in roles for queue in _READS[role]}
    return tuple(one for one in order if one in declares), tuple(one for one in order if one in reads)


def roles_in(name: str) -> tuple[str, ...]:
    """Return the roles that a process plays by what it calls itself: "fetcher+router"; of one that plays none, ()."""
    if name in {RUN, "pull"}:
        return ROLES
    return tuple(role for role in name.split("+") if role in ACCOUNTS)


def is_ours(queue: str) -> bool:
    """Whether this is a queue in which messages of ours wait."""
    return queue.startswith("pps.") and not queue.startswith(SCRATCH_PREFIX)


def queues_named(queues: Collection[str], targets: Collection[str]) -> Iterator[str]:
    """Yield each queue by its name, JOBS as one a target."""
    for queue in queues:
        if queue == JOBS:
            yield from map(jobs_queue, sorted(targets))
        else:
            yield queue


def tags_of(role: str) -> str:
    """Return the tags of a role's user: only who monitors may ask the management API."""
    return "monitoring" if role == MONITOR else ""


def user_of(role: str, vhost: str) -> str:
    """Return what a role's user is called: after its vhost, so that two installations can share a RabbitMQ."""
    prefix = vhost if vhost.strip("/") else "pps"
    return prefix if role == RUN else f"{prefix}-{role}"


def definitions(vhost: str = "pps") -> dict[str, Any]:
    """Return the vhost and its policies as RabbitMQ imports them.

    Users are left out: RabbitMQ 3.10 would take the passwords away of those that it has.
    """
    return {
        "vhosts": [{"name": vhost}],
        "policies": [{"vhost": vhost, "name": name, **policy} for name, policy in POLICIES.items()],
    }


def permissions(vhost: str = "pps") -> dict[str, Any]:
    """Return what each role's user may, as RabbitMQ imports it once it has these users."""
    return {"permissions": [permission(role, vhost) for role in ACCOUNTS]}


def permission(role: str, vhost: str) -> dict[str, str]:
    """Return a role's rights in the form of definitions and of the management API."""
    rights = rights_of(ROLES if role == RUN else (role,))
    return {
        "user": user_of(role, vhost),
        "vhost": vhost,
        "configure": rights.configure,
        "write": rights.write,
        "read": rights.read,
    }


def _pattern(queues: Collection[str]) -> str:
    """Return one that matches these names and no others."""
    if not queues:
        return _NOTHING
    names = [queue.removeprefix("pps.").replace(".*", r"\..+") for queue in queues]
    return rf"^pps\.{names[0] if len(names) == 1 else '(' + '|'.join(names) + ')'}$"
