"""Debian's microsocks as a SOCKS5 proxy on loopback, with or without an account."""

from pathlib import Path
from typing import Final, Self

from tests.servers.process import Process, accepts, free_port, program

USER: Final = "proxy-user"
PASSWORD: Final = "canary-proxy-password"


class SocksProxy:
    """A proxy of its own. `with SocksProxy(folder) as proxy:` starts and stops it."""

    def __init__(self, folder: Path, *, account: bool = False) -> None:
        self._program = program("microsocks", package="microsocks")
        self._folder = folder
        self._account = ["-u", USER, "-P", PASSWORD] if account else []
        self._process: Process | None = None
        self.port = free_port()

    def __enter__(self) -> Self:
        """Start it."""
        command = [self._program, "-i", "127.0.0.1", "-p", str(self.port), *self._account]
        self._process = Process(command, folder=self._folder, log=self._folder / "microsocks.log")
        self._process.wait_until(lambda: accepts(self.port))
        return self

    def __exit__(self, *_error: object) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()

    @property
    def url(self) -> str:
        """Where it is, in the form that a profile takes."""
        return f"socks5://127.0.0.1:{self.port}"
