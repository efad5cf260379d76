"""Who gets a mail, and why. Pure: a header block and a routing policy in, recipients with reasons out.

The rule: addresses in To and Cc of the top-level header, in the local domains. If there are none, or the header is too
large to be believed, the fallback user. No recipient taken from a header ever lies outside the local domains.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from common.messages import MAX_ADDRESS, RoutingPolicy
from router.addresses import Address, addresses_of
from router.headers import MAX_FIELDS, Field, fields_of, return_path

MAX_RECIPIENTS: Final = 1000
"""Local recipients of one mail; more is a directory harvest, not a letter."""

MAX_LOCAL_PART: Final = 64
"""Octets of a local part (RFC 5321, section 4.5.3.1.1)."""

_NAMED_IN: Final = {"to": "To", "cc": "Cc"}

_UNSAFE: Final = re.compile(
    r"[^!#$%&'*+\-/=?^`{|}~.\w\x80-\U0010ffff]"  # what would need quotes: blanks, controls, brackets, "@"
    r"|[!%/|]"  # "user%other.example", "other.example!user": some servers relay these; paths and pipes
    r"|\A[-.]|\.\.|\.\Z"  # an option to a program that a server calls; a path; no dot-atom
)


class Rule(StrEnum):
    """What made somebody a recipient."""

    TO_CC = "to-cc"  # named in To or Cc, in a local domain
    SAME_USERS = "same-users"  # the same, in another local domain than the first, which has the same users
    FALLBACK = "fallback"  # nobody was named
    ALL = "all"  # the mailbox is not distributed


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A local address that a mail goes to."""

    address: str  # lower-case local part @ A-label domain; the fallback's is as the administrator wrote it
    field: str  # "To" or "Cc"; "" where no field named it
    position: int  # of that field in the header, from 1; 0 where no field named it
    rule: Rule
    reason: str  # for people, one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipients:
    """Everybody who gets a mail, in order of first mention, and its envelope sender."""

    recipients: tuple[Recipient, ...]  # never empty
    fallback: bool  # the header named nobody
    why: str  # why the fallback user gets it; "" where it is not so
    sender: str  # "" is the null sender

    @property
    def addresses(self) -> tuple[str, ...]:
        """The recipients' addresses."""
        return tuple(recipient.address for recipient in self.recipients)


def recipients_of(header: bytes, policy: RoutingPolicy, *, header_cut: bool) -> Recipients:
    """Return who gets the mail with this header block; `header_cut`: the block was too long to travel whole."""
    return recipients_in(fields_of(header), policy, header_cut=header_cut)


def recipients_in(fields: Sequence[Field], policy: RoutingPolicy, *, header_cut: bool) -> Recipients:
    """Return who gets the mail with these fields, of which there may be one more than MAX_FIELDS."""
    sender = _sender(fields)
    if not policy.distribute:
        return _only(policy, Rule.ALL, "all mail of this mailbox goes to one user", sender)
    if header_cut:
        return fallen_back(policy, "the header is too long to be read", sender)
    if len(fields) > MAX_FIELDS:
        return fallen_back(policy, f"the header has more than {MAX_FIELDS} fields", sender)
    named = _named(fields, policy)
    if len(named) > MAX_RECIPIENTS:
        return fallen_back(policy, f"To and Cc name more than {MAX_RECIPIENTS} local users", sender)
    if not named:
        return fallen_back(policy, "To and Cc name no local user", sender)
    return Recipients(recipients=tuple(named.values()), fallback=False, why="", sender=sender)


def fallen_back(policy: RoutingPolicy, why: str, sender: str = "") -> Recipients:
    """Return the fallback user as the only recipient, with the reason."""
    return _only(policy, Rule.FALLBACK, why, sender)


def _only(policy: RoutingPolicy, rule: Rule, why: str, sender: str) -> Recipients:
    recipient = Recipient(address=policy.fallback, field="", position=0, rule=rule, reason=f"{rule}: {why}")
    fell = rule is Rule.FALLBACK
    return Recipients(recipients=(recipient,), fallback=fell, why=why if fell else "", sender=sender)


def _named(fields: Sequence[Field], policy: RoutingPolicy) -> dict[str, Recipient]:
    local_domains = frozenset(policy.local_domains)
    named: dict[str, Recipient] = {}
    for field in fields:
        if field.name in _NAMED_IN:
            for address in addresses_of(field.value):
                if address.domain in local_domains and (local := _safe_local_part(address.local)):
                    recipient = _recipient(field, address, local, policy)
                    named.setdefault(recipient.address, recipient)
    return named


def _recipient(field: Field, address: Address, local: str, policy: RoutingPolicy) -> Recipient:
    first = policy.local_domains[0]
    mapped = policy.same_users and address.domain != first
    rule = Rule.SAME_USERS if mapped else Rule.TO_CC
    where = _NAMED_IN[field.name]
    return Recipient(
        address=f"{local}@{first if mapped else address.domain}",
        field=where,
        position=field.position,
        rule=rule,
        reason=f"{rule}: {where} names {local}@{address.domain}",
    )


def _safe_local_part(local: str) -> str | None:
    """Return the lower-case local part if it may become an SMTP argument and a folder's name, else None."""
    lowered = unicodedata.normalize("NFC", local.lower())
    safe = lowered.isprintable() and _UNSAFE.search(lowered) is None and 0 < len(lowered.encode()) <= MAX_LOCAL_PART
    return lowered if safe else None


def _sender(fields: Sequence[Field]) -> str:
    """Return the envelope sender that the last server noted; all but exactly one plain address is the null sender."""
    found = addresses_of(return_path(fields))
    if len(found) != 1:
        return ""
    local, domain = found[0]
    plain = local.isprintable() and not set(local) & set('<> "') and len(local.encode()) <= MAX_LOCAL_PART
    address = f"{local}@{domain}"
    return address if plain and len(address.encode()) <= MAX_ADDRESS else ""
