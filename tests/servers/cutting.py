"""A relay between a client and a server of this machine that cuts connections after a number of octets."""

import socket
import threading
from collections.abc import Iterable
from typing import Final, Self

CHUNK: Final = 16 * 1024


class CuttingRelay:
    """Passes connections on to `port`; each of the next ones is cut after so many octets of the server's.

    `cuts` holds the numbers that are still to be used up; after them, all passes. It runs in threads of its own.
    `at`: the port where it listens, so that another can take its place.
    """

    def __init__(self, port: int, cuts: Iterable[int] = (), *, at: int = 0) -> None:
        self._there = port
        self._cuts = list(cuts)
        self._listening = socket.create_server(("127.0.0.1", at))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Refuse and cut all."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            left = list(self._open)
        for connection in left:
            _cut(connection)
        self._thread.join()

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._listening.getsockname()[1]
        return port

    @property
    def left(self) -> int:
        """How many connections are still to be cut."""
        return len(self._cuts)

    def _serve(self) -> None:
        passing: list[threading.Thread] = []
        while True:
            try:
                here, _ = self._listening.accept()
            except OSError:
                break
            there = socket.create_connection(("127.0.0.1", self._there))
            with self._lock:
                self._open |= {here, there}
                octets = self._cuts.pop(0) if self._cuts else None
            for source, to, most in ((here, there, None), (there, here, octets)):
                passing.append(threading.Thread(target=self._pass, args=(source, to, most), daemon=True))
                passing[-1].start()
        for thread in passing:
            thread.join()

    def _pass(self, source: socket.socket, to: socket.socket, most: int | None) -> None:
        passed = 0
        try:
            while most is None or passed < most:
                octets = source.recv(CHUNK if most is None else min(CHUNK, most - passed))
                if not octets:
                    break
                to.sendall(octets)
                passed += len(octets)
        except OSError:
            pass  # the other way ended it
        for connection in (source, to):
            _cut(connection)
            with self._lock:
                self._open.discard(connection)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # cut already
    finally:
        connection.close()
