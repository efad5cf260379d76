"""The two directions of a connection: opening them, upgrading them to TLS, and the deadlines and caps that hold."""

import asyncio
import contextlib
import errno
import os
import select
import socket
import ssl
import time
from dataclasses import dataclass, field, replace
from typing import Final

from common.failures import PollError, PollResult
from fetcher.link import Link
from fetcher.proxy import connect_through
from fetcher.tls import handshake_failure

READ_OCTETS: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Deadlines and caps; each keeps a hostile or broken server from holding a session for ever."""

    connect: float = 30.0  # seconds, TLS handshake included
    greeting: float = 60.0  # seconds; tarpits take long
    doubt: float = 3.0  # seconds without a greeting, then a second connection asks whether the port waits for TLS
    idle: float = 60.0  # seconds without an octet
    reply: float = 300.0  # seconds for a reply, and 1 s more for each KiB of it: a least rate
    least_rate: int = 1024  # octets a second
    multi_line: int = 64 * 1024 * 1024  # octets of LIST, UIDL, CAPA or TOP: a million mails' UIDLs
    mail: int = 256 * 1024 * 1024  # octets of one mail


class Reader(asyncio.StreamReader):
    """A reader that can tell, without a turn of the loop, whether there is something to read."""

    @property
    def holds(self) -> bool:
        """Whether octets, the end or an error wait here."""
        return bool(self._buffer) or self._eof or self.exception() is not None  # type: ignore[attr-defined]


@dataclass(slots=True)
class Streams:
    """The two directions of a connection, and who is at the other end."""

    reader: Reader
    writer: asyncio.StreamWriter
    peer: str | None  # None: behind a proxy
    underneath: asyncio.StreamWriter | None = None  # of a connection that began without TLS: collected, it would close
    took: dict[str, float] = field(default_factory=dict)  # seconds to connect, and for the TLS handshake

    @property
    def encrypted(self) -> bool:
        """Whether TLS is in use."""
        return self.ssl is not None

    @property
    def ssl(self) -> ssl.SSLObject | None:
        """The encryption, if there is any."""
        found: ssl.SSLObject | None = self.writer.get_extra_info("ssl_object")
        return found

    @property
    def silent(self) -> bool:
        """Whether surely nothing has come, neither here nor in the socket. With TLS only a read can tell."""
        end = self.writer.get_extra_info("socket")
        if self.encrypted or self.reader.holds or end is None:
            return False
        looked = select.poll()
        looked.register(end.fileno(), select.POLLIN)
        return not looked.poll(0)

    def write(self, octets: bytes) -> None:
        """Send octets, or queue them until the other end reads."""
        self.writer.write(octets)

    def close(self) -> None:
        """Drop the connection."""
        with contextlib.suppress(OSError, RuntimeError):
            self.writer.transport.abort()


async def connect(link: Link, context: ssl.SSLContext | None, limits: Limits) -> Streams:
    """Connect, with TLS from the first byte if there is a context; raises PollError."""
    server = link.server
    began = time.monotonic()
    try:
        async with asyncio.timeout(limits.connect):
            reader, writer, connected_at = await _opened(link, context, limits)
    except TimeoutError:
        raise PollError(PollResult.NETWORK, f"{server}: no connection in {limits.connect:.0f} s") from None
    except ssl.SSLError as error:
        raise handshake_failure(error, server, at_once=True) from error
    except OSError as error:
        raise PollError(PollResult.NETWORK, f"{server}: {_unreachable(error)}") from error
    peer = None if link.proxy is not None else str(writer.get_extra_info("peername")[0])
    handshake = {} if context is None else {"tls": time.monotonic() - connected_at}
    return Streams(reader, writer, peer, took={"connect": connected_at - began, **handshake})


async def _opened(
    link: Link, context: ssl.SSLContext | None, limits: Limits
) -> tuple[Reader, asyncio.StreamWriter, float]:
    """Return both directions, and when the connection was there and the handshake began."""
    loop = asyncio.get_running_loop()
    reader = Reader(limit=READ_OCTETS, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    connected_at = 0.0

    def connected() -> asyncio.StreamReaderProtocol:  # is called between the two
        nonlocal connected_at
        connected_at = time.monotonic()
        return protocol

    host, port = link.server.host, link.server.port
    named = host if context is not None else None
    if link.proxy is None:
        transport, _ = await loop.create_connection(
            connected, host, port, ssl=context, server_hostname=named, happy_eyeballs_delay=0.25
        )
    else:
        through = await connect_through(link.proxy, link.server, limits.connect)
        try:
            transport, _ = await loop.create_connection(connected, sock=through, ssl=context, server_hostname=named)
        except BaseException:
            through.close()
            raise
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop), connected_at


async def upgraded(streams: Streams, context: ssl.SSLContext, link: Link, limits: Limits) -> Streams:
    """Begin TLS on the connection. The old reader is left behind with whatever it may still hold in cleartext."""
    server = link.server
    loop = asyncio.get_running_loop()
    reader = Reader(limit=READ_OCTETS, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    began = time.monotonic()
    try:
        async with asyncio.timeout(limits.connect):
            transport = await loop.start_tls(streams.writer.transport, protocol, context, server_hostname=server.host)
    except TimeoutError:
        raise PollError(PollResult.TLS, f"{server}: no TLS handshake in {limits.connect:.0f} s") from None
    except ssl.SSLError as error:
        raise handshake_failure(error, server, at_once=False) from error
    except OSError as error:
        raise PollError(PollResult.TLS, f"{server}: the TLS handshake was cut: {cause(error)}") from error
    if transport is None:
        raise PollError(PollResult.TLS, f"{server}: the TLS handshake was cut")
    protocol.connection_made(transport)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    took = {**streams.took, "tls": time.monotonic() - began}
    return replace(streams, reader=reader, writer=writer, underneath=streams.writer, took=took)


def _unreachable(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "there is no such host: check the name in server"
    refused = errno.ECONNREFUSED
    if error.errno == refused or f"[Errno {refused}]" in str(error):  # of several addresses, all are named
        return "the connection was refused: check the port in server"
    return f"can't connect: {os.strerror(error.errno) if error.errno else cause(error)}"


def cause(error: BaseException) -> str:
    """Return what went wrong in the system's words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
