"""The keys of a `[[profile]]` that say who gets a mail beyond To and Cc, and the policy that they make. Pure.

Names are kept as they are compared: lower-case, domains as A-labels. `common/routing_policy.py` has the limits.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, Field

from common.addresses import MAX_DOMAIN, MAX_LOCAL_PART, a_label, local_user
from common.key_form import PART, Form
from common.routing_policy import MAX_ENVELOPE_FIELDS, MAX_HOPS, MAX_NAMES, RECEIVED, RoutingPolicy, Subaddress

_FIELD: Final = re.compile(r"(?P<name>[!-9;-~]{1,64})(?::(?P<place>[1-9]))?")
_SEPARATOR: Final = re.compile(r"[!#$%&'*+\-/=?^_`{|}~.]{1,8}")
_LIST: Final = re.compile(r"[!-;=?-~]+")


def _texts(value: object, example: str) -> list[str]:
    """Return a list of texts; one text is a list of one."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"write it as a list: [{example}]")
    return list(texts)


def _fields(value: object) -> object:
    """Read "Delivered-To" and "Delivered-To:2"; the first is the same as "Delivered-To:1"."""
    found = []
    for text in _texts(value, '"X-Original-To", "Delivered-To:2"'):
        match = _FIELD.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'{text!r} is not a field\'s name, or one with its place from the top: "Delivered-To:2"')
        name, place = match["name"].lower(), match["place"] or "1"
        if name == RECEIVED and place != "1":
            raise ValueError("Received takes no place: envelope_hops says how far down it may stand")
        found.append(name if place == "1" else f"{name}:{place}")
    return tuple(dict.fromkeys(found))


def _hosts(value: object) -> object:
    return tuple(dict.fromkeys(_host(text) for text in _texts(value, '"mx.example.com", "*.example.net"')))


def _host(text: str) -> str:
    wildcard = "*." if text.startswith("*.") else ""
    return wildcard + a_label(text.removeprefix(wildcard))


def _users(value: object) -> object:
    return tuple(dict.fromkeys(map(local_user, _texts(value, '"ann", "bob@example.com"'))))


def _prefix(value: object) -> object:
    if not isinstance(value, str) or "@" in value or (value and local_user(value) != value.lower()):
        raise ValueError(f"{value!r} is not the beginning of a local part")
    return value.lower()


def _separator(value: object) -> object:
    if not isinstance(value, str) or _SEPARATOR.fullmatch(value) is None:
        raise ValueError(f'{value!r} is no separator: write one such as "+", or several: "+-"')
    return value


def _aliases(value: object) -> object:
    return {local_user(name): users for name, users in _pairs(value, '"sales" = ["ann", "bob"]')}


def _lists(value: object) -> object:
    return {_list_name(name): users for name, users in _pairs(value, '"news.lists.example" = ["ann", "bob"]')}


def _list_name(text: str) -> str:
    name = text.strip().removeprefix("<").removesuffix(">").lower()
    if len(name) > MAX_DOMAIN or _LIST.fullmatch(name) is None:
        raise ValueError(f"{text!r} is neither a List-Id nor a list's address")
    local, at, domain = name.rpartition("@")
    return f"{local}@{a_label(domain)}" if at else name


def _pairs(value: object, example: str) -> Iterable[tuple[str, tuple[str, ...]]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"write it as a table: {{ {example} }}")  # noqa: TRY004 (pydantic reads ValueError)
    for name, users in value.items():
        yield name, tuple(dict.fromkeys(map(local_user, _texts(users, '"ann", "bob"'))))


Table = dict[str, tuple[str, ...]]
Fields = Annotated[tuple[str, ...], BeforeValidator(_fields), Form('list of fields, as "Delivered-To:2"')]
Hosts = Annotated[tuple[str, ...], BeforeValidator(_hosts), Form('list of hosts, as "*.example.net"')]
UserNames = Annotated[tuple[str, ...], BeforeValidator(_users), Form("list of users")]
Prefix = Annotated[str, BeforeValidator(_prefix), Form("text", f"at most {MAX_LOCAL_PART}")]
Separator = Annotated[str, BeforeValidator(_separator), Form("characters", "at most 8")]
Aliases = Annotated[Table, BeforeValidator(_aliases), Form('table, as "sales-*" = ["ann", "bob"]')]
Lists = Annotated[Table, BeforeValidator(_lists), Form('table, as "news.lists.example" = ["ann", "bob"]')]


