"""Where a mailbox is: the remote server, as configurations write it. Pure."""

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from common.addresses import a_label

POP3_PORT: Final = 110
POP3S_PORT: Final = 995

_SERVER: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(?:\s+|:)(?P<port>\d{1,5})(?P<tls>s?)")
_MAX_PORT: Final = 65535


class Server(NamedTuple):
    """Where a mailbox is: host, port, and whether TLS begins with the first byte."""

    host: str
    port: int
    implicit_tls: bool

    def __str__(self) -> str:
        """Return the form that `parse_server` reads: "mail.example.com 995s"."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host} {self.port}{'s' if self.implicit_tls else ''}"


def parse_server(text: object) -> Server:
    """Read "HOST PORT[s]", "HOST:PORT[s]", "pop3://HOST[:PORT]" or "pop3s://HOST[:PORT]"; raise ValueError."""
    if isinstance(text, Server):
        return text
    if not isinstance(text, str):
        raise ValueError('write it as "HOST PORT" or, with TLS from the first byte, "HOST PORTs"')  # noqa: TRY004 (pydantic reads ValueError)
    if "://" in text:
        return _server_from_url(text)
    match = _SERVER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'{text!r} is not "HOST PORT" or, with TLS from the first byte, "HOST PORTs"')
    return _server(match["host"], int(match["port"]), implicit_tls=match["tls"] == "s")


def _server_from_url(text: str) -> Server:
    parts = urlsplit(text)
    if parts.scheme not in {"pop3", "pop3s"}:
        raise ValueError(f"{parts.scheme}:// is not pop3:// or pop3s://")
    if parts.username or parts.password or parts.path.strip("/") or parts.query:
        raise ValueError("a server's URL is only pop3://HOST[:PORT] or pop3s://HOST[:PORT]")
    implicit = parts.scheme == "pop3s"
    port = parts.port or (POP3S_PORT if implicit else POP3_PORT)
    return _server(parts.hostname or "", port, implicit_tls=implicit)


def _server(host: str, port: int, *, implicit_tls: bool) -> Server:
    host = host.strip("[]").lower()
    if not 0 < port <= _MAX_PORT:
        raise ValueError(f"port {port} is not between 1 and {_MAX_PORT}")
    if ":" not in host:
        host = a_label(host)
    return Server(host, port, implicit_tls)
