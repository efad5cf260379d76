"""A POP3 server that gets no further than TLS, on blocking sockets: unlike asyncio's, they send alerts that say why."""

import contextlib
import socket
import ssl
import threading
from typing import Final, Self

ANSWERS: Final = {b"CAPA": b"+OK\r\nSTLS\r\n.\r\n", b"STLS": b"+OK\r\n"}


class PlainTls:
    """Greets, and answers CAPA and STLS. `with PlainTls(context) as server:` starts and stops it."""

    def __init__(self, context: ssl.SSLContext, *, implicit_tls: bool) -> None:
        self._context = context
        self._implicit = implicit_tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run)
        self._connection: socket.socket | None = None
        self.commands: list[bytes] = []

    def __enter__(self) -> Self:
        """Start it."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End it."""
        self._listening.shutdown(socket.SHUT_RDWR)
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)  # the client's loop is this thread's, and waits for us
        self._thread.join()
        self._listening.close()

    @property
    def server(self) -> str:
        """Where it is, in the form that a profile takes."""
        return f"127.0.0.1 {self._listening.getsockname()[1]}{'s' if self._implicit else ''}"

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                connection.settimeout(10)
                with contextlib.suppress(OSError):  # which TLS errors are, too
                    self._serve(connection)
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._implicit:
                connection = self._connection = self._context.wrap_socket(connection, server_side=True)
            connection.sendall(b"+OK ready\r\n")
            self._connection = connection
            while line := connection.recv(1000).strip():
                self.commands.append(line)
                connection.sendall(ANSWERS[line])
                if line == b"STLS":
                    connection = self._connection = self._context.wrap_socket(connection, server_side=True)
        finally:
            connection.close()
