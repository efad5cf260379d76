"""The dialogue on one connection: commands out, replies in, in order, with deadlines and caps.

Every failure is a PollError in one line that names the server.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from common.failures import PollError, PollResult
from common.server import Server
from fetcher.link import Link
from fetcher.pop3 import Challenge, Chunk, DesynchronisedError, End, Event, Expect, Reader, Status
from fetcher.streams import READ_OCTETS, Limits, Streams, cause, connect
from fetcher.tls import check_fingerprint

NO_CERTIFICATE: Final = "TLSV13_ALERT_CERTIFICATE_REQUIRED"


class Dialogue:
    """Sends commands and reads their replies. Once it has failed, the connection is good for nothing more."""

    def __init__(self, server: Server, streams: Streams, limits: Limits) -> None:
        self.server = server
        self.streams = streams
        self.limits = limits
        self.mask: Callable[[str], str] | None = None  # takes secrets out of what the server repeats of them
        self.round_trips = 0  # waits for the server that nothing else overlapped
        self._protocol = Reader()
        self._events: deque[Event] = deque()
        self._fault: DesynchronisedError | None = None
        self._spoke_pop3 = False
        self._ahead = False  # commands were last sent before the replies to earlier ones had come
        self._reply_octets = 0
        self._reply_began = 0.0

    @property
    def in_step(self) -> bool:
        """Whether every reply has come, and nothing else has."""
        return self._protocol.idle and not self._events and self._fault is None

    @property
    def awaits_ahead(self) -> bool:
        """Whether nothing has come yet of a reply to a command that was sent ahead; inside a reply, no."""
        return self._ahead and self._protocol.pending > 0 and not self._protocol.in_body

    async def send(self, octets: bytes, expected: Sequence[Expect]) -> None:
        """Send commands, and announce their replies; raises PollError. A server out of step is told nothing more."""
        if self._fault is not None:
            if self._events:
                return  # what was read before the fault is still good; what is asked here will not be answered
            raise self._not_pop3(self._fault) from self._fault
        waiting = self._protocol.pending > 0 or bool(self._events)
        self._ahead = waiting or len(expected) > 1
        if not waiting:
            self.round_trips += 1
            await self._require_silence()
        for form in expected:
            self._protocol.expect(form)
        self.streams.write(octets)

    async def ask(self, line: bytes) -> Status:
        """Send a command and return its reply of one line."""
        await self.send(line, [Expect.STATUS])
        return await self.status()

    async def ask_body(self, line: bytes) -> tuple[Status, bytes]:
        """Send a command and return its reply of many lines."""
        await self.send(line, [Expect.BODY])
        return await self.body_reply()

    async def greeting(self) -> Status:
        """Return the status line that the server begins with."""
        self._protocol.expect(Expect.STATUS)
        return await self.status(idle=self.limits.greeting)

    async def status(self, *, idle: float | None = None) -> Status:
        """Return the next reply's status line."""
        self._begin_reply()
        event = await self._event(idle or self.limits.idle)
        if not isinstance(event, Status):
            raise self.broken("its replies are out of step")
        self._spoke_pop3 = True
        if self.mask is not None and not event.ok:  # what is refused is shown
            return replace(event, text=self.mask(event.text))
        return event

    async def challenge(self, line: bytes) -> Challenge | Status:
        """Send a line of AUTH's and return what the server asks next, or how it ended."""
        await self.send(line, [Expect.CHALLENGE])
        self._begin_reply()
        event = await self._event(self.limits.idle)
        if not isinstance(event, Challenge | Status):
            raise self.broken("its replies are out of step")
        return event

    async def body_reply(self) -> tuple[Status, bytes]:
        """Return the next reply, of many lines."""
        status = await self.status()
        body = bytearray()
        if status.ok:

            async def keep(chunk: bytes) -> None:
                body.extend(chunk)

            await self.body_into(keep, self.limits.multi_line)
        return status, bytes(body)

    async def body_into(self, write: Callable[[bytes], Awaitable[None]], limit: int) -> int:
        """Write the body that follows a status line, of at most `limit` octets; return how many it had."""
        size = 0
        self._begin_reply()
        while isinstance(event := await self._event(self.limits.idle), Chunk):
            size += len(event.octets)
            if size > limit:
                raise self.broken(f"a reply over {limit} octets")
            began = _now()
            await write(event.octets)
            self._reply_began += _now() - began  # our own disk's time is not the server's
        if not isinstance(event, End):
            raise self.broken("its replies are out of step")
        return size

    def broken(self, what: str) -> PollError:
        """Return the error for a server that broke the rules."""
        return PollError(PollResult.PROTOCOL, f"{self.server}: {what}")

    async def _event(self, idle: float) -> Event:
        while not self._events:
            if self._fault is not None:  # what was read before it is good
                raise self._not_pop3(self._fault) from self._fault
            octets = await self._read(idle)
            self._feed(octets)
        return self._events.popleft()

    def _feed(self, octets: bytes) -> None:
        try:
            self._events.extend(self._protocol.feed(octets))
        except DesynchronisedError as error:
            self._fault = error

    def _begin_reply(self) -> None:
        self._reply_octets = 0
        self._reply_began = _now()

    async def _read(self, idle: float) -> bytes:
        took = _now() - self._reply_began
        left = self.limits.reply + self._reply_octets / self.limits.least_rate - took
        if left <= 0:
            raise PollError(PollResult.NETWORK, f"{self.server}: a reply took over {took:.0f} s: too slow")
        try:
            async with asyncio.timeout(min(idle, left)):
                octets = await self._received()
        except TimeoutError:
            if left < idle:
                return await self._read(idle)
            raise PollError(PollResult.NETWORK, f"{self.server}: no answer in {idle:.0f} s") from None
        if not octets:
            raise PollError(PollResult.NETWORK, f"{self.server}: the server closed the connection")
        self._reply_octets += len(octets)
        return octets

    async def _received(self) -> bytes:
        try:
            return await self.streams.reader.read(READ_OCTETS)
        except (OSError, ssl.SSLError) as error:
            if isinstance(error, TimeoutError):  # the connection's own, as the system tells it
                raise PollError(PollResult.NETWORK, f"{self.server}: connection lost: timed out") from error
            if (
                isinstance(error, ssl.SSLError) and error.reason == NO_CERTIFICATE
            ):  # TLS 1.3 tells it after the handshake
                mend = "it asks for a client certificate: name one in client_cert"
                raise PollError(PollResult.TLS, f"{self.server}: {mend}") from error
            raise PollError(PollResult.NETWORK, f"{self.server}: connection lost: {cause(error)}") from error

    async def _require_silence(self) -> None:
        """Refuse what has come although nothing was asked: it would be taken for the next command's reply."""
        if self.streams.silent:
            return
        for _ in range(2):  # what lies in the socket reaches the stream in the second turn of the loop
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0):
                octets = await self._received()
        except TimeoutError:
            return
        if not octets:
            raise PollError(PollResult.NETWORK, f"{self.server}: the server closed the connection")
        self._feed(octets)
        if self._fault is not None:
            raise self._not_pop3(self._fault) from self._fault

    def _not_pop3(self, error: DesynchronisedError) -> PollError:
        if not self._spoke_pop3:
            return self.broken(f"what answers there does not speak POP3 ({error}): check host and port in server")
        return self.broken(str(error))


def _now() -> float:
    return asyncio.get_running_loop().time()


async def open_dialogue(link: Link, context: ssl.SSLContext | None, limits: Limits) -> Dialogue:
    """Connect; with a context, to a server whose certificate is then known to be a right one."""
    streams = await connect(link, context, limits)
    if context is not None:
        try:
            check_fingerprint(link.trust, streams.ssl, link.server)
        except PollError:
            streams.close()
            raise
    return Dialogue(link.server, streams, limits)
