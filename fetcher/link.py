"""How a profile's server is reached: what of its settings concerns the connection, with its secrets resolved."""

from dataclasses import dataclass, field
from pathlib import Path

from common.failures import PpsError
from common.profile import Profile, Tls
from common.secrets import resolve
from common.server import Server
from fetcher.proxy import ProxyAccess
from fetcher.tls import Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A server, and the way to it."""

    server: Server
    tls: Tls = Tls.AUTO
    trust: Trust = field(default_factory=Trust)
    proxy: ProxyAccess | None = None

    @property
    def implicit_tls(self) -> bool:
        """Whether TLS begins with the first octet."""
        return self.server.implicit_tls or self.tls is Tls.IMPLICIT


async def link_of(profile: Profile, *, base: Path) -> Link:
    """Return the way to a profile's server; relative paths start at `base`. Raises PpsError that names the key."""
    return Link(
        server=profile.server,
        tls=profile.tls,
        trust=Trust(
            ca=_path(profile.ca, base),
            fingerprints=profile.fingerprint,
            client_cert=_path(profile.client_cert, base),
            client_key=_path(profile.client_key, base),
        ),
        proxy=await _proxy(profile, base),
    )


async def _proxy(profile: Profile, base: Path) -> ProxyAccess | None:
    if profile.proxy is None:
        return None
    try:
        password = None if profile.proxy_password is None else await resolve(profile.proxy_password, base=base)
    except PpsError as error:
        raise PpsError(f"proxy_password: {error}") from error
    return ProxyAccess(proxy=profile.proxy, user=profile.proxy_user, password=password)


def _path(path: str | None, base: Path) -> str | None:
    return None if path is None else str(base / path)
