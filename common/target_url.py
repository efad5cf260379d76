"""Target URLs: where deliveries go, as an administrator writes it. Pure: config checks with it, deliverers open it."""

import ipaddress
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from common.profile import Tls

PLACEHOLDERS: Final = ("user", "domain", "detail")
"""What a Maildir's path may name: the local part, the domain, and what follows the first "+" of the local part."""

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


QUARANTINE: Final = "quarantine"
"""The `refused` of a target whose refusals wait for a person."""

REFUSED_SUFFIX: Final = "-refused"


def refused_target(name: str) -> str:
    """Return the name of the target that takes what the target `name` refuses."""
    return f"{name}{REFUSED_SUFFIX}"


class Transport(StrEnum):
    """How a target is spoken to; the value is the URL's scheme."""

    SMTP = "smtp"
    SMTPS = "smtps"
    LMTP = "lmtp"
    LMTP_UNIX = "lmtp+unix"
    MAILDIR = "maildir"


_PORTS: Final = {Transport.SMTP: 25, Transport.SMTPS: 465, Transport.LMTP: 24}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetUrl:
    """A target URL, read. Only what its transport needs is set."""

    transport: Transport
    host: str = ""
    port: int = 0
    path: str = ""  # of a socket, or of a Maildir with its placeholders
    create: bool = False  # make Maildirs that aren't there

    @property
    def loopback(self) -> bool:
        """Whether it never leaves this machine, so that cleartext is no leak."""
        if not self.host or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        """Return the URL that `parse_target` reads."""
        if self.path:
            return f"{self.transport}:{self.path}{'?create=yes' if self.create else ''}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}://{host}:{self.port}"


def parse_target(url: str) -> TargetUrl:
    """Read smtp://, smtps://, lmtp://HOST[:PORT], lmtp+unix:PATH or maildir:PATH[?create=yes]; raise ValueError."""
    scheme, colon, rest = url.strip().partition(":")
    try:
        transport = Transport(scheme.lower())
    except ValueError:
        raise ValueError(_unknown(scheme if colon else "")) from None
    if transport is Transport.MAILDIR:
        return _maildir(rest)
    if transport is Transport.LMTP_UNIX:
        return TargetUrl(transport=transport, path=_path(rest, transport))
    return _network(transport, rest)


def anchored_target(text: str, base: Path) -> str:
    """Return a target's URL with its path, if it has one, made absolute."""
    url = parse_target(text)
    return str(replace(url, path=str(base / url.path)) if url.path else url)


def encryption(url: TargetUrl, tls: Tls) -> Tls:
    """Return what `tls` means for this target: implicit, starttls or none; raise ValueError for a contradiction.

    Cleartext over a network happens only on the administrator's word; on loopback it is the rule, since the
    certificates of local servers are rarely ones that a client could verify.
    """
    if url.transport is Transport.SMTPS:
        if tls in {Tls.STARTTLS, Tls.NONE}:
            raise ValueError(f'"{tls}" contradicts {url}: write smtp:// for it')
        return Tls.IMPLICIT
    if url.transport in {Transport.LMTP_UNIX, Transport.MAILDIR}:
        if tls not in {Tls.AUTO, Tls.NONE}:
            raise ValueError(f'"{tls}" makes no sense with {url.transport}:, which stays on this machine')
        return Tls.NONE
    if tls is not Tls.AUTO:
        return tls
    return Tls.NONE if url.loopback else Tls.STARTTLS


def _unknown(scheme: str) -> str:
    known = [str(transport) for transport in Transport]
    if not re.fullmatch(r"[A-Za-z0-9+.-]{1,20}", scheme):  # it may be anything, even a password: not repeated
        return f"a target is a URL that begins with {', '.join(f'{name}:' for name in known)}"
    nearest = get_close_matches(scheme.lower(), known, n=1, cutoff=0)[0]
    return f"{scheme!r} is no kind of target: did you mean {nearest!r}?"


def _network(transport: Transport, rest: str) -> TargetUrl:
    form = f"write {transport}://HOST or {transport}://HOST:PORT"
    if not rest.startswith("//"):
        raise ValueError(form)
    try:
        parts = urlsplit(f"{transport}:{rest}")
        port = parts.port
    except ValueError:
        raise ValueError(form) from None
    if "@" in parts.netloc:
        raise ValueError("user and password have their own keys: leave them out of the URL")
    if parts.path.strip("/") or parts.query or parts.fragment or not _is_host(parts.hostname or "") or port == 0:
        raise ValueError(form)
    return TargetUrl(transport=transport, host=parts.hostname or "", port=port or _PORTS[transport])


def _is_host(host: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9._:-]{1,253}", host) is not None and not host.startswith("-")


def _maildir(rest: str) -> TargetUrl:
    path, question, query = rest.partition("?")
    path = _path(path, Transport.MAILDIR)
    create = "no"
    for key, value in parse_qsl(query, keep_blank_values=True) or [("", "")] * bool(question):
        if key != "create" or value not in {"yes", "no"}:
            raise ValueError("a Maildir's only option is create=yes")
        create = value
    for name in _PLACEHOLDER.findall(path):
        if name not in PLACEHOLDERS:
            nearest = get_close_matches(name, PLACEHOLDERS, n=1, cutoff=0)[0]
            raise ValueError(f"{{{name}}} is no placeholder: did you mean {{{nearest}}}?")
    if set(_PLACEHOLDER.sub("", path)) & set("{}") or ".." in Path(path).parts:
        raise ValueError('a Maildir\'s path holds no stray brace and no ".."')
    return TargetUrl(transport=Transport.MAILDIR, path=path, create=create == "yes")


def _path(rest: str, transport: Transport) -> str:
    path = rest[2:] if rest.startswith("///") else rest
    if not path or path.startswith("//") or not path.isprintable():
        raise ValueError(f"write {transport}:/PATH")
    return path
