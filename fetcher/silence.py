"""Why a port says nothing: a second connection finds out whether it waits for TLS. Nothing is said inside it."""

import asyncio
from typing import Final

from common.failures import PollError, PollResult
from fetcher.link import Link
from fetcher.streams import Limits, connect
from fetcher.tls import lax_context

POP3S_PORT: Final = 995
SUSPECTED_SECONDS: Final = 0.5
"""How long a server at the port for TLS may take to greet before it is asked what it waits for."""


def patience(link: Link, limits: Limits) -> float:
    """Return the seconds of silence after which a server is suspected to wait for TLS."""
    return SUSPECTED_SECONDS if link.server.port == POP3S_PORT else limits.doubt


async def waits_for_tls(link: Link, limits: Limits) -> bool:
    """Whether TLS answers where no greeting came. Nothing is verified: who it is doesn't matter here."""
    try:
        async with asyncio.timeout(limits.greeting / 2):
            streams = await connect(link, lax_context(), limits)
    except (PollError, TimeoutError):
        return False
    streams.close()
    return True


def tls_wanted(link: Link) -> PollError:
    """Return what to write where TLS begins with the first octet."""
    mend = f'write "{link.server}s" in server'
    return PollError(PollResult.TLS, f"{link.server}: the port speaks TLS from the first octet: {mend}")
