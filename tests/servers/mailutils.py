"""GNU Mailutils' pop3d as another remote POP3 server: virtual users with Maildirs, one process a connection, as inetd.

Debian's package conflicts with Dovecot's, so `deploy/install-packages.sh` unpacks it into `build/` instead. What RETR
gives is the mail as planted, with a field X-UIDL at the header's end. LIST counts line ends as one octet.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from tests.maildir import canonical, count
from tests.servers.process import give, program

BUILD: Final = Path(__file__).parent.parent.parent / "build" / "mailutils"
PASSWORD: Final = "correct horse"
DOMAIN: Final = "remote.example"

SEALED: Final = "$6$ppspps$IPNOO2.dXKd7nMWOLI03bnfoZDb7fTBUxW.N4EMH6qKCrM8WSYsWK.Qtd8XikyO3FH9zbL1HpD37DgM/UtLM60"
"""The password, as crypt(3) has it."""

_CONFIG: Final = """
mode inetd;
auth {{ authentication generic:virtdomain; authorization virtdomain; }}
virtdomain {{ passwd-dir "{folder}/accounts"; }}
mandatory-locking {{ enable no; lock-directory "{folder}/locks"; }}
logging {{ syslog no; }}
"""


class Mailutils:
    """`with Mailutils() as server:` listens on `port` of 127.0.0.1; users come with `add_user`."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self._program = program("pop3d", package="(make test unpacks it)", folders=str(BUILD / "usr" / "sbin"))
        self._user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.folder = Path(tempfile.mkdtemp(prefix="pps-mailutils-"))
        self.folder.chmod(0o755)
        for part in ("accounts", "locks", "boxes"):
            (self.folder / part).mkdir()
            give(self.folder / part, self._user)
        (self.folder / "pop3d.conf").write_text(_CONFIG.format(folder=self.folder))
        self._socket = socket.create_server((self.host, 0), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self._sessions: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Listen."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End all and remove the folder."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for session in self._sessions:
            session.kill()
            session.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_user(self, user: str) -> str:
        """Make an account with an empty mailbox; return the name that it signs in with."""
        account = pwd.getpwnam(self._user)
        home = self.folder / "boxes" / user
        for path in (home, home / "INBOX", *(home / "INBOX" / part for part in ("new", "cur", "tmp"))):
            path.mkdir()
            give(path, self._user)
        line = f"{user}:{SEALED}:{account.pw_uid}:{account.pw_gid}::{home}:/bin/false\n"
        with (self.folder / "accounts" / DOMAIN).open("a") as file:
            file.write(line)
        return f"{user}@{DOMAIN}"

    def plant(self, user: str, mails: Iterable[bytes]) -> None:
        """Put mails into a mailbox."""
        folder = self.folder / "boxes" / user / "INBOX" / "new"
        for number, raw in enumerate(mails):
            path = folder / f"{number:06d}.M{number}.remote"
            path.write_bytes(canonical(raw))
            give(path, self._user)

    def count(self, user: str) -> int:
        """Return how many mails a mailbox holds."""
        return count(self.folder / "boxes" / user / "INBOX")

    def _accept(self) -> None:
        command = [self._program, f"--config-file={self.folder}/pop3d.conf", "-i"]
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._socket.accept()
                with connection:
                    inetd = subprocess.Popen(
                        command, stdin=connection.fileno(), stdout=connection.fileno(), stderr=subprocess.DEVNULL
                    )
                self._sessions.append(inetd)
