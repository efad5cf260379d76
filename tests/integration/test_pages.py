"""The small HTTP server: it answers what it is asked for, and nobody who behaves badly keeps it from that."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import FilteringBoundLogger

from common import pages
from common.failures import UsageError
from common.http_place import parse_place
from common.pages import Answer, Pages
from tests.command import pps
from tests.integration.service import MAILDIR, install
from tests.scraped import page_of
from tests.servers.process import free_port

LOG: Final[FilteringBoundLogger] = structlog.get_logger()


async def hello() -> Answer:
    """Return a page."""
    return Answer(body=b"hello\n")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Serve one page on loopback."""
    port = free_port()
    place = parse_place(f"127.0.0.1:{port}")
    assert place is not None
    server = Pages({"/hello": hello}, LOG)
    assert await server.open(place) == f"127.0.0.1:{port}"
    yield port
    await server.close()


async def said(port: int, request: bytes) -> bytes:
    """Send octets and return all that comes until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    return answer


async def test_a_page_is_served_whatever_the_host_is_called(port: int) -> None:
    """Prometheus may come by any name or address; a query changes nothing."""
    assert (await page_of(port, "/hello?x=1")).text == "hello\n"
    answer = await said(port, b"GET /hello HTTP/1.1\r\nHost: pps.example.com\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\nhello\n")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", b"404 Not Found"),
        (b"GET /../etc/passwd HTTP/1.1", b"404 Not Found"),
        (b"GET /hello/ HTTP/1.1", b"404 Not Found"),
        (b"POST /hello HTTP/1.1", b"405 Method Not Allowed"),
        (b"DELETE /hello HTTP/1.1", b"405 Method Not Allowed"),
        (b"GET /hello", b"400 Bad Request"),
        (b"\x16\x03\x01\x02\x00", b"400 Bad Request"),
    ],
)
async def test_what_is_not_a_get_of_a_page_gets_none(port: int, request_line: bytes, status: bytes) -> None:
    """And nothing of what was asked is in the answer."""
    answer = await said(port, request_line + b"\r\nHost: canary\r\n\r\n")

    assert answer.partition(b"\r\n")[0] == b"HTTP/1.1 " + status
    assert b"canary" not in answer
    assert b"passwd" not in answer


async def test_a_request_without_end_is_cut(port: int) -> None:
    """What is read of one is bounded."""
    answer = await said(port, b"GET /hello HTTP/1.1\r\nX: " + b"x" * pages.MAX_REQUEST)

    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_a_body_is_not_read(port: int) -> None:
    """Nobody has anything to tell us."""
    answer = await said(port, b"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\nxxxx")

    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_page_that_fails_costs_one_answer() -> None:
    """It is in the log, and whoever asks next is answered as ever; what went wrong is nobody else's to read."""
    faults = [ValueError("canary")]

    async def faulty() -> Answer:
        if faults:
            raise faults.pop()
        return await hello()

    port = free_port()
    place = parse_place(f"127.0.0.1:{port}")
    assert place is not None
    with capture_logs() as lines:
        server = Pages({"/hello": faulty}, structlog.get_logger())
        await server.open(place)
        first, second = await page_of(port, "/hello"), await page_of(port, "/hello")
        await server.close()

    assert (first.status_code, first.text) == (500, "500 Internal Server Error\n")
    assert second.text == "hello\n"
    assert [(line["event"], line["page"]) for line in lines] == [("page_failed", "/hello")]


async def test_who_asks_nothing_is_hung_up_on(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a deadline, and with nobody else held up meanwhile."""
    monkeypatch.setattr(pages, "DEADLINE_SECONDS", 0.2)
    silent, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /hel")

    assert (await page_of(port, "/hello")).text == "hello\n"
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            assert await silent.read() == b""
    writer.close()


async def test_who_reads_no_answer_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that nobody reads would keep its descriptor for ever, and a worker that has none left does nothing."""
    monkeypatch.setattr(pages, "DEADLINE_SECONDS", 0.2)
    served: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def page() -> Answer:
        return Answer(body=b"x" * 60_000)  # less than what asyncio calls full, more than the socket takes

    server = Pages({"/page": page}, LOG)
    serve = server._serve

    async def seen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        await serve(reader, writer)
        served.put_nowait(writer)

    monkeypatch.setattr(server, "_serve", seen)
    place = parse_place(f"127.0.0.1:{free_port()}")
    assert place is not None
    await server.open(place)
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        silent.connect(("127.0.0.1", place.ports[0]))
        silent.sendall(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(60):
            writer = await served.get()
        await asyncio.sleep(0)  # the loop closes it in its next round
        assert writer.get_extra_info("socket").fileno() == -1
    await server.close()


async def test_only_so_many_may_connect(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds them all open is in nobody's way for longer than the deadline."""
    monkeypatch.setattr(pages, "MAX_CONNECTIONS", 2)
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]

    async with asyncio.timeout(60):
        refused = False
        while not refused:  # until both of the first are known to the server
            try:
                refused = await said(port, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n") == b""
            except ConnectionError:
                refused = True
    for _, writer in held:
        writer.close()

    async with asyncio.timeout(60):
        while not (await said_or_nothing(port)).startswith(b"HTTP/1.1 200 OK"):
            pass


async def said_or_nothing(port: int) -> bytes:
    """Return the answer, b"" where the connection is dropped."""
    try:
        return await said(port, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    except ConnectionError:
        return b""


async def test_of_a_range_the_first_free_port_is_taken(port: int) -> None:
    """So that any number of processes on one machine share one configuration."""
    place = parse_place(f"127.0.0.1:{port}-{port + 1}")
    assert place is not None
    other = Pages({"/hello": hello}, LOG)
    try:
        assert await other.open(place) == f"127.0.0.1:{port + 1}"
        with pytest.raises(UsageError, match=rf"\[service\] http: 127.0.0.1:{port}-{port + 1} are all in use: "):
            await Pages({}, LOG).open(place)
    finally:
        await other.close()


async def test_everybody_is_served_where_the_file_says_so() -> None:
    """By IPv4 and IPv6, where the machine has it."""
    port = free_port()
    place = parse_place(f"*:{port}")
    assert place is not None
    server = Pages({"/hello": hello}, LOG)
    await server.open(place)
    try:
        for host in ("127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /hello HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"hello\n")
            writer.close()
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("203.0.113.1:9400", "can't listen on 203.0.113.1:9400: Cannot assign requested address"),
        ("no.such.host.invalid:9400", "can't listen on no.such.host.invalid:9400: "),
    ],
)
async def test_a_place_that_can_t_be_had_is_told_with_the_key(place: str, complaint: str) -> None:
    """An address that is none of this machine's, or no address at all."""
    parsed = parse_place(place)
    assert parsed is not None

    with pytest.raises(UsageError) as caught:
        await Pages({}, LOG).open(parsed)

    assert str(caught.value).startswith(f"[service] http: {complaint}")


async def test_a_port_that_is_taken_is_one_line_at_the_start(tmp_path: Path, port: int) -> None:
    """The service doesn't begin to work without what it was asked to show."""
    install(tmp_path, http=f"127.0.0.1:{port}", targets={"local": {"url": MAILDIR}})

    ended = await asyncio.to_thread(pps, "run", folder=tmp_path)

    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.startswith(f"pps: [service] http: 127.0.0.1:{port} is in use: name another port, a range ")
