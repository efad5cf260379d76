"""Who gets a mail, and why. Pure: a header block and a routing policy in, recipients with reasons out.

The rule: addresses in To and Cc of the top-level header, in the local domains. A policy may believe the provider's
envelope fields first, and know lists, aliases and users. If nobody is named, or the header is too large to be believed,
the fallback user. No recipient taken from a header ever lies outside the local domains.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from common.addresses import MAX_ADDRESS, MAX_LOCAL_PART
from common.messages import MAX_TEXT, one_line
from common.routing_policy import RoutingPolicy
from router.addresses import addresses_of
from router.headers import MAX_FIELDS, Field, fields_of, return_path
from router.local_users import LocalUsers, local_users
from router.naming import Naming, by_content, by_envelope, shown, sources
from router.rules import Rule

MAX_RECIPIENTS: Final = 1000
"""Local recipients of one mail; more is a directory harvest, not a letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """A local address that a mail goes to."""

    address: str  # lower-case local part @ A-label domain; the fallback's is as the administrator wrote it
    field: str  # "To", "Cc", "Delivered-To", …; "" where no field named it
    position: int  # of that field in the header, from 1; 0 where no field named it
    rule: Rule
    reason: str  # for people, one line


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipients:
    """Everybody who gets a mail, in order of first mention, and its envelope sender."""

    recipients: tuple[Recipient, ...]  # never empty
    fallback: bool  # the header named nobody, or nobody who is a user
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
        return fallen_back(policy, f"{sources(policy)} name more than {MAX_RECIPIENTS} local users", sender)
    if not named:
        return fallen_back(policy, _why_nobody(policy), sender)
    unknown = all(one.rule is Rule.UNKNOWN for one in named)
    why = named[0].reason.partition(": ")[2] if unknown else ""
    return Recipients(recipients=named, fallback=unknown, why=why, sender=sender)


def fallen_back(policy: RoutingPolicy, why: str, sender: str = "") -> Recipients:
    """Return the fallback user as the only recipient, with the reason."""
    return _only(policy, Rule.FALLBACK, why, sender)


def _only(policy: RoutingPolicy, rule: Rule, why: str, sender: str) -> Recipients:
    recipient = Recipient(address=policy.fallback, field="", position=0, rule=rule, reason=f"{rule}: {why}")
    fell = rule is Rule.FALLBACK
    return Recipients(recipients=(recipient,), fallback=fell, why=why if fell else "", sender=sender)


def _why_nobody(policy: RoutingPolicy) -> str:
    nobody = f"{sources(policy)} name no local user"
    if not policy.envelope:
        return nobody
    names = dict.fromkeys(shown(entry.partition(":")[0]) for entry in policy.envelope)
    return f"{' and '.join(names)}, where believed, and {nobody}"


def _named(fields: Sequence[Field], policy: RoutingPolicy) -> tuple[Recipient, ...]:
    """Return whom the first source names that names anybody: one more than MAX_RECIPIENTS at most."""
    users = local_users(policy)
    for namings in by_envelope(fields, policy):
        if found := _distinct(_recipients(namings, users, policy.envelope_prefix), policy):
            return found
    for namings in by_content(fields, policy):
        if found := _distinct(_recipients(namings, users), policy):
            return found
    return ()


def _distinct(recipients: Iterable[Recipient], policy: RoutingPolicy) -> tuple[Recipient, ...]:
    """Return each recipient once. Several unknown users are one mail to the fallback user, without a subaddress."""
    found: dict[str, Recipient] = {}
    for recipient in recipients:
        found.setdefault(recipient.address, recipient)
        if len(found) > MAX_RECIPIENTS:
            break
    unknown = [one for one in found.values() if one.rule is Rule.UNKNOWN]
    if len(unknown) > 1:
        first = Recipient(
            address=policy.fallback,
            field=unknown[0].field,
            position=unknown[0].position,
            rule=Rule.UNKNOWN,
            reason=unknown[0].reason,
        )
        known = [one for one in found.values() if one.rule is not Rule.UNKNOWN]
        return tuple({one.address: one for one in (first, *known)}.values())
    return tuple(found.values())


def _recipients(namings: Iterable[Naming], users: LocalUsers, prefix: str = "") -> Iterator[Recipient]:
    for naming in namings:
        if naming.address is None:
            yield from (_recipient(user, naming, Rule.LIST, f"names {naming.list_name}") for user in naming.users)
        elif meant := users.meant_by(naming.address, prefix):
            rule = meant.how or naming.rule
            says = f"names {meant.named}{', no known user' if rule is Rule.UNKNOWN else ''}"
            yield from (_recipient(user, naming, rule, says) for user in meant.users)


def _recipient(address: str, naming: Naming, rule: Rule, says: str) -> Recipient:
    reason = one_line(f"{rule}: {naming.field} {says}", MAX_TEXT)
    return Recipient(address=address, field=naming.field, position=naming.position, rule=rule, reason=reason)


def _sender(fields: Sequence[Field]) -> str:
    """Return the envelope sender that the last server noted; all but exactly one plain address is the null sender."""
    found = addresses_of(return_path(fields))
    if len(found) != 1:
        return ""
    local, domain = found[0]
    plain = local.isprintable() and not set(local) & set('<> "') and len(local.encode()) <= MAX_LOCAL_PART
    address = f"{local}@{domain}"
    return address if plain and len(address.encode()) <= MAX_ADDRESS else ""
