"""Where in a header somebody is named: the envelope's fields, mailing lists, Resent-*, To, Cc and Bcc. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from common.routing_policy import RoutingPolicy
from router.addresses import Address, addresses_of
from router.envelope import believed
from router.headers import Field
from router.lists import lists_of
from router.rules import Rule

SHOWN: Final = {"to": "To", "cc": "Cc", "bcc": "Bcc"}
_OUTSIDE_A_BLOCK: Final = frozenset({"received", "return-path", "delivered-to"})


class Naming(NamedTuple):
    """Somebody is named, or a mailing list that stands for users."""

    field: str  # as people write it
    position: int
    rule: Rule
    address: Address | None
    users: tuple[str, ...] = ()  # whom a list stands for
    list_name: str = ""


def shown(name: str) -> str:
    """Return a field's name as people write it."""
    return SHOWN.get(name) or "-".join(part.capitalize() for part in name.split("-"))


def by_envelope(fields: Sequence[Field], policy: RoutingPolicy) -> Iterator[list[Naming]]:
    """Yield what each believed envelope field names, the preferred one first."""
    for field in believed(fields, policy):
        yield [Naming(shown(field.name), field.position, Rule.ENVELOPE, address) for address in field.addresses]


def by_content(fields: Sequence[Field], policy: RoutingPolicy) -> Iterator[list[Naming]]:
    """Yield what Resent-* names, if that counts, and what To and Cc name: each with the lists beside it."""
    lists = list(_by_lists(fields, policy))
    if policy.resent:
        yield [*_in_fields(_newest_resent(fields), _resent_rules(policy)), *lists]
    yield [*_in_fields(fields, _rules(policy)), *lists]


def sources(policy: RoutingPolicy) -> str:
    """Return where recipients are looked for, as people say it: "To and Cc"."""
    names = [*(["Resent-*"] if policy.resent else []), "To", "Cc", *(["Bcc"] if policy.bcc else [])]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _rules(policy: RoutingPolicy) -> dict[str, Rule]:
    return {"to": Rule.TO_CC, "cc": Rule.TO_CC} | ({"bcc": Rule.BCC} if policy.bcc else {})


def _resent_rules(policy: RoutingPolicy) -> dict[str, Rule]:
    names = ("resent-to", "resent-cc", *(("resent-bcc",) if policy.bcc else ()))
    return dict.fromkeys(names, Rule.RESENT)


def _in_fields(fields: Sequence[Field], rules: dict[str, Rule]) -> Iterator[Naming]:
    for field in fields:
        rule = rules.get(field.name)
        if rule is not None:
            for address in addresses_of(field.value):
                yield Naming(shown(field.name), field.position, rule, address)


def _newest_resent(fields: Sequence[Field]) -> list[Field]:
    """Return the topmost block of Resent-* fields: each sending-on puts its own above (RFC 5322, section 3.6.6)."""
    block: dict[str, Field] = {}
    for field in fields:
        if field.name.startswith("resent-"):
            if field.name in block:
                break
            block[field.name] = field
        elif block and field.name in _OUTSIDE_A_BLOCK:
            break
    return list(block.values())


def _by_lists(fields: Sequence[Field], policy: RoutingPolicy) -> Iterator[Naming]:
    if not policy.lists:
        return
    users = dict(policy.lists)
    for field, name in lists_of(fields):
        if name in users:
            yield Naming(shown(field.name), field.position, Rule.LIST, None, users.pop(name), name)
