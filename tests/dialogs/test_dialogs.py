r"""Plays the conversations in this folder: each file is what server and client say, in order, and what comes of it.

A file begins with a sentence after `#`. Then, a line each:

    s -> +OK ready       the server sends this line; it may be empty
    s => +OK re          the server sends just these octets; \r, \n, \0 and \xff are written so
    c -> USER ann        the client must send this line next
    c ~> AUTH SCRAM-     the client must send a line that begins so
    c signs in by plain  first of all: how it does, instead of "auto"
    s cuts               the server hangs up
    s is silent          the server says nothing until the client goes
    s drips x            the server sends this, again and again, slower than any server should, until the client goes
    s repeats x          the same, as fast as it can
    c connects           the client must connect (again)
    = listed 1 2         what the client made of it so far

The client lists, retrieves what it can, deletes what it got, and quits; the lines after `=` are all that came of it.
"""

import asyncio
from collections.abc import Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from common.failures import PollError
from common.ledger.reading import Recorded
from common.profile import Auth
from common.server import Server
from fetcher.connection import Connection
from fetcher.identity import CONTENT_KEY, identify
from fetcher.link import Link
from fetcher.streams import Limits

DIALOGUES: Final = {path.stem: path.read_text() for path in Path(__file__).parent.glob("*.txt")}
HASTY: Final = Limits(connect=5, greeting=1, idle=1, reply=2, multi_line=1024 * 1024, mail=1024 * 1024)
"""One second stands for a minute, where a server is silent; elsewhere it is long."""

SIGNS_IN: Final = "c signs in by "


@dataclass
class Collected:
    """A sink that keeps a mail."""

    octets: bytearray = field(default_factory=bytearray)

    async def write(self, chunk: bytes) -> None:
        """Take the next octets."""
        self.octets += chunk

    async def end(self) -> None:
        """It is all there."""

    async def discard(self) -> None:
        """Nothing of it is told."""
        self.octets.clear()


async def act(server: Server, auth: Auth) -> list[str]:
    """Empty the mailbox as a session does; return what came of each step."""
    told: list[str] = []
    connection: Connection | None = None
    try:
        connection = await Connection.open(Link(server=server), limits=HASTY)
        await _session(connection, auth, told)
    except PollError as error:
        told.append(f"{error.result} error: {str(error).removeprefix(f'{server}: ').replace(str(server), 'HOST PORT')}")
        if connection is not None and connection.broke_ahead:
            told.append("fewer commands ahead from now on")
    finally:
        if connection is not None:
            connection.abort()
    return told


async def _session(connection: Connection, auth: Auth, told: list[str]) -> None:
    await connection.authenticate("ann", "secret", auth)
    if delay := await connection.own_login_delay():
        told.append(f"{delay} s between sign-ins")
    listing = await identify(connection, await connection.listing(), doubted=(), recall=_nothing)
    told.append(" ".join(["listed", *(str(mail.number) for mail in listing)]))
    for mail in listing:
        name = "by its header" if mail.uidl_key.startswith(CONTENT_KEY) else _shown(mail.uidl_key)
        told.append(f"mail {mail.number} is known {'as ' if name != 'by its header' else ''}{name}")
    got: list[int] = []
    async with aclosing(
        connection.retrieve([mail.number for mail in listing], lambda _number: Collected())
    ) as retrieving:
        async for one in retrieving:
            if one.sink is None:
                told.append(f"refused {one.number}: {one.refused.text if one.refused is not None else ''}")
            else:
                got.append(one.number)
                told.append(f"got {one.number}: {_shown(bytes(one.sink.octets))}")
    if got:
        told.append(" ".join(["deleted", *map(str, await connection.delete(got))]))
    await connection.quit()
    told.append("the end")


async def _nothing(_hashes: Collection[bytes]) -> tuple[Recorded, ...]:
    """Stand for a ledger that knows no mail yet."""
    return ()


def _shown(octets: bytes) -> str:
    return octets.decode("latin-1").encode("unicode_escape").decode()


class Script:
    """Plays the server's part of a file, and checks the client's."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._clients: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a client, whose turn comes when the script says so."""
        await self._clients.put((reader, writer))

    async def play(self) -> None:
        """Go through the lines; raises AssertionError where the client says something else."""
        writers: list[asyncio.StreamWriter] = []
        try:
            await self._play(writers)
        finally:
            for writer in writers:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _play(self, writers: list[asyncio.StreamWriter]) -> None:
        reader, writer = await self._client(writers)
        for line in self._lines:
            match line.split(" ", 2):
                case ["s", "->", *text]:
                    writer.write(_octets(" ".join(text)) + b"\r\n")
                case ["s", "=>", text]:
                    writer.write(_octets(text))
                    await asyncio.sleep(0)  # so that what follows is another piece
                case ["c", "->", text]:
                    said = (await reader.readline()).decode().removesuffix("\r\n")
                    assert said == text, f"the client said {said!r} instead of {text!r}"
                case ["c", "~>", text]:
                    said = (await reader.readline()).decode()
                    assert said.startswith(text), f"the client said {said!r} instead of {text!r} and more"
                case ["s", "cuts"]:
                    writer.close()
                case ["s", "drips" | "repeats" as how, text]:
                    await _repeat(writer, _octets(text), fast=how == "repeats")
                case ["s", "is", "silent"]:
                    assert await reader.read() == b""
                case ["c", "connects"]:
                    reader, writer = await self._client(writers)
                case _:
                    pytest.fail(f"not a line of a dialogue: {line!r}")
        with suppress(OSError):  # a client that drops the connection may reset it
            rest = await reader.read()
            assert rest == b"", f"the client went on: {rest!r}"

    async def _client(self, writers: list[asyncio.StreamWriter]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self._clients.get()
        writers.append(writer)
        return reader, writer


async def _repeat(writer: asyncio.StreamWriter, octets: bytes, *, fast: bool) -> None:
    """Send these octets until the client goes."""
    with suppress(OSError):
        while not writer.is_closing():
            writer.write(octets * (1000 if fast else 1))
            await writer.drain()
            await asyncio.sleep(0 if fast else 0.1)


def _octets(text: str) -> bytes:
    return text.encode().decode("unicode_escape").encode("latin-1")


async def converse(dialogue: list[str]) -> list[str]:
    """Play a dialogue; return what came of it."""
    by = [line.removeprefix(SIGNS_IN) for line in dialogue if line.startswith(SIGNS_IN)]
    script = Script([line for line in dialogue if not line.startswith(("=", SIGNS_IN))])
    async with await asyncio.start_server(script.accept, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        playing = asyncio.create_task(script.play())
        told = await act(Server("127.0.0.1", port, implicit_tls=False), Auth(by[0]) if by else Auth.AUTO)
        await playing
    return told


@pytest.mark.parametrize("name", sorted(DIALOGUES))
async def test_dialogue(name: str) -> None:
    """The client says just what the file has it say, and makes of it just what the file tells."""
    first, *dialogue = DIALOGUES[name].splitlines()
    dialogue = [line for line in dialogue if line and not line.startswith("#")]
    assert first.startswith("# ")

    async with asyncio.timeout(20):
        outcome = await converse(dialogue)

    assert outcome == [line.removeprefix("= ") for line in dialogue if line.startswith("=")]