class RoutingKeys(BaseModel):
    """Who gets a mail, beyond To and Cc. All of it needs `distribute`."""

    model_config = PART

    bcc: bool = Field(default=False, strict=True, description="Bcc names recipients too, where a mail still has it.")
    resent: bool = Field(
        default=False, strict=True, description="The newest Resent-To and Resent-Cc decide, before To and Cc."
    )
    envelope: Fields = Field(
        default=(),
        max_length=MAX_ENVELOPE_FIELDS,
        description="Fields in which the provider noted the recipient; the first that names a local user decides.",
    )
    envelope_hops: int = Field(
        default=0, strict=True, ge=0, le=MAX_HOPS, description="How many Received may stand above an envelope field."
    )
    envelope_prefix: Prefix = Field(default="", description="What stands before the user there: mbox-user-ann@….")
    envelope_by: Hosts = Field(
        default=(), max_length=MAX_ENVELOPE_FIELDS, description='Hosts whose "Received: … by HOST … for" is believed.'
    )
    subaddress: Subaddress = Field(
        default=Subaddress.KEEP, description='"strip": ann+lists is delivered as ann; "keep": the target sees it.'
    )
    subaddress_separator: Separator = Field(default="+", description="What begins a subaddress: any of these.")
    fallback_subaddress: bool = Field(
        default=False, strict=True, description="Mail for an unknown user x goes to local_user+x."
    )
    users: UserNames = Field(
        default=(), max_length=MAX_NAMES, description="The local users; others are unknown. Empty: everybody named."
    )
    aliases: Aliases = Field(
        default={}, max_length=MAX_NAMES, description="Local names and the users that they stand for; * is any text."
    )
    lists: Lists = Field(
        default={}, max_length=MAX_NAMES, description="List-Ids or lists' addresses, and the users on the list."
    )

    def routing_policy(
        self, *, distribute: bool, local_domains: tuple[str, ...], fallback: str, same_users: bool
    ) -> RoutingPolicy:
        """Return what a router needs to know; raises ValueError that names the key."""
        if not distribute and (unused := next((key for key in RoutingKeys.model_fields if self._is_set(key)), None)):
            raise ValueError(f"{unused} needs distribute = true")
        known = frozenset(local_domains)
        for key, names in (("aliases", self.aliases), ("users", self.users)):
            for name in names:
                if not _is_local(name, known):
                    raise ValueError(f"{key}: the domain of {name!r} is not in local_domain")
        first = local_domains[0] if local_domains else ""
        return RoutingPolicy(
            distribute=distribute,
            local_domains=local_domains,
            fallback=fallback,
            same_users=same_users,
            bcc=self.bcc,
            resent=self.resent,
            envelope=self.envelope,
            envelope_hops=self.envelope_hops,
            envelope_prefix=self.envelope_prefix,
            envelope_by=self.envelope_by,
            subaddress=self.subaddress,
            separator=self.subaddress_separator,
            fallback_subaddress=self.fallback_subaddress,
            users=self.users,
            aliases=_with_domain(self.aliases, first),
            lists=_with_domain(self.lists, first),
        )

    def _is_set(self, key: str) -> Any:  # noqa: ANN401 (any key's value)
        return getattr(self, key) != RoutingKeys.model_fields[key].default


def _is_local(name: str, domains: frozenset[str]) -> bool:
    _, at, domain = name.rpartition("@")
    return not at or domain in domains


def _with_domain(table: Table, first: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return a table's pairs, its bare users at the first local domain."""
    return tuple(
        (name, tuple(dict.fromkeys(user if "@" in user else f"{user}@{first}" for user in users)))
        for name, users in table.items()
    )
