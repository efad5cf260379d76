"""How each program is told to do the same: fetch all mail, each file synced to disk, and delete; else by its defaults.

Fetchmail has no Maildir of its own: Debian's `safecat` writes each file, and syncs it as the others do.
"""

import os
import pwd
import shlex
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.race.boxes import PASSWORD

DOMAIN: Final = "example.com"
ENVELOPE: Final = "X-Envelope-To"
"""A field that names both recipients, for the multidrop of getmail6, which takes no address from To."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one run of a program happens."""

    folder: Path  # empty before
    port: int
    boxes: Sequence[str]
    users: Sequence[str] = ()  # of a catch-all: who may be named; else each box is a user

    @property
    def maildirs(self) -> Path:
        """Holds a Maildir for each user."""
        return self.folder / "mail"


class Program(ABC):
    """One way to run one program."""

    executables: Sequence[str] = ()
    package = ""  # Debian's

    def __init__(self, *, at_once: int = 1) -> None:
        self.at_once = at_once

    @property
    @abstractmethod
    def kind(self) -> str:
        """What it is called."""

    @property
    def name(self) -> str:
        """What it is called, and how many run side by side."""
        return self.kind + (f" -P{self.at_once}" if self.at_once > 1 else "")

    @abstractmethod
    def prepare(self, place: Place) -> None:
        """Write what it reads."""

    @abstractmethod
    def command(self, place: Place) -> Sequence[str]:
        """Return what fetches one box, `{}` being its name, or all of them if there is no `{}`."""

    def whole(self, place: Place) -> Sequence[str]:
        """Return what fetches all boxes."""
        return ["xargs", f"-P{self.at_once}", "-I{}", *self.command(place)]

    def make_maildirs(self, place: Place) -> None:
        """Make each user's Maildir: not all programs do, and one that is made must be synced, too."""
        for user in place.users or place.boxes:
            for part in ("", "tmp", "new", "cur"):
                (place.maildirs / user / part).mkdir(parents=True, mode=0o700)


class Mpop(Program):
    """Mpop: pipelines, and syncs each file, but not its folder."""

    kind = "mpop"
    executables = ("mpop",)
    package = "mpop"

    def prepare(self, place: Place) -> None:
        """See Program."""
        self.make_maildirs(place)
        for box in place.boxes:
            _write(
                place.folder / f"{box}.conf",
                f"account {box}\nhost 127.0.0.1\nport {place.port}\nuser {box}\npassword {PASSWORD}\nauth user\n"
                f"tls off\ndelivery maildir {place.maildirs / box}\nkeep off\nuidls_file {place.folder / box}.uidls\n",
            )

    def command(self, place: Place) -> Sequence[str]:
        """See Program."""
        return ["mpop", "--quiet", f"--file={place.folder}/{{}}.conf", "{}"]


class Fdm(Program):
    """Fdm: one command at a time; it syncs each mail twice, once in its spool."""

    kind = "fdm"
    executables = ("fdm",)
    package = "fdm"

    def prepare(self, place: Place) -> None:
        """See Program."""
        self.make_maildirs(place)
        for box in place.boxes:
            _write(
                place.folder / f"{box}.conf",
                f'set maximum-size 100M\nset lock-file "{place.folder / box}.lock"\nset default-user "{_user()}"\n'
                f'account "it" pop3 server "127.0.0.1" port {place.port} user "{box}" pass "{PASSWORD}"\n'
                f'action "keep" maildir "{place.maildirs / box}"\nmatch all action "keep"\n',
            )

    def command(self, place: Place) -> Sequence[str]:
        """See Program."""
        return ["fdm", "-f", f"{place.folder}/{{}}.conf", "fetch"]


class Getmail(Program):
    """Getmail6: one command at a time, and a process for each delivery, which it does not make as root."""

    kind = "getmail6"
    executables = ("getmail",)
    package = "getmail6"

    def prepare(self, place: Place) -> None:
        """See Program."""
        self.make_maildirs(place)
        for box in place.boxes:
            # Each has a folder of its own: there it keeps what it has seen.
            (place.folder / f"{box}.getmail").mkdir()
            retriever, destination = self._ways(place, box)
            _write(
                place.folder / f"{box}.getmail" / "rc",
                f"[retriever]\n{retriever}server = 127.0.0.1\nport = {place.port}\nusername = {box}\n"
                f"password = {PASSWORD}\ntimeout = 20\n[destination]\n{destination}"
                "[options]\nread_all = true\ndelete = true\nverbose = 0\n",
            )
        if os.geteuid() == 0:
            account = pwd.getpwnam(_ORDINARY)
            for path in (place.folder, *place.folder.rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid)

    def command(self, place: Place) -> Sequence[str]:
        """See Program."""
        ordinary = ["setpriv", f"--reuid={_ORDINARY}", f"--regid={_ORDINARY}", "--clear-groups"]
        return [
            *(ordinary if os.geteuid() == 0 else []),
            *("getmail", f"--getmaildir={place.folder}/{{}}.getmail", "--rcfile=rc"),
        ]

    def _ways(self, place: Place, box: str) -> tuple[str, str]:
        if not place.users:
            return "type = SimplePOP3Retriever\n", f"type = Maildir\npath = {place.maildirs / box}/\n"
        users = "".join(f"  ('{user}@{DOMAIN}', '{place.maildirs / user}/'),\n" for user in place.users)
        return (
            f"type = MultidropPOP3Retriever\nenvelope_recipient = {ENVELOPE}:1\n",
            f"type = MultiSorter\ndefault = {place.maildirs / place.users[0]}/\nlocals = (\n{users}  )\n",
        )


