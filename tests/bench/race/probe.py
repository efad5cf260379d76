"""What the machine itself gives: files synced a second, and polls a second of a client that does nothing else."""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from common.target_settings import TargetSettings
from tests.bench.race.boxes import PASSWORD

THREADS: Final[int] = TargetSettings.model_fields["connections"].default


def files_a_second(count: int, octets: int) -> float:
    """Write so many files of so many octets in one folder, each synced, in as many threads as a Maildir target has."""
    with tempfile.TemporaryDirectory(prefix="pps-probe-") as name, ThreadPoolExecutor(THREADS) as threads:
        folder, data = Path(name), os.urandom(octets)
        began = time.perf_counter()
        list(
            threads.map(
                lambda numbers: _write(folder, numbers, data), [range(t, count, THREADS) for t in range(THREADS)]
            )
        )
        return count / (time.perf_counter() - began)


def _write(folder: Path, numbers: range, data: bytes) -> None:
    for number in numbers:
        descriptor = os.open(folder / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.close(descriptor)


def polls_a_second(port: int, boxes: Sequence[str], at_once: int) -> float:
    """Sign in to each mailbox, list it, and quit, with the commands that PPS needs for an empty one."""
    began = time.perf_counter()
    asyncio.run(_poll_all(port, boxes, at_once))
    return len(boxes) / (time.perf_counter() - began)


async def _poll_all(port: int, boxes: Sequence[str], at_once: int) -> None:
    waiting = iter(boxes)

    async def work() -> None:
        for box in waiting:
            await _poll(port, box)

    await asyncio.gather(*(work() for _ in range(at_once)))


async def _poll(port: int, box: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    for command, end in (
        (b"CAPA", b"\r\n.\r\n"),
        (b"USER " + box.encode(), b"\r\n"),
        (b"PASS " + PASSWORD.encode(), b"\r\n"),
        (b"LIST", b"\r\n.\r\n"),
        (b"QUIT", b"\r\n"),
    ):
        writer.write(command + b"\r\n")
        if not (await reader.readuntil(end)).startswith(b"+OK"):
            raise ConnectionError(f"{command.split()[0].decode()} refused")
    writer.close()
    await writer.wait_closed()
