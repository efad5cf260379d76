"""One client's session on the sample POP3 server: RFC 1939 and 2449, and what the test had it do wrong."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from tests.servers.pop3_mailbox import Mailbox, Quit, Stored

if TYPE_CHECKING:
    from tests.servers.pop3 import Pop3Server

_STATUS: Final = b"Status: RO\r\n"


class HangUpError(Exception):
    """The connection is over."""


class Session:
    """Answers one client until it quits, goes, or is hung up on."""

    def __init__(self, server: "Pop3Server", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._user = ""
        self._mailbox: Mailbox | None = None
        self._mails: Sequence[Stored] = ()  # as numbered in this session
        self._marked: set[int] = set()
        self._encrypted = server.implicit_tls

    async def run(self) -> None:
        """Greet, then answer commands."""
        await self._send(self._server.greeting)
        if not self._server.greeting.startswith(b"+OK"):
            await self._reader.read()  # whoever refuses or isn't POP3 waits for the client to go
            return
        while line := await self._reader.readline():
            await self._answer(line.rstrip(b"\r\n").decode("utf-8", "surrogateescape"))
            if self._server.only_first:
                self._reader._buffer.clear()  # type: ignore[attr-defined]  # what came together with this command

    async def _answer(self, line: str) -> None:
        self._server.commands.append(line)
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        scripted = self._server.answers
        key = line if line in scripted else verb
        if key in scripted:
            octets = scripted[key]
            if octets is None:
                raise HangUpError
            await self._send(octets)
            return
        command = self._commands().get(verb)
        if command is None:
            await self._say("-ERR unknown command")
        elif verb not in {"CAPA", "STLS", "USER", "PASS", "QUIT"} and self._mailbox is None:
            await self._say("-ERR sign in first")
        else:
            await command(argument)

    def _commands(self) -> Mapping[str, Callable[[str], Awaitable[None]]]:
        offered = {"TOP": self._top, "UIDL": self._uidl, "CAPA": self._capa, "STLS": self._stls}
        able = {
            "TOP": self._server.offers("TOP"),
            "UIDL": self._server.offers("UIDL"),
            "CAPA": self._server.capabilities is not None,
            "STLS": self._offers_stls(),
        }
        always = {
            "USER": self._take_user,
            "PASS": self._take_password,
            "STAT": self._stat,
            "LIST": self._list,
            "RETR": self._retr,
            "DELE": self._dele,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }
        return always | {verb: command for verb, command in offered.items() if able[verb]}

    # Signing in

    async def _capa(self, _argument: str) -> None:
        names = [*(self._server.capabilities or []), *(["STLS"] if self._offers_stls() else [])]
        await self._send(b"+OK here is what I can\r\n" + _body("".join(f"{name}\r\n" for name in names).encode()))

    def _offers_stls(self) -> bool:
        return self._server.context is not None and not self._encrypted

    async def _stls(self, _argument: str) -> None:
        assert self._server.context is not None
        await self._send(b"+OK begin\r\n" + self._server.before_handshake)
        await self._writer.start_tls(self._server.context)
        self._encrypted = True

    async def _take_user(self, argument: str) -> None:
        self._user = argument
        await self._say("+OK and the password?")

    async def _take_password(self, argument: str) -> None:
        self._mailbox = self._server.signed_in(self._user, argument)
        if self._mailbox is None:
            await self._say(self._server.wrong_password)
            return
        self._mails = self._mailbox.visible()
        await self._say("+OK come in")

    # Listing

    async def _stat(self, _argument: str) -> None:
        there = [mail for _, mail in self._there()]
        await self._say(f"+OK {len(there)} {sum(mail.size for mail in there)}")

    async def _list(self, argument: str) -> None:
        await self._tell(argument, {number: b"%d" % mail.size for number, mail in self._there()})

    async def _uidl(self, argument: str) -> None:
        await self._tell(argument, {number: mail.uidl for number, mail in self._there() if mail.numbered})

    async def _tell(self, argument: str, lines: dict[int, bytes]) -> None:
        if not argument:
            body = b"".join(b"%d %s\r\n" % line for line in lines.items())
            await self._send(b"+OK\r\n" + _body(body))
        elif argument.isdigit() and int(argument) in lines:
            await self._send(b"+OK %d %s\r\n" % (int(argument), lines[int(argument)]))
        else:
            await self._say("-ERR no such message")

    def _there(self) -> list[tuple[int, Stored]]:
        return [(number, mail) for number, mail in enumerate(self._mails, 1) if number not in self._marked]

    # Mails

    async def _retr(self, argument: str) -> None:
        mail = dict(self._there()).get(int(argument))
        if mail is None:
            await self._say("-ERR no such message")
            return
        if mail.refusal is not None:
            await self._say(mail.refusal)
            return
        content = self._content(mail)
        mail.retrieved += 1
        if self._mailbox is not None and self._mailbox.takes:
            self._marked.add(int(argument))
        await self._give(mail, _body(content) if mail.stuffed else content + b".\r\n")

    async def _give(self, mail: Stored, body: bytes) -> None:
        await self._say("+OK here it is")
        if mail.cut_after is not None:
            await self._send(body[: mail.cut_after])
            raise HangUpError
        if mail.stalls_after is not None:
            await self._send(body[: mail.stalls_after])
            self._server.stalled.set()
            await self._reader.read()
            raise HangUpError
        await self._send(body)

    async def _top(self, argument: str) -> None:
        number, lines = (int(part) for part in argument.split())
        mail = dict(self._there()).get(number)
        if mail is None or mail.top_refusal is not None:
            await self._say((mail and mail.top_refusal) or "-ERR no such message")
            return
        header, _, body = self._content(mail).partition(b"\r\n\r\n")
        shown = b"".join(line + b"\r\n" for line in body.split(b"\r\n")[:lines])
        await self._send(b"+OK\r\n" + _body(header.removesuffix(b"\r\n") + b"\r\n\r\n" + shown))

    def _content(self, mail: Stored) -> bytes:
        assert self._mailbox is not None
        return _STATUS + mail.raw if self._mailbox.marks and mail.retrieved else mail.raw

    async def _dele(self, argument: str) -> None:
        if int(argument) not in dict(self._there()):
            await self._say("-ERR no such message")
            return
        self._marked.add(int(argument))
        await self._say("+OK marked")

    async def _rset(self, _argument: str) -> None:
        self._marked.clear()
        await self._say("+OK")

    async def _noop(self, _argument: str) -> None:
        await self._say("+OK")

    async def _quit(self, _argument: str) -> None:
        ending = Quit.ANSWERED if self._mailbox is None else self._mailbox.quit
        if self._mailbox is not None and ending in {Quit.ANSWERED, Quit.ANSWER_LOST}:
            self._mailbox.remove(mail for number, mail in enumerate(self._mails, 1) if number in self._marked)
        if ending in {Quit.ANSWERED, Quit.REFUSED}:
            await self._say("+OK bye" if ending is Quit.ANSWERED else "-ERR some mails were not removed")
        raise HangUpError

    async def _say(self, text: str) -> None:
        await self._send(text.encode() + b"\r\n")

    async def _send(self, octets: bytes) -> None:
        self._writer.write(octets)
        await self._writer.drain()


def _body(content: bytes) -> bytes:
    """Return a dot-terminated body (RFC 1939, section 3)."""
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
