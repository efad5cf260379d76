"""Which local users an address means, by a policy's domains, aliases, subaddresses and users. Pure.

Every address that comes out lies in a local domain (I6): what isn't local goes in and nothing comes out, and the policy
itself was checked to hold no other alias.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from common.addresses import MAX_LOCAL_PART
from common.routing_policy import RoutingPolicy, Subaddress
from router.addresses import Address
from router.rules import Rule

_UNSAFE: Final = re.compile(
    r"[^!#$%&'*+\-/=?^`{|}~.\w\x80-\U0010ffff]"  # what would need quotes: blanks, controls, brackets, "@"
    r"|[!%/|]"  # "user%other.example", "other.example!user": some servers relay these; paths and pipes
    r"|\A[-.]|\.\.|\.\Z"  # an option to a program that a server calls; a path; no dot-atom
)


class Meant(NamedTuple):
    """Whom an address means."""

    named: str  # the address in its one form
    users: tuple[str, ...]  # addresses in the local domains
    how: Rule | None  # the rule that made others of it, if one did


class LocalUsers:
    """A policy, ready to be asked about many addresses."""

    def __init__(self, policy: RoutingPolicy) -> None:
        self._policy = policy
        self._domains = frozenset(policy.local_domains)
        self._users = frozenset(policy.users)
        self._aliases = dict(policy.aliases)
        self._wildcards = [(*_halves(name), users) for name, users in policy.aliases if "*" in name]

    def meant_by(self, address: Address, prefix: str = "") -> Meant | None:
        """Return whom an address means; None where it isn't local. `prefix` may stand before its local part."""
        if address.domain not in self._domains:
            return None
        local = _safe(address.local.lower().removeprefix(prefix))
        if local is None:
            return None
        home = self._policy.local_domains[0] if self._policy.same_users else address.domain
        named = f"{local}@{address.domain}"
        base, tag = self._split(local)
        users = self._alias(local, address.domain, home)
        if users is None and tag and (users := self._alias(base, address.domain, home)):
            users = tuple(self._tagged(user, tag) for user in users)
        if users is not None:
            return Meant(named, users, Rule.ALIAS)
        if self._users and not (self._is_known(local, home) or self._is_known(base, home)):
            return Meant(named, (self.fallback_for(local),), Rule.UNKNOWN)
        if tag and self._policy.subaddress is Subaddress.STRIP:
            return Meant(named, (f"{base}@{home}",), Rule.SUBADDRESS)
        return Meant(named, (f"{local}@{home}",), None if home == address.domain else Rule.SAME_USERS)

    def fallback_for(self, unknown: str) -> str:
        """Return who gets mail for a user that there isn't."""
        policy = self._policy
        if not policy.fallback_subaddress:
            return policy.fallback
        user, at, domain = policy.fallback.rpartition("@")
        return _with_tag(f"{user}{at}{domain}", policy.separator[0] + unknown)

    def _split(self, local: str) -> tuple[str, str]:
        """Return a local part without its subaddress, and that with its separator; "" where there is none."""
        at = min((found for sign in self._policy.separator if (found := local.find(sign, 1)) > 0), default=0)
        return (local[:at], local[at:]) if at else (local, "")

    def _tagged(self, user: str, tag: str) -> str:
        return user if self._policy.subaddress is Subaddress.STRIP else _with_tag(user, tag)

    def _alias(self, local: str, domain: str, home: str) -> tuple[str, ...] | None:
        """Return what an alias stands for: its whole name before a wildcard, with a domain before without."""
        if not self._aliases:
            return None
        for name in dict.fromkeys((f"{local}@{domain}", f"{local}@{home}", local)):
            if name in self._aliases:
                return self._aliases[name]
        return next(self._by_wildcard(local, {"", domain, home}), None)

    def _by_wildcard(self, local: str, domains: set[str]) -> Iterator[tuple[str, ...]]:
        return (users for pieces, domain, users in self._wildcards if domain in domains and _fits(local, pieces))

    def _is_known(self, local: str, domain: str) -> bool:
        return local in self._users or f"{local}@{domain}" in self._users


@lru_cache(maxsize=256)
def local_users(policy: RoutingPolicy) -> LocalUsers:
    """Return a policy ready to be asked; the mails of a mailbox share it."""
    return LocalUsers(policy)


def _halves(name: str) -> tuple[list[str], str]:
    """Return the pieces of a pattern's local part that stand around its wildcards, and its domain, if it has one."""
    local, at, domain = name.rpartition("@")
    return (local if at else name).split("*"), domain if at else ""


def _fits(local: str, pieces: list[str]) -> bool:
    """Whether a local part is the pieces in order, with any text between them: in time linear in its length."""
    first, *middle, last = pieces
    if len(local) < len(first) + len(last) or not (local.startswith(first) and local.endswith(last)):
        return False
    at, end = len(first), len(local) - len(last)
    for piece in middle:
        at = local.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


def _with_tag(user: str, tag: str) -> str:
    """Return an address with a subaddress; without it where it would be too long for a local part."""
    local, at, domain = user.rpartition("@")
    tagged = (local if at else domain) + tag
    if len(tagged.encode()) > MAX_LOCAL_PART:
        return user
    return f"{tagged}@{domain}" if at else tagged


def _safe(local: str) -> str | None:
    """Return the lower-case local part if it may become an SMTP argument and a folder's name, else None."""
    lowered = unicodedata.normalize("NFC", local)
    safe = lowered.isprintable() and _UNSAFE.search(lowered) is None and 0 < len(lowered.encode()) <= MAX_LOCAL_PART
    return lowered if safe else None
