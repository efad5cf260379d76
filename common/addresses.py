"""What an address, a domain and a local user are, for configuration and messages alike. Pure."""

import re
import unicodedata
from typing import Final

import idna

MAX_ADDRESS: Final = 320
"""Octets of an address: 64 of local part, "@", 255 of domain (RFC 5321, section 4.5.3.1)."""

MAX_DOMAIN: Final = 255
"""Octets of a domain (RFC 5321, section 4.5.3.1.2)."""

MAX_LOCAL_PART: Final = 64
"""Octets of a local part (RFC 5321, section 4.5.3.1.1)."""

_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_USER: Final = re.compile(r"[^\s<>\"(),:;@\[\\\]\x00-\x20\x7f]+")


def a_label(domain: str) -> str:
    """Return the lower-case A-label form of a domain (RFC 5890), or raise ValueError."""
    text = domain.strip().rstrip(".").lower()
    try:
        ascii_form = text if text.isascii() else idna.encode(text, uts46=True).decode()
    except idna.IDNAError as error:
        raise ValueError(f"{domain!r} is not a domain") from error
    if len(ascii_form) > MAX_DOMAIN or not all(map(_LABEL.fullmatch, ascii_form.split("."))):
        raise ValueError(f"{domain!r} is not a domain")
    return ascii_form


def local_user(text: str) -> str:
    """Return "user" or "user@domain" as it is compared: lower-case, the domain in A-labels; or raise ValueError."""
    local, at, domain = text.strip().rpartition("@")
    local = unicodedata.normalize("NFC", (local if at else domain).lower())
    if _USER.fullmatch(local) is None or len(local.encode()) > MAX_LOCAL_PART:
        raise ValueError(f"{text!r} is not a user or user@domain")
    return f"{local}@{a_label(domain)}" if at else local


def is_a_label(domain: str) -> bool:
    """Whether this may be a domain in the form that is compared, cheaply: it was checked whole where it was typed."""
    return 0 < len(domain) <= MAX_DOMAIN and domain.isascii() and domain == domain.lower()


def is_address(text: str) -> bool:
    """Whether this is safe as an SMTP argument and a log field: one line, bounded, no angle bracket or blank."""
    return 0 < len(text.encode(errors="replace")) <= MAX_ADDRESS and text.isprintable() and not set(text) & set("<> ")
