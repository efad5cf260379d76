"""One POP3 connection: opening it, and each command of a session, over the dialogue of `fetcher/dialogue.py`.

Without QUIT the server deletes nothing, so in any doubt the connection is dropped.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, Self, TypeVar

from common.failures import PollError, PollResult
from common.ledger.records import HostMemory
from common.profile import Auth, Tls
from common.secrets import Secret
from fetcher.ahead import SHORT_WINDOW, WINDOWS, Ahead
from fetcher.dialogue import Dialogue, open_dialogue
from fetcher.link import Link
from fetcher.pop3 import (
    Capabilities,
    Expect,
    Listed,
    Status,
    command,
    parse_capabilities,
    parse_sizes,
    parse_uidls,
    refusal,
)
from fetcher.second_look import explained
from fetcher.sign_in import Account, SignIn
from fetcher.silence import patience, tls_wanted, waits_for_tls
from fetcher.streams import Limits, upgraded
from fetcher.tls import RefusedTlsError, check_fingerprint, client_context, is_loopback, needs_encryption

NOTHING: Final = Status(ok=False, text="+OK, and then nothing")
"""What an empty mail is: no mail has not even a header, so the server has it and doesn't show it."""


class Sink(Protocol):
    """Takes the octets of one mail, in order."""

    async def write(self, chunk: bytes) -> None:
        """Take the next octets."""

    async def end(self) -> None:
        """Nothing more comes of it."""

    async def discard(self) -> None:
        """Forget them: the mail was cut."""


S = TypeVar("S", bound=Sink)


@dataclass(frozen=True, slots=True)
class Retrieved(Generic[S]):
    """A mail whose end is certain, or the server's refusal to give it."""

    number: int
    sink: S | None
    refused: Status | None = None


