"""One POP3 connection: sockets, TLS, deadlines and caps around the protocol of `fetcher/pop3.py`.

Every failure is a PollError in one line that names the server. Without QUIT the server deletes nothing, so in any doubt
the connection is dropped.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, Self, TypeVar

from common.failures import PollError, PollResult
from common.profile import Server, Tls
from fetcher.pop3 import (
    Capabilities,
    Chunk,
    DesynchronisedError,
    End,
    Event,
    Expect,
    Listed,
    Reader,
    Status,
    command,
    parse_capabilities,
    parse_sizes,
    parse_uidls,
    refusal,
)
from fetcher.streams import READ_OCTETS, Limits, Streams, cause, connect, upgraded
from fetcher.tls import client_context, needs_encryption

WINDOW: Final = 16
"""Commands sent ahead of their replies where the server offers PIPELINING (RFC 2449, section 6.6)."""

WINDOW_OCTETS: Final = 4 * 1024 * 1024
"""Listed octets asked for ahead: a session that must stop soon is not behind sixteen large mails."""


class Sink(Protocol):
    """Takes the octets of one mail, in order."""

    async def write(self, chunk: bytes) -> None:
        """Take the next octets."""

    async def discard(self) -> None:
        """Forget them: the mail was cut."""


S = TypeVar("S", bound=Sink)


@dataclass(frozen=True, slots=True)
class Retrieved(Generic[S]):
    """A mail whose end is certain, or the server's refusal to give it."""

    number: int
    sink: S | None
    refused: str | None = None


