"""Where a process shows /metrics, /live and /ready, as `[service] http` says it. Pure."""

from collections.abc import Mapping
from typing import Final, NamedTuple

OFF: Final = "off"
FORM: Final = '"off", "127.0.0.1:9400" (this machine alone), "*:9400" (everybody), or with several ports "*:9400-9409"'
ROLES: Final = ("run", "fetcher", "router", "deliverer")

_MAX_PORT: Final = 65535
_MAX_PORTS: Final = 100
"""Ports of one range: more is a slip of the pen, and a wide door."""


class Place(NamedTuple):
    """A host, None for all addresses of this machine, and the ports of which the first free one is taken."""

    host: str | None
    ports: range

    def __str__(self) -> str:
        """Return the form that `parse_place` reads."""
        host = "*" if self.host is None else f"[{self.host}]" if ":" in self.host else self.host
        last = f"-{self.ports[-1]}" if len(self.ports) > 1 else ""
        return f"{host}:{self.ports[0]}{last}"


def parse_place(text: object) -> Place | None:
    """Read "HOST:PORT" or "HOST:FIRST-LAST", None for "off"; raise ValueError."""
    if text == OFF:
        return None
    host, colon, ports = text.strip().rpartition(":") if isinstance(text, str) else ("", "", "")
    first, dash, last = ports.partition("-")
    bracketed = host.startswith("[") and host.endswith("]")
    if not (colon and host and (bracketed or ":" not in host) and _is_port(first) and (not dash or _is_port(last))):
        raise ValueError(f"is not {FORM}")
    found = range(int(first), int(last or first) + 1)
    if not 0 < len(found) <= _MAX_PORTS:
        raise ValueError(f"{ports} is not a range of at most {_MAX_PORTS} ports, the lowest first")
    return Place(None if host == "*" else host.strip("[]"), found)


def checked_http(value: object) -> object:
    """Return `[service] http` if it can be read, one text or one for each role; raise ValueError."""
    if not isinstance(value, Mapping):
        parse_place(value)
        return value
    for role, place in value.items():
        if role not in ROLES:
            raise ValueError(f"{role} is not one of {', '.join(ROLES)}")
        try:
            parse_place(place)
        except ValueError as error:
            raise ValueError(f"{role}: {error}") from error
    return value


def place_of(role: str, http: str | Mapping[str, str]) -> Place | None:
    """Return where a role shows its pages, None for nowhere."""
    return parse_place(http if isinstance(http, str) else http.get(role, OFF))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= _MAX_PORT
