"""A scriptable SMTP and LMTP server: what it replies at each step, where it hangs or hangs up, and all it was given."""

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final, Self

EXTENSIONS: Final = ("SIZE 52428800", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "PIPELINING")

GREETING: Final = "greeting"
"""The step before any command, for `replies`."""

CONTENT: Final = "content"
"""The step after 354, asked when the first octets of a mail have come."""

DOT: Final = "dot"
"""The step after the final dot."""

DRIP_SECONDS: Final = 0.2
"""Between two octets of Act.DRIP: what is tested is that time passes."""

_LONGEST_LINE: Final = 64 * 1024 * 1024
"""Octets: a mail may be one line."""

_DEFAULTS: Final = {
    GREETING: "220 local.example ready",
    "MAIL": "250 2.1.0 OK",
    "RCPT": "250 2.1.5 OK",
    "DATA": "354 go on",
    DOT: "250 2.0.0 Saved",
    "RSET": "250 2.0.0 OK",
    "NOOP": "250 2.0.0 OK",
    "QUIT": "221 2.0.0 Bye",
    "AUTH": "235 2.7.0 OK",
    "STARTTLS": "220 2.0.0 go on",
}


class Act(Enum):
    """What the server may do instead of replying."""

    HANG = auto()  # say nothing until the client goes
    STALL = auto()  # read nothing any more
    CUT = auto()  # hang up
    DRIP = auto()  # say yes, an octet at a time, too slowly


