"""An LMTP server that takes so many milliseconds for each mail: `python -m tests.servers.slow_lmtp MS FILE`.

It prints the port that it listens on, and adds to FILE, for each mail that it took, when that was (monotonic seconds, 8
octets). Between a mail's dot and its reply it waits, and does nothing else on that connection: as a mail store does
that syncs its disk. Connections don't disturb each other.
"""

import asyncio
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO, Final

MOMENT: Final = struct.Struct("d")
LONGEST: Final = 1024 * 1024


async def serve(seconds: float, log: IO[bytes]) -> None:
    """Take mail for ever."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            writer.write(b"220 slow.example LMTP\r\n")
            while (line := await reader.readline()) and not line.upper().startswith(b"QUIT"):
                writer.write(_reply(line))
                if line.upper().startswith(b"DATA"):
                    await reader.readuntil(b"\r\n.\r\n")
                    await asyncio.sleep(seconds)
                    log.write(MOMENT.pack(time.monotonic()))
                    writer.write(b"250 2.0.0 saved\r\n")
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, limit=LONGEST)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def _reply(line: bytes) -> bytes:
    if line.upper().startswith(b"LHLO"):
        return b"250-slow.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000000\r\n"
    return b"354 go on\r\n" if line.upper().startswith(b"DATA") else b"250 2.0.0 OK\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowLmtp:
    """The server in a process of its own, while it runs."""

    port: int
    pid: int
    log: Path

    @property
    def moments(self) -> list[float]:
        """When each mail was taken, by the clock of `time.monotonic`."""
        octets = self.log.read_bytes()
        return [moment for (moment,) in MOMENT.iter_unpack(octets[: len(octets) // MOMENT.size * MOMENT.size])]


@contextmanager
def slow_lmtp(milliseconds: int) -> Iterator[SlowLmtp]:
    """Run one."""
    with tempfile.NamedTemporaryFile(prefix="pps-lmtp-") as log:
        command = [sys.executable, "-m", "tests.servers.slow_lmtp", str(milliseconds), log.name]
        process = Popen(command, stdout=PIPE, text=True)
        try:
            assert process.stdout is not None
            yield SlowLmtp(port=int(process.stdout.readline()), pid=process.pid, log=Path(log.name))
        finally:
            process.kill()
            process.communicate()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt), Path(sys.argv[2]).open("ab", buffering=0) as opened:
        asyncio.run(serve(int(sys.argv[1]) / 1000, opened))