class Connection:
    """A POP3 connection. `open`, `authenticate`, then the rest; `quit` makes deletions final, `abort` never does."""

    def __init__(self, server: Server, streams: Streams, limits: Limits) -> None:
        self.server = server
        self.capabilities = Capabilities({}, known=False)
        self.round_trips = 0  # waits for the server that nothing else overlapped
        self._streams = streams
        self._limits = limits
        self._protocol = Reader()
        self._events: deque[Event] = deque()
        self._sizes: dict[int, int] = {}
        self._reply_octets = 0
        self._reply_began = 0.0

    @classmethod
    async def open(cls, server: Server, *, tls: Tls, ca: str | None, limits: Limits | None = None) -> Self:
        """Connect, read the greeting, encrypt as the profile says, ask for CAPA; raises PollError."""
        limits = limits or Limits()
        implicit = server.implicit_tls or tls is Tls.IMPLICIT
        context = client_context(ca, server) if implicit else None
        connection = cls(server, await connect(server, context, limits), limits)
        try:
            await connection._greet()
            await connection._ask_capabilities()
            if not implicit and tls is not Tls.NONE:
                await connection._encrypt(tls, ca)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def authenticate(self, user: str, password: str) -> None:
        """Sign in with USER and PASS (RFC 1939, section 7); raises PollError, which never holds the password."""
        for verb, argument in (("USER", user), ("PASS", password)):
            try:
                line = command(verb, argument)
            except ValueError as error:
                raise PollError(PollResult.AUTH, f"{self.server}: {error}") from None
            status = await self._ask(line)
            if not status.ok:
                result = refusal(status, PollResult.AUTH)
                said = status.text.replace(password, "***") if password else status.text
                mend = ": check user and password" if result is PollResult.AUTH else ""
                raise PollError(result, f"{self.server}: sign-in as {user} refused: {said}{mend}")

    async def listing(self) -> tuple[Listed, ...]:
        """Return what the mailbox holds; raises PollError where UIDL is offered but fails: never "all is new"."""
        sizes_status, sizes = await self._ask_body(command("LIST"))
        if not sizes_status.ok:
            raise self._broken(f"LIST refused: {sizes_status.text}")
        self._sizes = parse_sizes(sizes)
        if not self._sizes:
            return ()
        status, body = await self._ask_body(command("UIDL"))
        if not status.ok and self.capabilities.has("UIDL"):
            raise self._broken(f"UIDL is offered, but refused now: {status.text}")
        uidls = parse_uidls(body) if status.ok else {}
        return tuple(Listed(number, size, uidls.get(number)) for number, size in sorted(self._sizes.items()))

    async def tops(self, numbers: Sequence[int]) -> dict[int, bytes | None]:
        """Return each mail's header block through TOP n 0; None where the server gives none."""
        found: dict[int, bytes | None] = {}
        if not self.capabilities.top:
            return dict.fromkeys(numbers)
        for group in _groups(numbers, self._window):
            self._send(b"".join(command("TOP", str(number), "0") for number in group), [Expect.BODY] * len(group))
            for number in group:
                status, body = await self._body_reply()
                found[number] = body if status.ok else None
        return found

    async def retrieve(self, numbers: Iterable[int], sink: Callable[[int], S]) -> AsyncIterator[Retrieved[S]]:
        """Yield mails, each once the next reply has confirmed where it ended (after the last one, NOOP's).

        A broken connection raises PollError; sinks that were not yielded are discarded then.
        """
        wanted = iter(numbers)
        asked: deque[int] = deque()
        whole: Retrieved[S] | None = None
        filling: S | None = None
        try:
            while True:
                self._ask_ahead(wanted, asked)
                if not asked:
                    break
                number = asked.popleft()
                status = await self._status()
                if whole is not None:
                    confirmed, whole = whole, None
                    yield confirmed
                if not status.ok:
                    yield Retrieved(number, None, status.text)
                    continue
                filling = sink(number)
                await self._body_into(filling.write, self._limits.mail)
                whole, filling = Retrieved(number, filling), None
            if whole is not None:
                await self.noop()
                confirmed, whole = whole, None
                yield confirmed
        finally:
            for left in (filling, whole.sink if whole is not None else None):
                if left is not None:
                    await left.discard()

    async def delete(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """Mark mails deleted, return those the server agreed to; nothing is gone before `quit`."""
        agreed = []
        for group in _groups(numbers, self._window):
            self._send(b"".join(command("DELE", str(number)) for number in group), [Expect.STATUS] * len(group))
            agreed += [number for number in group if (await self._status()).ok]
        return tuple(agreed)

    async def noop(self) -> None:
        """Ask for a sign of life: any status line is one."""
        await self._ask(command("NOOP"))

    async def quit(self) -> None:
        """End the session, which makes deletions final; raises PollError unless the server said so."""
        status = await self._ask(command("QUIT"))
        if not status.ok:
            raise self._broken(f"QUIT refused: {status.text}")

    def abort(self) -> None:
        """Drop the connection: without QUIT nothing is deleted."""
        self._streams.close()

    @property
    def _window(self) -> int:
        return WINDOW if self.capabilities.has("PIPELINING") else 1

    def _ask_ahead(self, wanted: Iterator[int], asked: deque[int]) -> None:
        """Send RETR for as many mails as may be under way."""
        new: list[int] = []
        while len(asked) < self._window and sum(self._sizes.get(n, 0) for n in asked) < WINDOW_OCTETS:
            number = next(wanted, None)
            if number is None:
                break
            asked.append(number)
            new.append(number)
        if new:
            self._send(b"".join(command("RETR", str(number)) for number in new), [Expect.BODY] * len(new))

    # Replies

    def _send(self, octets: bytes, expected: Sequence[Expect]) -> None:
        if self._protocol.idle:
            self.round_trips += 1
        for form in expected:
            self._protocol.expect(form)
        self._streams.write(octets)

    async def _ask(self, line: bytes) -> Status:
        self._send(line, [Expect.STATUS])
        return await self._status()

    async def _ask_body(self, line: bytes) -> tuple[Status, bytes]:
        self._send(line, [Expect.BODY])
        return await self._body_reply()

    async def _body_reply(self) -> tuple[Status, bytes]:
        status = await self._status()
        body = bytearray()
        if status.ok:

            async def keep(chunk: bytes) -> None:
                body.extend(chunk)

            await self._body_into(keep, self._limits.multi_line)
        return status, bytes(body)

    async def _status(self, *, idle: float | None = None) -> Status:
        self._begin_reply()
        event = await self._event(idle or self._limits.idle)
        if not isinstance(event, Status):
            raise self._broken("its replies are out of step")
        return event

    async def _body_into(self, write: Callable[[bytes], Awaitable[None]], limit: int) -> None:
        size = 0
        self._begin_reply()
        while isinstance(event := await self._event(self._limits.idle), Chunk):
            size += len(event.octets)
            if size > limit:
                raise self._broken(f"a reply over {limit} octets")
            await write(event.octets)
        if not isinstance(event, End):
            raise self._broken("its replies are out of step")

    async def _event(self, idle: float) -> Event:
        while not self._events:
            octets = await self._read(idle)
            try:
                self._events.extend(self._protocol.feed(octets))
            except DesynchronisedError as error:
                raise self._not_pop3(error) from error
        return self._events.popleft()

    def _begin_reply(self) -> None:
        self._reply_octets = 0
        self._reply_began = asyncio.get_running_loop().time()

    async def _read(self, idle: float) -> bytes:
        took = asyncio.get_running_loop().time() - self._reply_began
        if took > self._limits.reply + self._reply_octets / self._limits.least_rate:
            raise PollError(PollResult.NETWORK, f"{self.server}: a reply took over {took:.0f} s: too slow")
        try:
            async with asyncio.timeout(idle):
                octets = await self._streams.reader.read(READ_OCTETS)
        except TimeoutError:
            raise PollError(PollResult.NETWORK, f"{self.server}: no answer in {idle:.0f} s") from None
        except (OSError, ssl.SSLError) as error:
            raise PollError(PollResult.NETWORK, f"{self.server}: connection lost: {cause(error)}") from error
        if not octets:
            raise PollError(PollResult.NETWORK, f"{self.server}: the server closed the connection")
        self._reply_octets += len(octets)
        return octets

    # Opening

    async def _greet(self) -> None:
        self._protocol.expect(Expect.STATUS)
        try:
            status = await self._status(idle=self._limits.greeting)
        except PollError as error:
            if error.result is PollResult.NETWORK and not self.server.implicit_tls:
                raise PollError(
                    PollResult.NETWORK,
                    f'{error}, before any greeting: if the port wants TLS, write "{self.server}s" in server',
                ) from error
            raise
        if not status.ok:
            raise PollError(refusal(status, PollResult.THROTTLED), f"{self.server}: refused at once: {status.text}")

    async def _ask_capabilities(self) -> None:
        status, body = await self._ask_body(command("CAPA"))
        self.capabilities = Capabilities(parse_capabilities(body), known=status.ok)

    async def _encrypt(self, tls: Tls, ca: str | None) -> None:
        """Use STLS where it is offered (RFC 2595); refuse cleartext where nobody allowed it."""
        if not self.capabilities.has("STLS"):
            if needs_encryption(tls, self._streams.peer):
                raise PollError(
                    PollResult.TLS,
                    f'{self.server}: it offers no encryption (STLS): use a port with TLS ("{self.server.host} 995s"), '
                    'or allow cleartext with tls = "none"',
                )
            return
        if tls is Tls.AUTO and not needs_encryption(tls, self._streams.peer):
            return  # loopback: nobody is in between, and local servers rarely have a certificate for it
        status = await self._ask(command("STLS"))
        if not status.ok:
            raise PollError(PollResult.TLS, f"{self.server}: STLS is offered, but refused: {status.text}")
        if not self._protocol.idle or self._events:
            raise self._broken("octets before the TLS handshake")  # CVE-2021-39272 and its kin
        self._streams = await upgraded(self._streams, client_context(ca, self.server), self.server, self._limits)
        await self._ask_capabilities()  # what was said in cleartext doesn't count

    def _broken(self, what: str) -> PollError:
        return PollError(PollResult.PROTOCOL, f"{self.server}: {what}")

    def _not_pop3(self, error: DesynchronisedError) -> PollError:
        if not self.capabilities.names and not self.capabilities.known:
            return self._broken(f"what answers there does not speak POP3 ({error}): check host and port in server")
        return self._broken(str(error))


def _groups(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
