"""Which envelope field of a mailbox could be believed, judged by a sample of its headers. Pure.

A field is worth believing if the provider writes it on all mail, at one place, and it tells one recipient from another.
One that always names the mailbox itself is worse than none: all mail would seem to be for nobody.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from common.routing_policy import MAX_HOPS, RECEIVED, RoutingPolicy
from router.envelope import KNOWN, Seen, seen
from router.headers import Field
from router.local_users import LocalUsers, local_users
from router.naming import shown

MIN_SAMPLE: Final = 5
"""Mails below which nothing can be said."""

_PLACES: Final = 3
_SHORTEST_PREFIX: Final = 3


class Verdict(StrEnum):
    """What to do about a field, the best first."""

    USABLE = "usable"  # on all mail, at one place, and it differs
    PARTIAL = "partial"  # the same, but not on all mail
    VARYING = "varying"  # not always at one place: where it is written can't be told from where it is forged
    CONSTANT = "constant"  # the same address on all mail: it names the mailbox
    FOREIGN = "foreign"  # names no local user


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldAdvice:
    """What a sample tells of one field at one place from the top."""

    entry: str  # as in the key `envelope`: "X-Original-To", "Delivered-To:2"
    verdict: Verdict
    mails: int  # in the sample
    present: int  # mails that have it
    local: int  # mails in which it names a local user
    users: int  # different local users that it names
    hops: tuple[int, int]  # Received fields above it, at least and at most
    says: str  # for people, one line
    keys: str  # what to write into the profile, as TOML; "" where it should not be used


def advise(headers: Sequence[Sequence[Field]], policy: RoutingPolicy) -> list[FieldAdvice]:
    """Return what a sample of a catch-all's headers tells of its envelope fields, the best first."""
    if len(headers) < MIN_SAMPLE:
        return []
    names = tuple(dict.fromkeys((*KNOWN, *(entry.partition(":")[0] for entry in policy.envelope), RECEIVED)))
    found: dict[tuple[str, int], list[Seen]] = defaultdict(list)
    for fields in headers:
        for one in seen(fields, names):
            if one.name == RECEIVED:
                if one.addresses and one.by and one.hops < _PLACES:
                    found[one.name, one.hops].append(one)
            elif one.place <= _PLACES:
                found[one.name, one.place].append(one)
    users = local_users(policy)
    advice = [_advice(place, sightings, len(headers), users) for place, sightings in found.items()]
    order = list(Verdict)
    return sorted(advice, key=lambda one: (order.index(one.verdict), -one.present, one.hops, one.entry))


def _advice(place: tuple[str, int], sightings: Sequence[Seen], mails: int, users: LocalUsers) -> FieldAdvice:
    prefix = _prefix(sightings, users)
    named = [_users(one, users, prefix) for one in sightings]
    addresses = {address for one in sightings for address in one.addresses}
    hops = min(one.hops for one in sightings), max(one.hops for one in sightings)
    local, different = sum(map(bool, named)), set[str]().union(*named)
    entry = shown(place[0]) if place[0] == RECEIVED or place[1] == 1 else f"{shown(place[0])}:{place[1]}"
    verdict = _verdict(len(sightings), mails, local, len(addresses), hops)
    return FieldAdvice(
        entry=entry,
        verdict=verdict,
        mails=mails,
        present=len(sightings),
        local=local,
        users=len(different),
        hops=hops,
        says=_says(verdict, entry, (len(sightings), mails), hops, sightings),
        keys=_keys(entry, hops[1], prefix, sightings) if verdict in {Verdict.USABLE, Verdict.PARTIAL} else "",
    )


def _verdict(present: int, mails: int, local: int, addresses: int, hops: tuple[int, int]) -> Verdict:
    if addresses <= 1 and present >= MIN_SAMPLE:
        return Verdict.CONSTANT
    if not local:
        return Verdict.FOREIGN
    if hops[1] - hops[0] > 1 or hops[1] > MAX_HOPS or 2 * local < present:
        return Verdict.VARYING
    return Verdict.USABLE if local == present == mails else Verdict.PARTIAL


def _users(one: Seen, users: LocalUsers, prefix: str) -> frozenset[str]:
    meant = [users.meant_by(address, prefix) for address in one.addresses]
    return frozenset(user for found in meant if found is not None for user in found.users)


def _prefix(sightings: Sequence[Seen], users: LocalUsers) -> str:
    """Return what qmail may have put before each local part: the same on all, up to a dash, before different users."""
    locals_ = {a.local.lower() for one in sightings for a in one.addresses if users.meant_by(a) is not None}
    if len(locals_) < MIN_SAMPLE:
        return ""
    pairs = list(zip(min(locals_), max(locals_), strict=False))  # in order of the alphabet: all others lie between
    same = next((at for at, (one, other) in enumerate(pairs) if one != other), len(pairs))
    prefix = min(locals_)[:same].rpartition("-")[0] + "-"
    return prefix if len(prefix) >= _SHORTEST_PREFIX else ""


def _says(
    verdict: Verdict, entry: str, share: tuple[int, int], hops: tuple[int, int], sightings: Sequence[Seen]
) -> str:
    on = "on all mail" if share[0] == share[1] else f"on {share[0]} of {share[1]} mails"
    match verdict:
        case Verdict.USABLE:
            return f"{entry} is {on}, at one place, and tells the recipients apart"
        case Verdict.PARTIAL:
            return f"{entry} is {on}: To and Cc would decide for the rest"
        case Verdict.VARYING:
            return (
                f"{entry} is {on}, with {hops[0]} to {hops[1]} Received above it: don't believe it, others write it too"
            )
        case Verdict.CONSTANT:
            address = "@".join(next(one.addresses[0] for one in sightings if one.addresses)) if _any(sightings) else ""
            return f"{entry} is {on}, and always {address or 'empty'}: it names the mailbox: don't believe it"
        case Verdict.FOREIGN:
            return f"{entry} is {on}, and never names a local user: it is of no use"


def _any(sightings: Sequence[Seen]) -> bool:
    return any(one.addresses for one in sightings)


def _keys(entry: str, hops: int, prefix: str, sightings: Sequence[Seen]) -> str:
    keys = [f'envelope = ["{entry}"]']
    if hops:
        keys.append(f"envelope_hops = {hops}")
    if prefix:
        keys.append(f'envelope_prefix = "{prefix}"')
    hosts = sorted({one.by for one in sightings if one.by})
    if hosts:
        shared = f"*.{hosts[0].partition('.')[2]}"
        same = len(hosts) > 1 and all(host.endswith(shared[1:]) for host in hosts)
        keys.append(f"envelope_by = [{', '.join(f'{chr(34)}{h}{chr(34)}' for h in ([shared] if same else hosts))}]")
    return ", ".join(keys)
