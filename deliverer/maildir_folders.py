"""The folders of Maildirs, made and opened: kept open for a moment, for the next mail mostly goes to the same Maildir.

Whoever owns a Maildir may change it at any time, so mails are written relative to folders that are open, and were found
to be in the target's base.
"""

import errno
import os
import threading
import time
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Final

PARTS: Final = ("tmp", "new", "cur")

SUBFOLDER_MARK: Final = "maildirfolder"
"""The empty file by which Maildir++ tells a mailbox's subfolder, `.name`, from a mailbox: quotas count by it."""

KEPT_SECONDS: Final = 1.0
"""How long folders are used without a look whether the path still leads to them: it may be moved, or another's."""

KEPT: Final = 64
"""Maildirs whose folders are kept open: three descriptors each."""

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folders:
    """One Maildir's three folders, open as long as somebody holds this."""

    def __init__(self, path: str) -> None:
        self.path = path  # resolved
        self.descriptors: dict[str, int] = {}
        self.opened_at = time.monotonic()
        weakref.finalize(self, _close, self.descriptors)
        for part in PARTS:
            self.descriptors[part] = os.open(os.path.join(path, part), _OPEN_FOLDER)  # noqa: PTH118 (plain system calls here)


class MaildirFolders:
    """Finds, makes and opens folders, for threads. `fsyncs` counts those of folders that were made."""

    def __init__(self) -> None:
        self.fsyncs = 0
        self._kept: OrderedDict[tuple[str, str], Folders] = OrderedDict()
        # Whoever finds a folder that another thread has just made must not count on it before it is durable.
        self._lock = threading.Lock()

    def open(self, path: str, *, base: str, create: bool) -> Folders:
        """Return the folders of the Maildir `path`, which must resolve to a place in `base`. Raises OSError."""
        with self._lock:
            found = self._kept.get((path, base))
            if found is None or time.monotonic() > found.opened_at + KEPT_SECONDS:
                found = self._opened(path, base, create=create)
                self._kept[path, base] = found
                self._kept.move_to_end((path, base))
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return found

    def forget(self, path: str, *, base: str) -> None:
        """Look at the path anew the next time."""
        with self._lock:
            self._kept.pop((path, base), None)

    def close(self) -> None:
        """Let go of all."""
        with self._lock:
            self._kept.clear()

    def _opened(self, path: str, base: str, *, create: bool) -> Folders:
        if create:
            self._make(path)
        folder, within = os.path.realpath(path), os.path.realpath(base)
        if os.path.commonpath([folder, within]) != within:
            raise OSError(errno.ELOOP, "a symbolic link leads out of the target's folder")
        return Folders(folder)

    def _make(self, path: str) -> None:
        for part in PARTS:
            missing = []
            folder = Path(path, part)
            while not folder.exists():
                missing.append(folder)
                folder = folder.parent
            for new in reversed(missing):
                new.mkdir(_FOLDER_MODE, exist_ok=True)
                sync_folder(str(new.parent))  # a crash without it costs the folder, and with it the mail
                self.fsyncs += 1
                if new.name.startswith(".") and (new.parent / "cur").is_dir():
                    (new / SUBFOLDER_MARK).touch(_FILE_MODE)


def sync_folder(folder: str) -> None:
    """Make the names in a folder durable; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _close(descriptors: dict[str, int]) -> None:
    while descriptors:
        os.close(descriptors.popitem()[1])
