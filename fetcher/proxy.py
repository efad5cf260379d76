"""Reaching a server through a SOCKS5 proxy (RFC 1928, 1929), which also looks up its name."""

import socket
from dataclasses import dataclass
from typing import Final

from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType
from python_socks.async_.asyncio import Proxy as SocksClient

from common.failures import PollError, PollResult
from common.secrets import Secret
from common.server import Server
from common.transport import Proxy

_REFUSED_SIGN_IN: Final = "authentication"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAccess:
    """A proxy, and the account there if it asks for one."""

    proxy: Proxy
    user: str | None = None
    password: Secret | None = None


async def connect_through(access: ProxyAccess, server: Server, seconds: float) -> socket.socket:
    """Return a connection to the server that the proxy made; raises PollError, which tells whose failure it is."""
    client = SocksClient(
        ProxyType.SOCKS5,
        access.proxy.host,
        access.proxy.port,
        username=access.user,
        password=None if access.password is None else access.password.reveal(),
        rdns=True,
    )
    here = f"{server}: proxy {access.proxy}"
    try:
        return await client.connect(server.host, server.port, timeout=seconds)
    except ProxyTimeoutError:
        raise PollError(PollResult.NETWORK, f"{here}: no connection in {seconds:.0f} s") from None
    except ProxyConnectionError:
        raise PollError(PollResult.NETWORK, f"{here}: can't reach it: check proxy") from None
    except ProxyError as error:
        text = str(error).rstrip(".")
        mend = ": check proxy_user and proxy_password" if _REFUSED_SIGN_IN in text.lower() else ""
        raise PollError(PollResult.NETWORK, f"{here}: {text}{mend}") from None