class Connection:
    """A POP3 connection. `open`, `authenticate`, then the rest; `quit` makes deletions final, `abort` never does."""

    def __init__(self, dialogue: Dialogue, memory: HostMemory) -> None:
        self.server = dialogue.server
        self.capabilities = Capabilities({}, known=False)
        self.retrieved: set[int] = set()  # mails that some servers now delete at QUIT, whether or not we say DELE
        self.suspect: int | None = None  # the mail that was on the line when `retrieve` failed
        self._dialogue = dialogue
        self.hung_up_on_capa = memory.hangs_up_on_capa
        self._memory = memory
        self._sizes: dict[int, int] = {}
        self._greeting = ""

    @classmethod
    async def open(cls, link: Link, *, limits: Limits | None = None, memory: HostMemory | None = None) -> Self:
        """Connect, read the greeting, encrypt as the profile says, ask for CAPA; raises PollError."""
        limits = limits or Limits()
        try:
            return await cls._opened(link, limits, memory or HostMemory())
        except RefusedTlsError as error:
            raise await explained(error, link, limits) from error

    @classmethod
    async def _opened(cls, link: Link, limits: Limits, memory: HostMemory) -> Self:
        context = client_context(link.trust, link.server) if link.implicit_tls else None
        connection = cls(await open_dialogue(link, context, limits), memory)
        try:
            await connection._greet(link, limits)
            lost_before = False
            while not connection.hung_up_on_capa and not await connection._knows_capa():
                connection.hung_up_on_capa = lost_before  # once may be the network's fault, twice is the server's way
                lost_before = True
                connection.abort()
                connection._dialogue = await open_dialogue(link, context, limits)
                await connection._greet(link, limits)
            if not link.implicit_tls and link.tls is not Tls.NONE:
                await connection._encrypt(link)
            await connection._speak_utf8()
        except BaseException:
            connection.abort()
            raise
        return connection

    @property
    def round_trips(self) -> int:
        """Waits for the server that nothing else overlapped."""
        return self._dialogue.round_trips

    @property
    def encryption(self) -> ssl.SSLObject | None:
        """What the connection is encrypted with, if it is."""
        return self._dialogue.streams.ssl

    @property
    def took(self) -> Mapping[str, float]:
        """Seconds to connect, and for the TLS handshake."""
        return self._dialogue.streams.took

    @property
    def broke_ahead(self) -> bool:
        """Whether it failed while the reply to a command sent ahead was due: the server may not bear pipelining."""
        return self._dialogue.awaits_ahead

    async def authenticate(self, user: str, secret: str, auth: Auth = Auth.AUTO, *, bearer: bool = False) -> None:
        """Sign in with a password or an access token (`bearer`); raises PollError, which holds neither."""
        account = Account(user=user, secret=Secret(secret), auth=auth, bearer=bearer)
        private = self._dialogue.streams.encrypted or is_loopback(self._dialogue.streams.peer)
        await SignIn(self._dialogue, self.capabilities, account).run(self._greeting, private=private)

    async def own_login_delay(self) -> int:
        """Return the seconds that the server wants between this account's sign-ins (RFC 2449, section 6.5), or 0."""
        if self.capabilities.tells_login_delay_later:
            await self._ask_capabilities()
        return self.capabilities.login_delay

    async def listing(self) -> tuple[Listed, ...]:
        """Return what the mailbox holds; raises PollError where UIDL is offered but fails: never "all is new"."""
        ahead = self.window == WINDOWS[0]  # of others something is known against it
        asked = [command("LIST"), *([command("UIDL")] if ahead else [])]
        await self._dialogue.send(b"".join(asked), [Expect.BODY] * len(asked))
        status, body = await self._dialogue.body_reply()
        if not status.ok:
            raise self._dialogue.broken(f"LIST refused: {status.text}")
        self._sizes = parse_sizes(body)
        if not self._sizes and body.strip():  # never "all is gone", either
            raise self._dialogue.broken("its LIST can't be read")
        if not ahead and not self._sizes:
            return ()
        status, body = await (self._dialogue.body_reply() if ahead else self._dialogue.ask_body(command("UIDL")))
        if not self._sizes:
            return ()
        if not status.ok and (self.capabilities.has("UIDL") or status.code is not None):
            raise self._dialogue.broken(f"UIDL is offered, but refused now: {status.text}")
        uidls = parse_uidls(body) if status.ok else {}
        return tuple(Listed(number, size, uidls.get(number)) for number, size in sorted(self._sizes.items()))

    async def tops(self, numbers: Sequence[int]) -> dict[int, bytes | None]:
        """Return each mail's header block through TOP n 0; None where the server gives none."""
        found: dict[int, bytes | None] = {}
        if not self.capabilities.top:
            return dict.fromkeys(numbers)
        for group in _groups(numbers, self.window):
            lines = b"".join(command("TOP", str(number), "0") for number in group)
            await self._dialogue.send(lines, [Expect.BODY] * len(group))
            for number in group:
                status, body = await self._dialogue.body_reply()
                found[number] = body if status.ok else None
        return found

    async def retrieve(self, numbers: Iterable[int], sink: Callable[[int], S]) -> AsyncGenerator[Retrieved[S], None]:
        """Yield mails and refusals, each once the next reply has confirmed where it ended (after the last, NOOP's).

        A broken connection raises PollError; sinks that were not yielded are discarded then. Whoever may stop early
        closes the generator (`contextlib.aclosing`), and with it the connection.
        """
        ahead = Ahead(numbers, window=self.window, sizes=self._sizes)
        ended: Retrieved[S] | None = None
        filling: S | None = None
        try:
            while await self._ask_ahead(ahead):
                number = ahead.next()
                status = await self._status_after(ended, number)
                if ended is not None:
                    confirmed, ended = ended, None
                    yield confirmed
                if not status.ok:
                    ended = Retrieved(number, None, status)
                    continue
                self.retrieved.add(number)
                filling = sink(number)
                if not await self._dialogue.body_into(filling.write, self._dialogue.limits.mail):
                    await filling.discard()
                    ended, filling = Retrieved(number, None, NOTHING), None
                    continue
                await filling.end()
                ended, filling = Retrieved(number, filling), None
            if ended is not None:
                if not ahead.confirmed:
                    await self._dialogue.send(command("NOOP"), [Expect.STATUS])
                await self._status_after(ended, None)
                confirmed, ended = ended, None
                yield confirmed
            self.suspect = None
        finally:
            for left in (filling, None if ended is None else ended.sink):
                if left is not None:
                    await left.discard()

    async def delete(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """Mark mails deleted, return those the server agreed to; nothing is gone before `quit`."""
        agreed = []
        for group in _groups(numbers, SHORT_WINDOW if self.window == WINDOWS[0] else self.window):
            lines = b"".join(command("DELE", str(number)) for number in group)
            await self._dialogue.send(lines, [Expect.STATUS] * len(group))
            agreed += [number for number in group if (await self._dialogue.status()).ok]
        return tuple(agreed)

    async def reset(self) -> None:
        """Unmark what is marked deleted (RFC 1939, section 5); raises PollError unless the server agrees."""
        status = await self._dialogue.ask(command("RSET"))
        if not status.ok:
            raise self._dialogue.broken(f"RSET refused, so mail may be marked deleted that is to stay: {status.text}")

    async def quit(self) -> None:
        """End the session, which makes deletions final; raises PollError unless the server said so."""
        status = await self._dialogue.ask(command("QUIT"))
        if not status.ok:
            raise self._dialogue.broken(f"QUIT refused: {status.text}")

    def abort(self) -> None:
        """Drop the connection: without QUIT nothing is deleted."""
        self._dialogue.streams.close()

    @property
    def window(self) -> int:
        """Commands that may be sent ahead of their replies."""
        return (self._memory.window or WINDOWS[0]) if self.capabilities.has("PIPELINING") else 1

    async def _ask_ahead(self, ahead: Ahead) -> bool:
        """Send RETR for as many mails as may be under way; return whether any is."""
        new = ahead.new()
        lines = [command("RETR", str(number)) for number in new]
        expected = [Expect.BODY] * len(new)
        if ahead.confirm():
            lines.append(command("NOOP"))
            expected.append(Expect.STATUS)
        if lines:
            await self._dialogue.send(b"".join(lines), expected)
        return bool(ahead)

    async def _status_after(self, ended: Retrieved[S] | None, number: int | None) -> Status:
        """Return the status line that must follow a mail, and remember whom to suspect if none does.

        What is no status line belongs to the mail before it, whose end was none; silence belongs to the next mail.
        """
        self.suspect = number
        try:
            return await self._dialogue.status()
        except PollError as error:
            if ended is not None and error.result is PollResult.PROTOCOL:
                self.suspect = ended.number
            raise

    # Opening

    async def _greet(self, link: Link, limits: Limits) -> None:
        try:
            status = await self._greeted(link, limits)
        except PollError as error:
            if error.result is PollResult.NETWORK and not link.implicit_tls:
                raise PollError(
                    PollResult.NETWORK,
                    f'{error}, before any greeting: if the port wants TLS, write "{self.server}s" in server',
                ) from error
            raise
        self._greeting = status.text
        if not status.ok:
            raise PollError(refusal(status, PollResult.THROTTLED), f"{self.server}: refused at once: {status.text}")

    async def _greeted(self, link: Link, limits: Limits) -> Status:
        """Return the greeting; where none comes for a while, find out whether the port waits for TLS."""
        if link.implicit_tls:
            return await self._dialogue.greeting()
        greeting = asyncio.create_task(self._dialogue.greeting())
        try:
            await asyncio.wait({greeting}, timeout=patience(link, limits))
            if not greeting.done() and await waits_for_tls(link, limits):
                raise tls_wanted(link)
            return await greeting
        finally:
            greeting.cancel()

    async def _knows_capa(self) -> bool:
        """Ask for the capabilities; False: the connection is lost, since some servers hang up on CAPA."""
        try:
            await self._ask_capabilities()
        except PollError as error:
            if error.result is not PollResult.NETWORK:
                raise
            return False
        return True

    async def _ask_capabilities(self) -> None:
        status, body = await self._dialogue.ask_body(command("CAPA"))
        self.capabilities = Capabilities(parse_capabilities(body), known=status.ok)

    async def _speak_utf8(self) -> None:
        """Ask for mail as it is (RFC 6856, section 2.1): without it the server may rewrite what is not ASCII."""
        if self.capabilities.has("UTF8"):
            await self._dialogue.ask(command("UTF8"))  # where it is refused, mail comes as ever

    async def _encrypt(self, link: Link) -> None:
        """Use STLS where it is offered (RFC 2595); refuse cleartext where nobody allowed it."""
        needed = needs_encryption(link.tls, self._dialogue.streams.peer)
        if not self.capabilities.has("STLS"):
            if needed:
                raise PollError(
                    PollResult.TLS,
                    f'{self.server}: it offers no encryption (STLS): use a port with TLS ("{self.server.host} 995s"), '
                    'or allow cleartext with tls = "none"',
                )
            return
        if not needed:
            return  # loopback: nobody is in between, and local servers rarely have a certificate for it
        status = await self._dialogue.ask(command("STLS"))
        if not status.ok:
            raise PollError(PollResult.TLS, f"{self.server}: STLS is offered, but refused: {status.text}")
        if not self._dialogue.in_step:
            raise self._dialogue.broken("octets before the TLS handshake")  # CVE-2021-39272 and its kin
        limits, context = self._dialogue.limits, client_context(link.trust, self.server)
        encrypted = await upgraded(self._dialogue.streams, context, link, limits)
        self._dialogue = Dialogue(self.server, encrypted, limits)  # what was said in cleartext doesn't count
        check_fingerprint(link.trust, encrypted.ssl, self.server)
        await self._ask_capabilities()


def _groups(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
