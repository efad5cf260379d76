"""A sample POP3 server: mailboxes in memory, what it offers, how it misbehaves, and what was deleted at QUIT.

It serves tests that need a server to do wrong, and `make demo` where no Dovecot is installed.
"""

import asyncio
import contextlib
import ssl
from typing import Final, Self

from tests.servers.pop3_mailbox import Mailbox
from tests.servers.pop3_session import HangUpError, Session

OFFERED: Final = ("TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "USER")

LONGEST_LINE: Final = 64 * 1024

CUT_SECONDS: Final = 2.0
"""How long a stop waits until its connections are gone."""

PASSWORD: Final = "correct horse"

WRONG_PASSWORD: Final = "-ERR [AUTH] wrong user or password"


class Pop3Server:
    """Listens on a loopback port. `async with Pop3Server() as server:`; it may be stopped and started again.

    Attributes may be changed at any time, and hold for what comes after. `answers` maps a command line or a verb to
    the octets that are sent instead of the server's own answer, None to hanging up.
    """

    host = "127.0.0.1"

    def __init__(self, *, context: ssl.SSLContext | None = None, implicit_tls: bool = False) -> None:
        self.port = 0
        self.greeting = b"+OK ready\r\n"
        self.capabilities: list[str] | None = [*OFFERED]  # None: there is no CAPA
        self.wrong_password = WRONG_PASSWORD
        self.answers: dict[str, bytes | None] = {}
        self.before_handshake = b""  # sent together with STLS's +OK
        self.only_first = False  # of commands that come together, all but the first are ignored
        self.commands: list[str] = []
        self.sessions = 0  # connections so far
        self.stalled = asyncio.Event()
        self.context = context
        self.implicit_tls = implicit_tls
        self._mailboxes: dict[str, Mailbox] = {}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop it and cut its connections."""
        await self.stop()

    @property
    def server(self) -> str:
        """Where it is, in the form that a profile takes."""
        return f"{self.host} {self.port}{'s' if self.implicit_tls else ''}"

    def mailbox(self, user: str, password: str = PASSWORD) -> Mailbox:
        """Return a user's mailbox, made if it isn't there."""
        return self._mailboxes.setdefault(user, Mailbox(user=user, password=password))

    def signed_in(self, user: str, password: str) -> Mailbox | None:
        """Return the mailbox that user and password open."""
        mailbox = self._mailboxes.get(user)
        return mailbox if mailbox is not None and mailbox.password == password else None

    def offers(self, capability: str) -> bool:
        """Whether a command works; without CAPA all do."""
        return self.capabilities is None or capability in self.capabilities

    async def start(self) -> None:
        """Listen, on the same port as before if it was stopped."""
        context = self.context if self.implicit_tls else None
        self._server = await asyncio.start_server(self._accept, self.host, self.port, ssl=context, limit=LONGEST_LINE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on, and cut those that are open."""
        if self._server is None:
            return
        gone = asyncio.ensure_future(self._server.wait_closed())
        await asyncio.sleep(0)  # before Python 3.12 it waits only if it began before `close`
        self._server.close()
        for session in self._open:
            session.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CUT_SECONDS):
                await gone  # a connection in its handshake would outlive the loop

    def push(self, octets: bytes) -> None:
        """Send octets to all who are connected, whether or not anybody asked."""
        for writer in self._writers:
            writer.write(octets)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self._writers.add(writer)
        self.sessions += 1
        try:
            await Session(self, reader, writer).run()
        except (HangUpError, OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            self._writers.discard(writer)
            writer.close()  # what was written is still sent