class Fetchmail(Program):
    """Fetchmail: one command at a time, and a delivery agent for each mail."""

    kind = "fetchmail"
    executables = ("fetchmail", "safecat")
    package = "fetchmail safecat"

    def prepare(self, place: Place) -> None:
        """See Program."""
        self.make_maildirs(place)
        maildirs = shlex.quote(str(place.maildirs))
        _write(
            place.folder / "many",
            '#!/bin/sh\nmail=$(mktemp) && cat >"$mail" && for user in $*; do user=${user%@*}\n'
            f"safecat {maildirs}/$user/tmp {maildirs}/$user/new <$mail || exit 75; done && rm $mail\n",
        )
        (place.folder / "many").chmod(0o700)
        for box in place.boxes:
            (place.folder / f"{box}.home").mkdir()
            agent = " ".join(["safecat", *(str(place.maildirs / box / part) for part in ("tmp", "new"))])
            drop, local = "", f"is {_user()} here"
            if place.users:
                agent, drop = f"{place.folder}/many %T", f"no dns localdomains {DOMAIN} no envelope "
                local = f"is {' '.join(place.users)} here"
            _write(
                place.folder / f"{box}.rc",
                f'set no bouncemail\nset no syslog\nset pidfile "{place.folder / box}.pid"\n'
                f"poll 127.0.0.1 service {place.port} protocol POP3 {drop}"
                f'user "{box}" password "{PASSWORD}" {local} sslproto "" mda "{agent}" '
                "fetchall no keep no rewrite fetchsizelimit 0\n",
            )

    def command(self, place: Place) -> Sequence[str]:
        """See Program."""
        home = f"FETCHMAILHOME={place.folder}/{{}}.home"
        return ["env", home, "fetchmail", "--silent", "-f", f"{place.folder}/{{}}.rc"]


class Pps(Program):
    """PPS: one process for all boxes."""

    kind = "PPS"

    def prepare(self, place: Place) -> None:
        """See Program. The ledger is made beforehand, as the Maildirs are."""
        self.make_maildirs(place)
        write_config(place)
        known = {**os.environ, "BENCH_PASSWORD": PASSWORD}
        subprocess.run([pps(), "profile", "sync"], cwd=place.folder, env=known, check=True, stdout=subprocess.DEVNULL)

    def command(self, place: Place) -> Sequence[str]:
        """See Program."""
        return [pps(), "pull", "--config", str(place.folder / "pps.toml")]

    def whole(self, place: Place) -> Sequence[str]:
        """See Program."""
        return self.command(place)


def pps() -> str:
    """Return the command as a user has it."""
    return str(Path(sys.executable).with_name("pps"))


def write_config(place: Place, *, sessions: int = 100, interval: str = "10m", **service: str) -> None:
    """Write a configuration with a profile for each box; with users, the one box is a catch-all."""
    local = f'distribute = true\nlocal_domain = ["{DOMAIN}"]\n' if place.users else ""
    lines = "".join(f'{key} = "{value}"\n' for key, value in service.items())
    profiles = "".join(
        f'[[profile]]\nname = "{box}"\nserver = "127.0.0.1 {place.port}"\nuser = "{box}"\n'
        'password = "env:BENCH_PASSWORD"\n'
        f'local_user = "{place.users[0] if place.users else box}"\ninterval = "{interval}"\n{local}'
        for box in place.boxes
    )
    (place.folder / "pps.toml").write_text(
        f"[service]\nsessions = {sessions}\nhost_sessions = {sessions}\n{lines}"
        f'[target.local]\nurl = "maildir:mail/{{user}}?create=yes"\n{profiles}'
    )


_ORDINARY: Final = "dovecot"
"""Whom getmail6 runs as where we are root."""


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
