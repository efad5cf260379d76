"""What a server offers whose TLS we refuse: a second handshake that verifies nothing and says nothing, to name it."""

import asyncio

from common.failures import PollError
from fetcher.dialogue import Dialogue
from fetcher.link import Link
from fetcher.pop3 import command
from fetcher.streams import Limits, connect, upgraded
from fetcher.tls import LegacyTlsError, lax_context


async def explained(error: LegacyTlsError, link: Link, limits: Limits) -> LegacyTlsError:
    """Return the error with what the server offers, if it can be found out."""
    try:
        async with asyncio.timeout(limits.connect):
            return error.offering(await _offered(link, limits))
    except (PollError, TimeoutError):
        return error


async def _offered(link: Link, limits: Limits) -> str:
    context = lax_context()
    streams = await connect(link, context if link.implicit_tls else None, limits)
    try:
        if not link.implicit_tls:
            dialogue = Dialogue(link.server, streams, limits)
            await dialogue.greeting()
            await dialogue.ask(command("STLS"))
            streams = await upgraded(streams, context, link, limits)
        cipher = None if streams.ssl is None else streams.ssl.cipher()
        return "no encryption" if cipher is None or streams.ssl is None else f"{streams.ssl.version()} with {cipher[0]}"
    finally:
        streams.close()
