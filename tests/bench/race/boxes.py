"""Mailboxes that are filled once and given to each program anew: the mails linked, Dovecot's indexes copied."""

import os
import poplib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.bench.race.accounting import digest
from tests.servers.dovecot import Dovecot

PASSWORD: Final = "bench"
"""Without a blank: it stands in the peers' files, each of which quotes in its own way."""

_FOLDERS: Final = ("new", "cur", "tmp")

Mails = Iterable[tuple[bytes, tuple[str, ...]]]
"""Mails, each with the names of the Maildirs that must hold it."""


class Boxes:
    """The POP3 mailboxes of one workload. Each refill gives them the same mails, UIDLs and warm indexes again."""

    def __init__(self, dovecot: Dovecot, contents: Mapping[str, Mails]) -> None:
        self.names = tuple(contents)
        self.mails = 0
        self.planted: dict[str, Counter[bytes]] = {}  # digests of what each Maildir must hold
        self._dovecot = dovecot
        self._kept = dovecot.folder / "kept"
        self._kept.mkdir()
        for name, mails in contents.items():
            dovecot.add_user(name, PASSWORD)
            dovecot.plant(name, self._noted(mails))
            self._warm(name)
            self._maildir(name).rename(self._kept / name)
        self.refill(self.names)

    def refill(self, names: Iterable[str]) -> None:
        """Put back what a program has fetched; only while no session is open."""
        for name in names:
            shutil.rmtree(self._maildir(name), ignore_errors=True)
            shutil.copytree(self._kept / name, self._maildir(name), copy_function=_copied)
            _own_like(self._kept / name, self._maildir(name))

    def empty(self, names: Iterable[str]) -> None:
        """Remove all mail; only while no session is open."""
        for name in names:
            for part in ("new", "cur"):
                for path in (self._maildir(name) / part).iterdir():
                    path.unlink()

    def left(self, names: Iterable[str]) -> int:
        """Return how many mails are on the server."""
        return sum(self._dovecot.count(name) for name in names)

    def _noted(self, mails: Mails) -> Iterator[bytes]:
        for raw, maildirs in mails:
            for maildir in maildirs:
                self.planted.setdefault(maildir, Counter())[digest(raw)] += 1
            self.mails += 1
            yield raw

    def _maildir(self, name: str) -> Path:
        return self._dovecot.folder / "pop3" / name / "Maildir"

    def _warm(self, name: str) -> None:
        """List the mailbox once, so that Dovecot writes its index before any program is measured."""
        session = poplib.POP3("127.0.0.1", self._dovecot.pop3_port, timeout=60)
        session.user(name)
        session.pass_(PASSWORD)
        session.list()
        session.uidl()
        session.quit()


def _copied(source: str, target: str) -> None:
    """Link a mail, which no server changes in place; copy an index, which Dovecot does change."""
    if Path(source).parent.name in _FOLDERS:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _own_like(source: Path, target: Path) -> None:
    """Give folders and copied indexes their owner, which a copy loses where we are root."""
    for path in (source, *(found for found in source.rglob("*") if found.is_dir() or found.parent == source)):
        status = path.stat()
        os.chown(target / path.relative_to(source), status.st_uid, status.st_gid)
