"""Debian's Dovecot 2.3 as a remote POP3 server and as a local LMTP server, with one set of users for each.

It runs without privileges, whoever starts the tests: as root it becomes Dovecot's own user. POP3 mailboxes are filled
by writing into the Maildir, so that ten thousand mails cost seconds; what RETR gives is then `as_lines(planted)`.
"""

import base64
import grp
import itertools
import json
import os
import pwd
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from tests.maildir import canonical, messages
from tests.servers.certificates import Certificates, issue
from tests.servers.dovecot_config import ACCOUNTS, CONFIG, OAUTH, OAUTH_PASSDB
from tests.servers.process import Process, accepts, as_user, free_port, give, program

PASSWORD: Final = "correct horse"
"""What a POP3 user has unless the test chose another."""

PLENTY: Final = 1_000_000_000
"""Octets that no test fills."""

LMTP_USERS: Final = ("ann", "bob", "carol", "postmaster")
LMTP_DOMAINS: Final = ("local.example", "example.com")

_CRLF: Final = re.compile(rb"(?<!\r)\r\n")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


class Dovecot:
    """A Dovecot of its own, in a folder of its own. `with Dovecot() as dovecot:` starts, stops and removes it.

    POP3 users come with `add_user`, each with an empty mailbox. LMTP takes mail for `lmtp_users` at `lmtp_domains`
    (or with no domain), and refuses all others with 550 5.1.1. With an `introspection_url` POP3 users may sign in with
    access tokens that are valid there (RFC 7662), too.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        *,
        lmtp_users: Sequence[str] = LMTP_USERS,
        lmtp_domains: Sequence[str] = LMTP_DOMAINS,
        tls: bool = True,
        introspection_url: str | None = None,
    ) -> None:
        self._program = program("dovecot", package="dovecot-core dovecot-pop3d dovecot-lmtpd")
        self._user = "dovecot" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        # Not pytest's tmp_path: the paths of Unix sockets end at 107 octets.
        self.folder = Path(tempfile.mkdtemp(prefix="pps-dovecot-"))
        self.certificates: Certificates | None = issue(self.folder) if tls else None
        self.pop3_port, self.pop3s_port, self.lmtp_port = free_port(), free_port() if tls else 0, free_port()
        self._passwords: dict[str, str] = {}
        self._planted = itertools.count(1)
        self._process: Process | None = None
        self._lay_out(introspection_url)
        for user in lmtp_users:
            self._own_folder(self.folder / "lmtp" / user)
            for at in ("", *(f"@{domain}" for domain in lmtp_domains)):
                self._write_account("lmtp", f"{user}{at}", home=self.folder / "lmtp" / user)
        for user, password in (users or {}).items():
            self.add_user(user, password)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop it and remove its folder."""
        self.close()

    @property
    def pid(self) -> int:
        """The master process; only while it runs."""
        return self._running().pid

    @property
    def log(self) -> str:
        """What Dovecot has logged so far."""
        path = self.folder / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start it, and return once POP3 and LMTP greet. The ports stay the same over restarts."""
        if self._process is not None and self._process.running:
            return
        command = [*as_user(self._user), self._program, "-F", "-c", str(self.folder / "dovecot.conf")]
        self._process = Process(command, folder=self.folder, log=self.folder / "output.log")
        self._process.wait_until(lambda: accepts(self.pop3_port, b"+OK") and accepts(self.lmtp_port, b"220"))

    def stop(self) -> None:
        """Stop it politely; running sessions are cut."""
        if self._process is not None:
            self._process.stop(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and all its processes at once."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Stop and start; mails, UIDLs, passwords and ports stay."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it and remove all it held."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_user(self, user: str, password: str = PASSWORD) -> str:
        """Make a POP3 account with an empty mailbox, or change the password of one; return the name."""
        self._passwords[user.lower()] = password
        self._own_folder(self._home(user))
        sealed = base64.b64encode(password.encode()).decode()
        self._write_account("pop3", user, home=self._home(user), password=f"{{PLAIN.b64}}{sealed}")
        return user

    def limit(self, user: str, octets: int | None) -> None:
        """Give a local user a quota, or lift it."""
        rule = f"*:bytes={octets or PLENTY}"  # with none, Dovecot would go by the one before, in the Maildir
        for at in ("", *(f"@{domain}" for domain in LMTP_DOMAINS)):
            self._write_account("lmtp", f"{user}{at}", home=self.folder / "lmtp" / user, quota_rule=rule)

    def password(self, user: str) -> str:
        """Return a POP3 user's password."""
        return self._passwords[user.lower()]

    def plant(self, user: str, mails: Iterable[bytes]) -> None:
        """Put mails into a POP3 user's mailbox, listed in this order after those already there."""
        maildir = self._home(user) / "Maildir"
        for raw in mails:
            # Dovecot puts a CR before each LF that has none, so "\\r\\r\\n" comes out whole only if stored whole.
            stored = _CRLF.sub(b"\n", raw)
            # It believes the sizes in a name (S: stored, W: on the wire), and so need not read each mail to list.
            on_the_wire = len(stored) + len(_BARE_LF.findall(stored))
            number = next(self._planted)
            name = f"{int(time.time())}.M{number:09d}P{os.getpid()}.pps,S={len(stored)},W={on_the_wire}"
            (maildir / "tmp" / name).write_bytes(stored)
            (maildir / "tmp" / name).rename(maildir / "new" / name)

    def remaining(self, user: str) -> list[bytes]:
        """Return a POP3 user's mails in the form of `tests.maildir.canonical` (CRLF as LF)."""
        return [canonical(raw) for raw in messages(self._home(user) / "Maildir")]

    def count(self, user: str) -> int:
        """Return how many mails a POP3 user's mailbox holds."""
        maildir = self._home(user) / "Maildir"
        return sum(1 for folder in ("new", "cur") for _ in os.scandir(maildir / folder))

    def inbox(self, user: str) -> list[bytes]:
        """Return what LMTP delivered to a local user, as stored: below a Return-Path, CRLF as LF."""
        return messages(self.folder / "lmtp" / user / "Maildir")

    def empty(self) -> None:
        """Remove all mail of all users on both sides; only while no session is open."""
        for maildir in self.folder.glob("*/*/Maildir"):
            shutil.rmtree(maildir)
            self._own_folder(maildir.parent)

    def _home(self, user: str) -> Path:
        return self.folder / "pop3" / user.lower()

    def _running(self) -> Process:
        if self._process is None or not self._process.running:
            raise RuntimeError("this Dovecot is not running")
        return self._process

    def _lay_out(self, introspection_url: str | None) -> None:
        group = grp.getgrgid(pwd.getpwnam(self._user).pw_gid).gr_name
        certificate = ""
        if self.certificates is not None:
            certificate = f"ssl_cert = <{self.certificates.chain}\nssl_key = <{self.certificates.key}"
            give(self.certificates.key, self._user)
        (self.folder / "accounts.conf").write_text(ACCOUNTS.format(folder=self.folder))
        bearer = introspection_url is not None
        (self.folder / "oauth2.conf").write_text(OAUTH.format(introspection_url=introspection_url))
        (self.folder / "dovecot.conf").write_text(
            CONFIG.format(
                folder=self.folder,
                user=self._user,
                group=group,
                ssl="yes" if certificate else "no",
                certificate=certificate,
                oauth_mechanisms=" xoauth2 oauthbearer" if bearer else "",
                oauth_passdb=OAUTH_PASSDB.format(folder=self.folder) if bearer else "",
                pop3_port=self.pop3_port,
                pop3s_port=self.pop3s_port,
                lmtp_port=self.lmtp_port,
            )
        )
        for part in (".", "run", "state", "pop3", "lmtp", "accounts", "accounts/pop3", "accounts/lmtp"):
            (self.folder / part).mkdir(exist_ok=True)
            give(self.folder / part, self._user)

    def _own_folder(self, home: Path) -> None:
        for part in ("", "Maildir", "Maildir/new", "Maildir/cur", "Maildir/tmp"):
            (home / part).mkdir(exist_ok=True)
            give(home / part, self._user)

    def _write_account(self, service: str, user: str, *, home: Path, **more: str) -> None:
        path = self.folder / "accounts" / service / user.lower()
        path.with_name(f".{path.name}").write_text(json.dumps({"home": str(home), **more}))
        path.with_name(f".{path.name}").replace(path)
