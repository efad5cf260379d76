"""How a server is reached and recognised, beyond host and port: SOCKS5 proxies and certificate fingerprints. Pure."""

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

SOCKS_PORT: Final = 1080

_FINGERPRINT: Final = re.compile(r"(?:sha256[:=])?((?:[0-9a-f]{2}:?){31}[0-9a-f]{2})", re.IGNORECASE)


class Proxy(NamedTuple):
    """A SOCKS5 proxy, which also looks up the names (RFC 1928)."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the form that `parse_proxy` reads."""
        return f"socks5://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse_proxy(text: object) -> Proxy:
    """Read "socks5://HOST[:PORT]"; raise ValueError. socks5h, as curl calls it, is the same: the proxy resolves."""
    if isinstance(text, Proxy):
        return text
    parts = urlsplit(text.strip() if isinstance(text, str) else "")
    if parts.scheme not in {"socks5", "socks5h"} or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError('write it as "socks5://HOST:PORT"')
    if "@" in parts.netloc:
        raise ValueError("holds a user: write it into proxy_user, and where its password is found into proxy_password")
    try:
        return Proxy(parts.hostname, parts.port or SOCKS_PORT)
    except ValueError as error:
        raise ValueError(f"its port is no port: {error}") from None


def parse_fingerprint(text: object) -> str:
    """Read a certificate's SHA-256 as openssl or mpop write it; return 64 lower-case digits. Raise ValueError."""
    match = _FINGERPRINT.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(
            "is the SHA-256 of the server's certificate: 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` "
            "writes them"
        )
    return match[1].replace(":", "").lower()
