"""A second handshake with a server whose TLS we refuse, that verifies nothing and says nothing: to name what it has."""

import asyncio
import ssl

from common.failures import PollError
from fetcher.dialogue import Dialogue
from fetcher.link import Link
from fetcher.pop3 import command
from fetcher.streams import Limits, connect, upgraded
from fetcher.tls import RefusedTlsError, Shown, fingerprint_of, lax_context


async def explained(error: RefusedTlsError, link: Link, limits: Limits) -> PollError:
    """Return the error with what the server shows, if it can be found out."""
    try:
        async with asyncio.timeout(limits.connect):
            shown = await _shown(link, limits)
    except (PollError, TimeoutError):
        return error
    return error if shown is None else error.seen(shown)


async def _shown(link: Link, limits: Limits) -> Shown | None:
    context = lax_context()
    streams = await connect(link, context if link.implicit_tls else None, limits)
    try:
        if not link.implicit_tls:
            dialogue = Dialogue(link.server, streams, limits)
            await dialogue.greeting()
            await dialogue.ask(command("STLS"))
            streams = await upgraded(streams, context, link, limits)
        return None if streams.ssl is None else _of(streams.ssl)
    finally:
        streams.close()


def _of(connection: ssl.SSLObject) -> Shown | None:
    cipher, fingerprint = connection.cipher(), fingerprint_of(connection)
    if cipher is None or fingerprint is None:
        return None
    return Shown(encryption=f"{connection.version()} with {cipher[0]}", fingerprint=fingerprint)
