"""The envelope that a provider noted in the header: for whom it took a mail, in fields that it wrote itself. Pure.

Senders can write such fields too, but only below the provider's own. A field is believed where it is the one at the
expected place from the top, and no more of the provider's Received fields stand above it than expected.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from common.addresses import a_label
from common.routing_policy import RECEIVED, RoutingPolicy
from router.addresses import WORD, Address, Token, addresses_among, addresses_of, tokens_of
from router.headers import Field

KNOWN: Final = (
    "x-original-to",
    "delivered-to",
    "x-delivered-to",
    "envelope-to",
    "x-envelope-to",
    "x-rcpt-to",
    "x-real-to",
    "x-apparently-to",
    "x-forwarded-to",
)
"""Fields in which providers note a recipient: Postfix, qmail, Exim, fetchmail's default, CommuniGate, Yahoo, Gmail."""

_CLAUSES: Final = frozenset({b"from", b"by", b"via", b"with", b"id", b"for"})


class Seen(NamedTuple):
    """An envelope field of a header, wherever it stands."""

    name: str  # lower-case
    place: int  # from the top, among fields of this name; 1 is the topmost
    hops: int  # Received fields above it
    position: int  # in the header, from 1
    by: str  # the host that wrote it, where it is a Received; else ""
    addresses: tuple[Address, ...]


def seen(fields: Sequence[Field], names: Sequence[str]) -> Iterator[Seen]:
    """Yield the fields of these names, from the top. Of Received, those with a "for" or with a host."""
    hops, places = 0, dict.fromkeys(names, 0)
    for field in fields:
        if field.name in places:
            places[field.name] += 1
            by, addresses = "", addresses_of(field.value) if field.name != RECEIVED else []
            if field.name == RECEIVED:
                by, addresses = by_and_for(field.value)
            yield Seen(field.name, places[field.name], hops, field.position, by, tuple(addresses))
        hops += field.name == RECEIVED


def believed(fields: Sequence[Field], policy: RoutingPolicy) -> list[Seen]:
    """Return the fields that the policy believes, in its order of preference; at most one of each entry."""
    wanted = [_entry(entry) for entry in policy.envelope]
    found = list(seen(fields, [name for name, _ in wanted])) if wanted else []
    return [
        field
        for name, place in wanted
        for field in found
        if field.name == name and field.hops <= policy.envelope_hops and _is_it(field, place, found, policy)
    ]


def _is_it(field: Seen, place: int, found: Sequence[Seen], policy: RoutingPolicy) -> bool:
    if field.name != RECEIVED:
        return field.place == place
    trusted = (one for one in found if one.name == RECEIVED and _is_host(one.by, policy.envelope_by))
    return next(trusted, None) == field  # one without "for" hides those below, which the sender may have written


def _entry(entry: str) -> tuple[str, int]:
    name, _, place = entry.partition(":")
    return name, int(place or 1)


def _is_host(host: str, hosts: Sequence[str]) -> bool:
    return any(host == one or (one.startswith("*.") and host.endswith(one[1:])) for one in hosts)


def by_and_for(value: bytes) -> tuple[str, list[Address]]:
    """Return the host that wrote a Received field, and the addresses of its "for" (RFC 5321, section 4.4).

    The last "by" counts, and a "for" after it: what stands before is what the client said of itself.
    """
    tokens = list(tokens_of(value))
    by = max((at for at, token in enumerate(tokens) if _word(token) == b"by"), default=None)
    if by is None or by + 1 == len(tokens):
        return "", []
    for_ = next((at for at, token in enumerate(tokens) if at > by + 1 and _word(token) == b"for"), None)
    return _host(tokens[by + 1]), [] if for_ is None else addresses_among(_clause(tokens[for_ + 1 :]))


def _clause(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        if token.kind == b";" or _word(token) in _CLAUSES:
            return
        yield token


def _word(token: Token) -> bytes:
    return token.text.lower() if token.kind == WORD and len(token.text) <= len("from") else b""


def _host(token: Token) -> str:
    try:
        return a_label(token.text.decode())
    except ValueError:
        return ""
