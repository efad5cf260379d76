"""The small HTTP server of a process: GET of a few pages, one answer a connection. It knows no metric and no worker.

Whoever connects gets a bounded time and a bounded request; nothing of a request becomes a path, a log line or a page.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import h11
from structlog.typing import FilteringBoundLogger

from common.failures import UsageError
from common.http_place import Place

MAX_REQUEST: Final = 8192
"""Octets of a request line and its fields; Prometheus sends some hundred."""

DEADLINE_SECONDS: Final = 20.0
"""For a request and its answer: beyond it, Prometheus (10 s) and probes have long given up."""

MAX_CONNECTIONS: Final = 64
"""At one time: who holds them all open holds up nobody but those who look."""

_BACKLOG: Final = 64
_IN_USE: Final = frozenset({errno.EADDRINUSE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A page's content, or why there is none."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    kind: str = "text/plain; charset=utf-8"


Page = Callable[[], Awaitable[Answer]]


class Pages:
    """Serves pages by their path."""

    def __init__(self, pages: Mapping[str, Page], log: FilteringBoundLogger) -> None:
        self._pages = pages
        self._log = log
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[object]] = set()

    async def open(self, place: Place) -> str:
        """Listen, and return where; raises UsageError that names the key."""
        sockets = _listening(place)
        self._server = await asyncio.start_server(self._serve, sock=sockets)
        host, port = sockets.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def close(self) -> None:
        """Listen no more, and drop who is connected."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (coroutines run in tasks; says so to the type checker)
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self._answer(h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST), reader, writer)
                # What isn't read stays in our memory, and its descriptor open: that, too, ends at the deadline.
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, h11.ProtocolError):
            pass
        finally:
            writer.transport.abort()
            self._connections.discard(task)

    async def _answer(self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _request(http, reader)
        except h11.RemoteProtocolError as error:
            answer = _failure(HTTPStatus(error.error_status_hint))
        else:
            if request is None:
                return
            answer = await self._page(request)
        fields = {"Content-Type": answer.kind, "Content-Length": str(len(answer.body)), "Connection": "close"}
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            fields["Allow"] = "GET"
        head = h11.Response(
            status_code=answer.status, reason=answer.status.phrase, headers=list(fields.items()), http_version=b"1.1"
        )
        for event in (head, h11.Data(data=answer.body), h11.EndOfMessage()):
            writer.write(http.send(event) or b"")
        with contextlib.suppress(ConnectionError):  # who asked has gone
            await writer.drain()

    async def _page(self, request: h11.Request) -> Answer:
        path = request.target.partition(b"?")[0].decode("ascii", "replace")
        page = self._pages.get(path)
        if page is None:
            return _failure(HTTPStatus.NOT_FOUND)
        if request.method != b"GET":
            return _failure(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return await page()
        except Exception:  # noqa: BLE001 (a fault of ours must cost who looks an answer, not the next one too)
            self._log.exception("page_failed", page=path)
            return _failure(HTTPStatus.INTERNAL_SERVER_ERROR)


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """Return the request once its head is there; a body is not waited for. None: nothing came."""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        http.receive_data(await reader.read(MAX_REQUEST))


def _failure(status: HTTPStatus) -> Answer:
    return Answer(status=status, body=f"{status.value} {status.phrase}\n".encode())


def _listening(place: Place) -> socket.socket:
    """Return a socket on the first free port; raises UsageError."""
    for port in place.ports:
        try:
            return _bound(place.host, port)
        except OSError as error:
            if error.errno in _IN_USE:
                continue
            said = (error.strerror or str(error)).partition(" (")[0]  # what follows repeats the place
            raise UsageError(f"[service] http: can't listen on {place}: {said}") from error
    several = "is in use" if len(place.ports) == 1 else "are all in use"
    raise UsageError(
        f"[service] http: {place} {several}: name another port, a range (HOST:9400-9409), of which each process takes "
        'the first that is free, or one for each role: http = { fetcher = "HOST:9401", router = "HOST:9402" }'
    )


def _bound(host: str | None, port: int) -> socket.socket:
    if host is None:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=_BACKLOG)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
