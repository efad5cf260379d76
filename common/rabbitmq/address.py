"""Where RabbitMQ is and who we are there, as `[service] broker` says it. Pure; no text here ever holds the password."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from common.failures import UsageError

PORTS: Final = {"amqp": 5672, "amqps": 5671}
FORM: Final = "amqp://user:password@host:5672/vhost"

_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One host of a cluster."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return "host:port", an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A cluster's nodes, of which any will do, and the account on it."""

    nodes: tuple[Node, ...]
    user: str
    password: str = field(repr=False)
    vhost: str
    tls: bool


def parse_address(url: str) -> Address:
    """Read "amqp[s]://user:password@host[:port][,host[:port]…][/vhost]"; raise UsageError."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _refused("the hosts can't be read") from error
    if parts.scheme not in PORTS:
        raise _refused(f"{parts.scheme}:// is not amqp:// or amqps://" if parts.scheme else "it isn't a URL")
    if parts.query or parts.fragment:
        raise _refused('nothing may follow the vhost; write "#", "?", "/" and "@" in a password as %23, %3F, %2F, %40')
    account, _, hosts = parts.netloc.rpartition("@")
    user, colon, password = account.partition(":")
    if not user or not colon or not password:
        raise _refused("user and password are missing")
    return Address(
        nodes=tuple(_node(text, PORTS[parts.scheme]) for text in hosts.split(",")),
        user=unquote(user),
        password=unquote(password),
        vhost=_vhost(parts),
        tls=parts.scheme == "amqps",
    )


def parse_nodes(url: str, option: str) -> Address:
    """Read "amqp[s]://host[:port][,host[:port]…][/vhost]", where nobody signs in; raise UsageError."""
    scheme, separator, rest = url.partition("://")
    if "@" in rest or not separator:
        raise UsageError(f"{option}: nodes and vhost without a user: amqp://HOST[:PORT][,HOST…]/VHOST")
    try:
        return parse_address(f"{scheme}://nobody:nothing@{rest}")
    except UsageError as error:
        raise UsageError(f"{option}: {str(error).removeprefix('[service] broker: ').partition(';')[0]}") from None


def _node(text: str, default_port: int) -> Node:
    bracketed = text.startswith("[")
    host, _, rest = text[1:].partition("]") if bracketed else (text, "", "")
    if not bracketed:
        host, colon, rest = text.partition(":")
        rest = colon + rest
    port = rest.removeprefix(":") if rest.startswith(":") else str(default_port) if not rest else ""
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
        raise _refused(f"{text!r} is not a host or host:port")
    return Node(host=host, port=int(port))


def _vhost(parts: SplitResult) -> str:
    path = parts.path.removeprefix("/")
    if "/" in path:
        raise _refused('write a "/" in the vhost\'s name as %2F')
    return unquote(path) or "/"


def _refused(what: str) -> UsageError:
    return UsageError(f"[service] broker: {what}; write it as {FORM}")