Answer = str | Act


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """One mail whose final dot came and was not refused; the client may not have been told."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes  # dots unstuffed, CRLF as it came
    parameters: str  # of MAIL


class SmtpServer:
    """Listens on a loopback port, or on a Unix socket. `async with SmtpServer() as server:`.

    `server.replies("RCPT TO:<bob@", "450 4.2.0 later", "250 OK")` scripts the answers to commands that begin so, the
    last one for good; the longest prefix wins. Besides commands there are the steps GREETING, CONTENT and DOT.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        lmtp: bool = False,
        extensions: Sequence[str] = EXTENSIONS,
        context: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        socket_path: Path | None = None,
    ) -> None:
        self.port = 0
        self.deliveries: list[Delivered] = []
        self.commands: list[str] = []
        self.dots = 0  # final dots that came
        self.connections = 0
        self.open_connections = 0
        self.dot_came = asyncio.Event()
        self.hung = asyncio.Event()  # a client is being let hang
        self.prompt = asyncio.Event()  # cleared, no final dot is answered
        self.prompt.set()
        self._lmtp = lmtp
        self._extensions = extensions
        self._context = context
        self._implicit_tls = implicit_tls
        self._socket_path = socket_path
        self._script: defaultdict[str, list[Answer]] = defaultdict(list)
        self._server: asyncio.Server | None = None
        self._conversations: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop it and cut its connections."""
        await self.stop()

    @property
    def url(self) -> str:
        """What a target's url says to reach it."""
        kind = "lmtp" if self._lmtp else "smtps" if self._implicit_tls else "smtp"
        return f"{kind}+unix:{self._socket_path}" if self._socket_path else f"{kind}://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen, on the same port as before if it was stopped."""
        context = self._context if self._implicit_tls else None
        if self._socket_path is not None:
            self._server = await asyncio.start_unix_server(
                self._accept, self._socket_path, ssl=context, limit=_LONGEST_LINE
            )
            return
        self._server = await asyncio.start_server(self._accept, self.host, self.port, ssl=context, limit=_LONGEST_LINE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on, and cut those that are open."""
        if self._server is not None:
            self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    def replies(self, step: str, *answers: Answer) -> None:
        """Script the answers to a step: a command's beginning, or GREETING, CONTENT or DOT; the last one stays."""
        self._script[step] = list(answers)

    def inbox(self, recipient: str) -> list[bytes]:
        """Return what was delivered to a recipient, or with a bare local part to it at any domain."""
        return [
            delivered.content
            for delivered in self.deliveries
            if any(to == recipient or to.partition("@")[0] == recipient for to in delivered.recipients)
        ]

    def next_answer(self, step: str, line: str = "") -> Answer:
        """Return what the script says to a step, or to a command line."""
        fitting = [prefix for prefix in self._script if (line or step).startswith(prefix) and self._script[prefix]]
        if not fitting:
            return _DEFAULTS.get(step, "250 OK" if step == CONTENT else "500 5.5.1 unknown command")
        answers = self._script[max(fitting, key=len)]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def hello(self) -> str:
        """Return the reply to EHLO or LHLO."""
        offered = [*self._extensions, *(["STARTTLS"] if self._context and not self._implicit_tls else [])]
        lines = ["local.example", *offered]
        return "\r\n".join(f"250{' ' if line is lines[-1] else '-'}{line}" for line in lines)

    def says_hello(self, verb: str) -> bool:
        """Whether this verb is how one greets here."""
        return verb == "LHLO" if self._lmtp else verb in {"EHLO", "HELO"}

    def starts_tls(self, verb: str) -> ssl.SSLContext | None:
        """Return the context, if this verb begins TLS."""
        return self._context if verb == "STARTTLS" and not self._implicit_tls else None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        self.connections += 1
        self.open_connections += 1
        try:
            await _Conversation(self, reader, writer).run()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self.open_connections -= 1
            self._conversations.discard(task)
            writer.transport.abort()


class _HangUpError(EOFError):
    pass


class _Conversation:
    def __init__(self, server: SmtpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._forget()

    async def run(self) -> None:
        await self._answer(GREETING)
        while True:
            line = (await self._reader.readuntil(b"\r\n")).decode(errors="surrogateescape").rstrip("\r\n")
            self._server.commands.append(line)
            verb = line.partition(" ")[0].upper()
            if self._server.says_hello(verb):
                await self._hello(verb, line)
                continue
            reply = await self._answer(verb, line)
            await self._after(verb, line, reply)

    async def _hello(self, verb: str, line: str) -> None:
        answer = self._server.next_answer(verb, line)
        scripted = isinstance(answer, Act) or not answer.startswith("500 5.5.1")
        await self._do(answer if scripted else self._server.hello())

    async def _after(self, verb: str, line: str, reply: str) -> None:
        if verb == "DATA" and reply.startswith("354"):
            await self._content()
        elif verb == "QUIT" or reply.startswith("421"):
            raise _HangUpError
        elif verb == "RSET":
            self._forget()
        elif verb == "STARTTLS" and (context := self._server.starts_tls(verb)):
            await self._writer.start_tls(context)
        elif verb == "MAIL" and reply.startswith("2"):
            self._sender, _, self._parameters = line[len("MAIL FROM:<") :].partition(">")
        elif verb == "RCPT" and reply.startswith("2"):
            self._recipients.append(line[len("RCPT TO:<") :].partition(">")[0])

    async def _content(self) -> None:
        # Read as the strictest servers do, and remembered as it came: a bare LF would show.
        content = bytearray()
        first = True
        while True:
            line = await self._reader.readuntil(b"\n")
            if first:
                first = False
                answer = self._server.next_answer(CONTENT)
                if isinstance(answer, Act) or not answer.startswith("2"):
                    await self._do(answer)
                    raise _HangUpError
            if line == b".\r\n" and (not content or content.endswith(b"\r\n")):
                break
            content += line[1:] if line.startswith(b".") else line
        await self._dot(bytes(content))

    async def _dot(self, content: bytes) -> None:
        self._server.dots += 1
        answer = self._server.next_answer(DOT)
        if isinstance(answer, Act) or answer.startswith("2"):
            self._server.deliveries.append(
                Delivered(
                    sender=self._sender,
                    recipients=tuple(self._recipients),
                    content=content,
                    parameters=self._parameters.strip(),
                )
            )
        self._server.dot_came.set()
        self._forget()
        await self._server.prompt.wait()
        await self._do(answer)
        if isinstance(answer, str) and answer.startswith("421"):
            raise _HangUpError

    async def _answer(self, step: str, line: str = "") -> str:
        answer = self._server.next_answer(step, line)
        await self._do(answer)
        return str(answer)

    async def _do(self, answer: Answer) -> None:
        if answer is Act.CUT:
            raise _HangUpError
        if answer is Act.STALL:
            self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport can read, too
            await asyncio.Event().wait()
        if answer is Act.HANG:
            self._server.hung.set()
            while await self._reader.read(65536):
                pass
            raise _HangUpError
        if answer is Act.DRIP:
            for octet in b"250 2.0.0 one octet after the other\r\n":
                self._writer.write(bytes([octet]))
                await self._writer.drain()
                await asyncio.sleep(DRIP_SECONDS)
            return
        await self._say(str(answer))

    async def _say(self, text: str) -> None:
        self._writer.write(text.encode(errors="surrogateescape") + b"\r\n")
        await self._writer.drain()

    def _forget(self) -> None:
        self._sender = self._parameters = ""
        self._recipients: list[str] = []
