"""A process between a client and a server that delays what passes, each way: `python -m tests.bench.relay PORT MS`.

It prints the port that it listens on. Octets keep their order and are never held back by others than those before them.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from subprocess import PIPE, Popen
from typing import Final

CHUNK: Final = 64 * 1024


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Write what is read, so much later, until the end."""
    loop = asyncio.get_running_loop()
    waiting: deque[tuple[float, bytes]] = deque()
    arrived = asyncio.Event()

    async def write() -> None:
        while True:
            while not waiting:
                arrived.clear()
                await arrived.wait()
            at, octets = waiting.popleft()
            await asyncio.sleep(max(0.0, at - loop.time()))
            if not octets:
                return
            writer.write(octets)
            await writer.drain()

    writing = asyncio.create_task(write())
    octets = b"."
    try:
        while octets:
            octets = await reader.read(CHUNK)
            waiting.append((loop.time() + delay, octets))
            arrived.set()
        await writing
    finally:
        writing.cancel()


async def serve(port: int, delay: float) -> None:
    """Relay to a port of this machine for ever."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        ways = [
            asyncio.create_task(pass_on(reader, there_writer, delay)),
            asyncio.create_task(pass_on(there_reader, writer, delay)),
        ]
        with suppress(OSError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.close()
        there_writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1000)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """A relay that runs: its port, and the process, whose CPU is none of the client's."""

    port: int
    pid: int


@contextmanager
def relaying(port: int, milliseconds: int) -> Iterator[Relay]:
    """Run a relay in a process of its own."""
    process = Popen([sys.executable, "-m", "tests.bench.relay", str(port), str(milliseconds)], stdout=PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Relay(port=int(process.stdout.readline()), pid=process.pid)
    finally:
        process.kill()
        process.communicate()


@contextmanager
def relay_to(port: int, milliseconds: int) -> Iterator[int]:
    """Run a relay in a process of its own; return its port."""
    with relaying(port, milliseconds) as relay:
        yield relay.port


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]) / 1000))
