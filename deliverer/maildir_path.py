"""Which Maildir is a recipient's. Pure. A sender chooses the local part, so only what is harmless becomes a path."""

import os
import re
import unicodedata
from typing import Final, NamedTuple

MAX_PART: Final = 64
"""Characters of a local part (RFC 5321, section 4.5.3.1.1), far below a file name's 255 octets in any encoding."""

MAX_DOMAIN: Final = 253

_ASCII: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._+=-'")
"""What local parts of real users hold, the apostrophe of O'Brien too; nothing that a path or a shell gives a sense."""

_DOMAIN: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*+")
_PLACEHOLDER: Final = re.compile(r"\{(user|domain|detail)\}")


class Place(NamedTuple):
    """A recipient's Maildir, and the folder above all recipients' that it must be in."""

    path: str
    base: str


def maildir_of(template: str, recipient: str) -> Place:
    """Fill a recipient into a path with placeholders; raise ValueError, with the reason, where that isn't safe.

    Where the template names {detail}, {user} is the local part up to the first "+"; a component that names {detail}
    is left out for who has none, which in a Maildir++ is the inbox.
    """
    local, _, domain = recipient.lower().partition("@") if recipient.count("@") <= 1 else (recipient, "", "")
    detail = ""
    if "{detail}" in template:
        local, _, detail = local.partition("+")
    values = {"user": local, "domain": domain, "detail": detail}
    components = [part for part in template.split("/") if detail or "{detail}" not in part]
    wanted = "/".join(components)
    for name in _PLACEHOLDER.findall(wanted):
        _check(name, values[name])
    return Place(path=_PLACEHOLDER.sub(lambda match: values[match[1]], wanted), base=base_of(template))


def base_of(template: str) -> str:
    """Return the folders before the first placeholder; without one, the whole path."""
    before, brace, _ = template.partition("{")
    if not brace:
        return template
    return os.path.dirname(before) or "."  # noqa: PTH120 (a text, not a file: "/a/b-{user}" gives "/a")


def _check(name: str, value: str) -> None:
    if not value:
        raise ValueError(f"the target's path names {{{name}}}, but the recipient has none")
    safe = _is_domain(value) if name == "domain" else _is_part(value)
    if not safe:
        raise ValueError(f"the recipient's {name} is not safe as the name of a folder")


def _is_domain(value: str) -> bool:
    return len(value) <= MAX_DOMAIN and _DOMAIN.fullmatch(value) is not None


def _is_part(value: str) -> bool:
    if len(value) > MAX_PART or value[0] in ".-" or ".." in value:
        return False
    if not unicodedata.is_normalized("NFC", value):
        return False  # two spellings of one name would be two folders, or on some file systems one
    return all(c in _ASCII or (not c.isascii() and c.isalnum()) for c in value)
