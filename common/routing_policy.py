"""How a profile's mail is distributed: the policy that travels with each mail, so that a router needs no configuration.

Checked where it is made, and so at both ends. What stands at its default doesn't travel: a policy that uses no newer
option is read by an older router, and an older policy by a newer one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar, Final

from pydantic import ConfigDict, StrictBool, StrictInt, StrictStr

from common.addresses import MAX_DOMAIN, MAX_LOCAL_PART, is_a_label, is_address

MAX_NAMES: Final = 1000
"""Local domains, users, aliases or lists in one policy."""

MAX_WILDCARDS: Final = 100
"""Aliases with a wildcard: each is tried on each local address of a mail, one after the other."""

MAX_USERS_OF_ONE: Final = 100
"""Users that one alias or list stands for."""

MAX_ENVELOPE_FIELDS: Final = 10
"""Kinds of envelope fields, and hosts whose Received is believed."""

MAX_HOPS: Final = 20
"""Received fields of the provider above its envelope field; real ones have up to five."""

MAX_POLICY: Final = 384 * 1024
"""Octets of all names in a policy: it travels beside a header block of 256 KiB, in a message of 1 MiB at most."""

RECEIVED: Final = "received"

Users = tuple[tuple[StrictStr, tuple[StrictStr, ...]], ...]
"""Who stands for what: pairs of an alias or a list and its users, in the order of the file."""


class Subaddress(StrEnum):
    """What becomes of "+lists" in ann+lists@example.com."""

    KEEP = "keep"  # the target sees it, and may sort by it
    STRIP = "strip"  # the target sees ann@example.com


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPolicy:
    """Who gets a mail. Domains are lower-case A-labels, local parts lower-case; a bare user is one of any domain."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    distribute: StrictBool  # False: everything goes to the fallback user
    local_domains: tuple[StrictStr, ...]  # the first is what a bare local user belongs to
    fallback: StrictStr  # the recipient for mail that names no local user: "user@domain", or a bare "user"
    same_users: StrictBool = False  # every local domain has the users of the first
    bcc: StrictBool = False  # Bcc names recipients too
    resent: StrictBool = False  # the newest Resent-To and Resent-Cc decide before To and Cc
    envelope: tuple[StrictStr, ...] = ()  # "delivered-to", "delivered-to:2" (the second from the top), "received"
    envelope_hops: StrictInt = 0  # Received fields that may stand above an envelope field
    envelope_prefix: StrictStr = ""  # what qmail puts before the local part
    envelope_by: tuple[StrictStr, ...] = ()  # hosts whose "Received … for" is believed; "*.example.com" is any of them
    subaddress: Subaddress = Subaddress.KEEP
    separator: StrictStr = "+"  # each of its characters begins a subaddress
    fallback_subaddress: StrictBool = False  # mail for an unknown user goes to FALLBACK+USER
    users: tuple[StrictStr, ...] = ()  # the local users that there are; none: whoever is named is one
    aliases: Users = ()  # "sales", "sales@example.com" or "sales-*" to addresses in the local domains
    lists: Users = ()  # a List-Id or a list's address to addresses in the local domains

    def __post_init__(self) -> None:
        complaint = self._complaint()
        if complaint is not None:
            raise ValueError(complaint)

    def travelling(self) -> dict[str, Any]:
        """Return the fields that a message carries: what is not at its default."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    def _complaint(self) -> str | None:
        """Return what is wrong: the key first, as where a profile is checked."""
        if self.distribute and not self.local_domains:
            return "distribution needs a local domain"
        if not is_address(self.fallback):
            return "fallback: not an address"
        if not all(map(is_a_label, self.local_domains)):
            return "local_domains: not an A-label domain"
        return self._size_complaint() or self._envelope_complaint() or self._users_complaint()

    def _size_complaint(self) -> str | None:
        names = (self.local_domains, self.users, self.aliases, self.lists)
        if not any(names[1:]) and len(self.local_domains) <= 1:
            return None  # most policies
        if any(len(group) > MAX_NAMES for group in names):
            return f"more than {MAX_NAMES} local domains, users, aliases or lists"
        if len([name for name, _ in self.aliases if "*" in name]) > MAX_WILDCARDS:
            return f"aliases: more than {MAX_WILDCARDS} with a *"
        if any(not 0 < len(users) <= MAX_USERS_OF_ONE for _, users in (*self.aliases, *self.lists)):
            return f"aliases, lists: one stands for 1 to {MAX_USERS_OF_ONE} users"
        octets = sum(len(name.encode(errors="replace")) for name in self._names())
        return f"its names take more than {MAX_POLICY} octets" if octets > MAX_POLICY else None

    def _envelope_complaint(self) -> str | None:
        if len(self.envelope) > MAX_ENVELOPE_FIELDS or len(self.envelope_by) > MAX_ENVELOPE_FIELDS:
            return f"envelope: more than {MAX_ENVELOPE_FIELDS} fields or hosts"
        if not 0 <= self.envelope_hops <= MAX_HOPS:
            return f"envelope_hops: is not between 0 and {MAX_HOPS}"
        if RECEIVED in self.envelope and not self.envelope_by:
            return "envelope: Received needs envelope_by, the hosts whose Received fields are believed"
        if len(self.envelope_prefix) > MAX_LOCAL_PART or len(self.separator) > MAX_LOCAL_PART:
            return f"envelope_prefix, subaddress_separator: longer than {MAX_LOCAL_PART}"
        if not self.separator:
            return "subaddress_separator: is empty"
        return None if all(len(name) <= MAX_DOMAIN for name in self.envelope) else "envelope: no field's name"

    def _users_complaint(self) -> str | None:
        """I6: whatever an alias or a list stands for, nobody gets mail outside the local domains."""
        known = frozenset(self.local_domains) if self.aliases or self.lists else ()
        for address in self._targets():
            if not is_address(address) or address.rpartition("@")[2] not in known:
                return f"aliases, lists: {address[:MAX_DOMAIN]!r} is not in local_domain, and mail is never relayed"
        return None

    def _names(self) -> Iterable[str]:
        yield from self.local_domains
        yield from self.users
        yield from (name for name, _ in (*self.aliases, *self.lists))
        yield from self._targets()

    def _targets(self) -> Iterable[str]:
        return (address for _, users in (*self.aliases, *self.lists) for address in users)
