"""What has to change in RabbitMQ for it to be as PPS asks: what is wanted and what is there give the changes. Pure."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from common.rabbitmq.layout import POLICIES, permission, tags_of, user_of

_HASHES: Final = {"rabbit_password_hashing_sha256": "sha256", "rabbit_password_hashing_sha512": "sha512"}
_SALT: Final = 4
"""Octets before the hash: https://www.rabbitmq.com/docs/passwords."""

_RIGHTS: Final = ("configure", "write", "read")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One request to the API, and what it does in words. The document may hold a password: it is shown nowhere."""

    what: str  # "vhost pps", "user pps-router"
    does: str  # "is new", or what differs
    path: tuple[str, ...]
    document: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What RabbitMQ has of that which matters here."""

    vhost: bool
    policies: Mapping[str, Mapping[str, Any]]
    users: Mapping[str, Mapping[str, Any]]
    permissions: Mapping[str, Mapping[str, Any]]  # in this vhost, by user


def changes_for(vhost: str, passwords: Mapping[str, str | None], present: Present) -> Iterator[Change]:
    """Yield what must change, in an order that RabbitMQ takes; the roles are those of `passwords`.

    A password that is None is left as it is.
    """
    if not present.vhost:
        yield Change(what=f"vhost {vhost}", does="is new", path=("vhosts", vhost), document={})
    yield from policy_changes(vhost, present.policies)
    for role, password in passwords.items():
        yield from _user(role, user_of(role, vhost), password, present)
        yield from _permission(role, vhost, present)


def policy_changes(vhost: str, there: Mapping[str, Mapping[str, Any]]) -> Iterator[Change]:
    """Yield the policies that aren't there, or differ from ours."""
    for name, wanted in POLICIES.items():
        does = _difference(wanted, there.get(name))
        if does:
            yield Change(what=f"policy {name}", does=does, path=("policies", vhost, name), document=wanted)


def _user(role: str, name: str, password: str | None, present: Present) -> Iterator[Change]:
    there, tags = present.users.get(name), tags_of(role)
    document: dict[str, Any] = {"tags": tags}
    if there is None:
        does = ["is new"]
    else:
        does = [] if _tags(there) >= set(filter(None, [tags])) else [f"gets the tag {tags}"]
        document["tags"] = ",".join(sorted(_tags(there) | set(filter(None, [tags]))))
    if password is not None and (there is None or not _is_password(password, there)):
        does += [] if there is None else ["gets another password"]
        document["password"] = password
    elif there is not None:  # else RabbitMQ would take the password away
        document |= {key: there[key] for key in ("password_hash", "hashing_algorithm") if key in there}
    if does:
        yield Change(what=f"user {name}", does=" and ".join(does), path=("users", name), document=document)


def _permission(role: str, vhost: str, present: Present) -> Iterator[Change]:
    wanted = permission(role, vhost)
    name = wanted["user"]
    rights = {right: wanted[right] for right in _RIGHTS}
    there = present.permissions.get(name)
    if there is None or any(there.get(right) != pattern for right, pattern in rights.items()):
        does = ", ".join(f"{right} {pattern}" for right, pattern in rights.items())
        yield Change(what=f"rights of {name}", does=does, path=("permissions", vhost, name), document=rights)


def _tags(user: Mapping[str, Any]) -> set[str]:
    tags = user.get("tags", "")
    return set(filter(None, tags.split(",") if isinstance(tags, str) else tags))


def _is_password(password: str, user: Mapping[str, Any]) -> bool:
    """Whether RabbitMQ has this password, as far as its salted hash can be made here."""
    name = _HASHES.get(str(user.get("hashing_algorithm")))
    try:
        stored = base64.b64decode(str(user.get("password_hash")), validate=True)
    except ValueError:
        return False
    return name is not None and hashlib.new(name, stored[:_SALT] + password.encode()).digest() == stored[_SALT:]


def _difference(wanted: Mapping[str, Any], there: Mapping[str, Any] | None) -> str:
    """Return "is new", or each key that differs as "priority 0 -> 10"; nothing where all is as wanted."""
    if there is None:
        return "is new"
    now, then = _flat(there), _flat(wanted)
    differing = [key for key in sorted(now.keys() | then.keys()) if now.get(key) != then.get(key)]
    return ", ".join(f"{key} {now.get(key, 'none')} -> {then.get(key, 'none')}" for key in differing)


def _flat(policy: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: policy.get(key) for key in ("pattern", "apply-to", "priority")}
    return own | dict(policy.get("definition", {}))
