"""popa3d as another remote POP3 server: one mbox an account, one process a connection, as inetd.

It serves accounts of the system only, with folders of the system, so each connection gets a mount namespace in which
those are the test's. Debian's package conflicts with Dovecot's: `deploy/install-packages.sh` unpacks it into `build/`.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

import pytest

from tests.maildir import canonical
from tests.servers.mailutils import SEALED
from tests.servers.process import program

BUILD: Final = Path(__file__).parent.parent.parent / "build" / "popa3d"
UID: Final = 5001

_ACCOUNTS: Final = {
    "passwd": "root:x:0:0::/:/bin/sh\npopa3d:x:5000:5000::/:/bin/false\n{user}:x:{uid}:{uid}::/:/bin/false\n",
    "group": "root:x:0:\npopa3d:x:5000:\nmail:x:8:\n{user}:x:{uid}:\n",
    "shadow": f"root:*:19000::::::\n{{user}}:{SEALED}:19000::::::\n",
}
_PAM: Final = "auth required pam_unix.so nodelay\naccount required pam_unix.so\n"
_SCRIPT: Final = """
set -e
for name in passwd group shadow pam.d; do mount --bind "$0/$name" "/etc/$name"; done
mount --bind "$0/mail" /var/mail
mount -t tmpfs tmpfs /var/lib
mkdir -m 755 /var/lib/popa3d
exec "$1"
"""
"""What is mounted is seen by this process alone, and gone with it."""


class Popa3d:
    """`with Popa3d() as server:` listens on `port` of 127.0.0.1; one user comes with `add_user`."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("popa3d is started with accounts of its own by root alone")
        self._program = program("popa3d", package="(make test unpacks it)", folders=str(BUILD / "usr" / "sbin"))
        self.folder = Path(tempfile.mkdtemp(prefix="pps-popa3d-"))
        self.folder.chmod(0o755)
        (self.folder / "mail").mkdir()
        (self.folder / "mail").chmod(0o1777)
        (self.folder / "pam.d").mkdir()
        (self.folder / "pam.d" / "popa3d").write_text(_PAM)
        self._socket = socket.create_server((self.host, 0), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self._sessions: list[subprocess.Popen[bytes]] = []
        self._accepting = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        """Listen."""
        self._accepting.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End all and remove the folder."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._socket.close()
        for session in self._sessions:
            session.kill()
            session.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_user(self, user: str) -> str:
        """Make the account, with an empty mailbox; return the name that it signs in with."""
        for name, lines in _ACCOUNTS.items():
            path = self.folder / name
            path.write_text(lines.format(user=user, uid=UID))
            path.chmod(0o600 if name == "shadow" else 0o644)
        self.plant(user, ())
        return user

    def plant(self, user: str, mails: Iterable[bytes]) -> None:
        """Put mails into the mailbox; none may have a line that begins with "From "."""
        path = self.folder / "mail" / user
        with path.open("ab") as file:
            file.writelines(
                b"From remote@example.org Thu Jan  1 00:00:00 2026\n" + canonical(raw).removesuffix(b"\n") + b"\n\n"
                for raw in mails
            )
        path.chmod(0o600)
        os.chown(path, UID, UID)

    def count(self, user: str) -> int:
        """Return how many mails the mailbox holds."""
        return (b"\n\n" + (self.folder / "mail" / user).read_bytes()).count(b"\n\nFrom ")

    def _accept(self) -> None:
        command = ["unshare", "--mount", "sh", "-c", _SCRIPT, str(self.folder), self._program]
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._socket.accept()
                with connection:
                    end = connection.fileno()
                    self._sessions.append(subprocess.Popen(command, stdin=end, stdout=end, stderr=subprocess.DEVNULL))
