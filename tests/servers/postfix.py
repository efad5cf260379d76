"""Debian's Postfix as a local SMTP server, in a folder of its own, on a port of its own. Its master needs root."""

import os
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import pytest

from tests.maildir import messages
from tests.servers.process import Process, accepts, free_port, give, program

DOMAIN: Final = "local.example"
OWNER: Final = "postfix"
NOBODY: Final = 65_534
"""Whose the mailboxes are: Postfix delivers as no user that it is itself."""

MAIN: Final = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = {owner}
setgid_group = postdrop
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
myhostname = {domain}
mydestination =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
# A client's mail is left as it is: no field is added to it.
local_header_rewrite_clients =
smtpd_peername_lookup = no
# Nothing leaves this machine.
default_transport = error:no
relay_transport = error:no
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = texthash:{folder}/users
virtual_uid_maps = static:{nobody}
virtual_gid_maps = static:{nobody}
"""

MASTER: Final = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """A Postfix that takes mail for some users at local.example. `with Postfix() as postfix:`."""

    def __init__(self, users: Sequence[str] = ("ann", "bob")) -> None:
        self._program = program("postfix", package="postfix")
        if os.geteuid() != 0:
            pytest.skip("Postfix's master runs as root only")
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="pps-postfix-"))
        self.folder.chmod(0o755)
        for part in ("queue", "data", "mail", "etc"):
            (self.folder / part).mkdir()
        give(self.folder / "data", OWNER)
        os.chown(self.folder / "mail", NOBODY, NOBODY)
        (self.folder / "users").write_text("".join(f"{user}@{DOMAIN} {user}/\n" for user in users))
        names = {"folder": self.folder, "owner": OWNER, "domain": DOMAIN, "nobody": NOBODY, "port": self.port}
        (self.folder / "etc" / "main.cf").write_text(MAIN.format(**names))
        (self.folder / "etc" / "master.cf").write_text(MASTER.format(**names))
        self._process: Process | None = None

    def __enter__(self) -> Self:
        """Start it, and return once it greets."""
        command = [self._program, "-c", str(self.folder / "etc"), "start-fg"]
        self._process = Process(command, folder=self.folder, log=self.folder / "output.log")
        self._process.wait_until(lambda: accepts(self.port, b"220"))
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop it and remove its folder."""
        if self._process is not None:
            self._process.stop(signal.SIGTERM)
            self._process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def url(self) -> str:
        """What a target's url says to reach it."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "postfix.log").read_text(errors="replace")

    def inbox(self, user: str) -> list[bytes]:
        """Return what it delivered to a user, as stored: below its own fields, CRLF as LF."""
        return messages(self.folder / "mail" / user)
