"""A POP3 server that goes wrong once a connection: each state of the protocol, in each way there is.

Connection n goes wrong at state and in mode n of all pairs; up to there its answers are those of a good server with one
mail. What it was asked to delete is remembered.
"""

import asyncio
import itertools
import random
from contextlib import suppress
from typing import Final, Self

GREETING: Final = "greeting"
STATES: Final = (GREETING, "CAPA", "USER", "PASS", "LIST", "UIDL", "RETR", "NOOP")
MODES: Final = ("random", "truncated", "interleaved", "endless line", "endless body", "slow", "silent", "cut")

_GOOD: Final = {
    GREETING: b"+OK ready\r\n",
    "CAPA": b"+OK\r\nUIDL\r\nTOP\r\nPIPELINING\r\nUSER\r\n.\r\n",
    "LIST": b"+OK\r\n1 30\r\n.\r\n",
    "UIDL": b"+OK\r\n1 first\r\n.\r\n",
    "RETR": b"+OK\r\nSubject: one\r\n\r\ntext\r\n.\r\n",
}
_PAIRS: Final = tuple(itertools.product(STATES, MODES))


class FuzzedServer:
    """`async with FuzzedServer() as server:`; `pairs` connections go through all states and modes once."""

    pairs = len(_PAIRS)

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.deletions: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Cut all that is open."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number, self.connections = self.connections, self.connections + 1
        state, mode = _PAIRS[number % len(_PAIRS)]
        try:
            with suppress(OSError, asyncio.IncompleteReadError, ValueError):
                await self._converse(reader, writer, state, Wrong(mode, random.Random(number)))  # noqa: S311 (repeatable)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: str, wrong: "Wrong"
    ) -> None:
        verb = GREETING
        while verb:
            good = _GOOD.get(verb, b"+OK\r\n")
            if verb == state:
                await wrong.answer(writer, good)
                if wrong.mode != "interleaved":
                    return
            else:
                writer.write(good)
            line = (await reader.readline()).decode("latin-1")
            verb = line.split()[0].upper() if line.split() else ""
            if verb == "DELE":
                self.deletions.append(line)


class Wrong:
    """One way to answer wrongly."""

    def __init__(self, mode: str, source: random.Random) -> None:
        self.mode = mode
        self._source = source

    async def answer(self, writer: asyncio.StreamWriter, good: bytes) -> None:
        """Send what is wrong."""
        match self.mode:
            case "random":
                writer.write(self._source.randbytes(self._source.randint(1, 100_000)) + b"\r\n")
                await writer.drain()
            case "truncated":
                writer.write(good[: self._source.randrange(len(good) - 1)])
                await writer.drain()
            case "interleaved":
                writer.write(good + _GOOD[self._source.choice(["LIST", "UIDL", "RETR", "CAPA"])])
            case "endless line" | "endless body":
                octets = b"x" * 65_536 if self.mode == "endless line" else b"1 2\r\n" * 13_000
                writer.write(b"" if self.mode == "endless line" else b"+OK\r\n")
                while True:
                    writer.write(octets)
                    await writer.drain()
            case "slow":
                for octet in itertools.cycle(good[:-3] or b"x"):
                    writer.write(bytes([octet]))
                    await writer.drain()
                    await asyncio.sleep(0.05)
            case "silent":
                await asyncio.Event().wait()
            case _:
                return
