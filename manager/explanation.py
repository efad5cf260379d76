"""Where a mail would go and why, asked of the very rule that routes it; nothing is fetched, recorded or delivered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from common.header import split_header
from common.messages import MAX_HEADER
from common.routing_policy import RECEIVED, RoutingPolicy
from router.addresses import addresses_of
from router.envelope import KNOWN, Seen, believed, seen
from router.headers import Field, fields_of
from router.local_users import local_users
from router.loops import loop_reason
from router.naming import SHOWN, shown
from router.recipients import Recipients, recipients_in

MAX_SHOWN: Final = 10
"""Addresses that are told to have been passed over, and envelope fields: what is more is no help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeField:
    """An envelope field of the header, and what it would give if it were believed."""

    name: str
    place: int  # from the top, among those of its name
    hops: int  # Received fields above it
    position: int
    by: str  # the host, where it is a Received; else ""
    addresses: tuple[str, ...]  # as it holds them
    users: tuple[str, ...]  # the recipients that these would be
    believed: bool  # by the profile as it is

    @property
    def keys(self) -> str:
        """What in the profile would have it believed."""
        entry = f"{self.name}:{self.place}" if self.place > 1 and not self.by else self.name
        by = f', envelope_by = "{self.by}"' if self.by else ""
        return f'envelope = "{entry}"{by}' + (f", envelope_hops = {self.hops}" if self.hops else "")

    def document(self) -> dict[str, Any]:
        """Return the field as `--json` prints it."""
        names = ("name", "place", "hops", "position", "by", "addresses", "users", "believed")
        return {("field" if name == "name" else name): getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a router would decide on one mail."""

    recipients: Recipients
    loop: str | None  # why it would be set aside instead; our own traces are known only to the ledger
    envelope: tuple[EnvelopeField, ...]
    passed_over: tuple[tuple[str, str, int], ...]  # addresses in To, Cc and Bcc that name nobody, field and position

    def document(self, name: str) -> dict[str, Any]:
        """Return the explanation as `--json` prints it."""
        found = self.recipients
        rows = [
            {
                "address": one.address,
                "field": one.field or None,
                "position": one.position or None,
                "rule": str(one.rule),
                "reason": one.reason,
            }
            for one in found.recipients
        ]
        return {
            "file": name,
            "recipients": rows,
            "fallback": found.fallback,
            "why": found.why or None,
            "sender": found.sender,
            "loop": self.loop,
            "envelope": [one.document() for one in self.envelope],
            "passed_over": [
                {"address": address, "field": field, "position": position}
                for address, field, position in self.passed_over
            ],
        }


def explain_mail(file: BinaryIO, policy: RoutingPolicy) -> Explanation:
    """Return what would become of the raw mail in `file`, of which only the header is read."""
    beginning = file.read(MAX_HEADER + 1)
    length = split_header(beginning)
    return explain_header(beginning[: min(length, MAX_HEADER)], policy, cut=length > MAX_HEADER)


def explain_header(header: bytes, policy: RoutingPolicy, *, cut: bool) -> Explanation:
    """Return what would become of the mail with this header block."""
    fields = fields_of(header)
    return Explanation(
        recipients=recipients_in(fields, policy, header_cut=cut),
        loop=loop_reason(fields, "", ()),
        envelope=tuple(_envelope(fields, policy)[:MAX_SHOWN]),
        passed_over=tuple(_passed_over(fields, policy)[:MAX_SHOWN]),
    )


def _envelope(fields: Sequence[Field], policy: RoutingPolicy) -> list[EnvelopeField]:
    """Return the header's envelope fields, also those that the profile doesn't ask for; Received, if it has a "for"."""
    names = (*KNOWN, *(entry.partition(":")[0] for entry in policy.envelope), RECEIVED)
    trusted = {one.position for one in believed(fields, policy)} if policy.distribute else set()
    return [
        _shown(one, policy, believed_now=one.position in trusted)
        for one in seen(fields, tuple(dict.fromkeys(names)))
        if one.addresses
    ]


def _shown(one: Seen, policy: RoutingPolicy, *, believed_now: bool) -> EnvelopeField:
    users = local_users(policy)
    meant = [users.meant_by(address, policy.envelope_prefix) for address in one.addresses]
    return EnvelopeField(
        name=shown(one.name),
        place=one.place,
        hops=one.hops,
        position=one.position,
        by=one.by,
        addresses=tuple(f"{address.local}@{address.domain}" for address in one.addresses[:MAX_SHOWN]),
        users=tuple(dict.fromkeys(user for found in meant if found for user in found.users))[:MAX_SHOWN],
        believed=believed_now,
    )


def _passed_over(fields: Sequence[Field], policy: RoutingPolicy) -> list[tuple[str, str, int]]:
    if not policy.distribute:
        return []
    users = local_users(policy)
    return [
        (f"{address.local}@{address.domain}", SHOWN[field.name], field.position)
        for field in fields
        if field.name in SHOWN
        for address in addresses_of(field.value)
        if (field.name == "bcc" and not policy.bcc) or users.meant_by(address) is None
    ]
