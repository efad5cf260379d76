"""One mail on its way into one Maildir: all that blocks. Its steps run in threads, one after the other.

tmp → fsync → link into new. The link is the moment of delivery: before it a crash leaves a file in tmp that nobody
reads, after it the mail is whole. The name is the same at each attempt, so that a link made twice fails.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import threading
from enum import Enum, auto
from pathlib import Path
from typing import IO, Final

FOLDERS: Final = ("tmp", "new", "cur")

SUBFOLDER_MARK: Final = "maildirfolder"
"""The empty file by which Maildir++ tells a mailbox's subfolder, `.name`, from a mailbox: quotas count by it."""

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKING: Final = threading.Lock()
"""Whoever finds a folder that another thread has just made must not count on it before it is durable."""

_LINK_TRIES: Final = 3
"""A mail reader may move or remove the mail of our name between our looks; hardly ever twice."""


class Found(Enum):
    """Where the mail is after `link`."""

    NEW = auto()
    CUR = auto()  # delivered by an earlier attempt, and seen by a mail reader since
    DIFFERENT = auto()  # another mail has our name: nothing was done


class MailFile:
    """Writes one mail into the Maildir `path`, which must resolve to a place in `base`. Not for two threads at once."""

    def __init__(self, path: str, *, base: str, name: str, create: bool) -> None:
        self.fsyncs = 0
        self.folder = ""  # the resolved Maildir, once there is one
        self._path = path
        self._base = base
        self._name = name
        # A name of its own each time: what a dead attempt left in tmp may be linked in new already, so it must never
        # be written to again; and one that is still alive somewhere must not find its file replaced.
        self._tmp_name = f"{name}.{secrets.token_hex(4)}"
        self._create = create
        self._folders: dict[str, int] = {}
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes, *, last: bool) -> None:
        """Append octets to the file in tmp; with the last ones it becomes durable there. Raises OSError."""
        if self._file is None:
            self._open()
        assert self._file is not None  # noqa: S101 (opened above; says so to the type checker)
        self._file.write(data)
        self._digest.update(data)
        self._size += len(data)
        if last:
            self._file.flush()
            os.fsync(self._file.fileno())
            self.fsyncs += 1
            self._file.close()

    def link(self, *, again: bool) -> Found:
        """Deliver; if the mail is there already, find out whether it is this one. Raises OSError."""
        if again:
            self._remove_leftovers()
        for _ in range(_LINK_TRIES):
            seen = self._seen_name() if again else None
            if seen is not None:
                with contextlib.suppress(FileNotFoundError):
                    return Found.CUR if self._is_same("cur", seen) else Found.DIFFERENT
            try:
                os.link(self._tmp_name, self._name, src_dir_fd=self._folders["tmp"], dst_dir_fd=self._folders["new"])
            except FileExistsError:
                again = True
                with contextlib.suppress(FileNotFoundError):  # else it was moved to cur meanwhile
                    return Found.NEW if self._is_same("new", self._name) else Found.DIFFERENT
            else:
                return self._only_once() if again else Found.NEW
        raise OSError(errno.EBUSY, "the mail of this name comes and goes")

    def _only_once(self) -> Found:
        """Take back what was just linked if a reader moved the earlier delivery to cur after we looked there."""
        if self._seen_name() is None:
            return Found.NEW
        with contextlib.suppress(FileNotFoundError):  # it is ours that was moved
            os.unlink(self._name, dir_fd=self._folders["new"])
        return Found.CUR

    def close(self) -> None:
        """Remove the file in tmp, which is no longer needed, and close all."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                os.unlink(self._tmp_name, dir_fd=self._folders["tmp"])
        while self._folders:
            os.close(self._folders.popitem()[1])

    def _open(self) -> None:
        if self._create:
            with _MAKING:
                self._make_folders()
        self.folder = os.path.realpath(self._path)
        base = os.path.realpath(self._base)
        if os.path.commonpath([self.folder, base]) != base:
            raise OSError(errno.ELOOP, "a symbolic link leads out of the target's folder")
        for part in FOLDERS:
            self._folders[part] = os.open(os.path.join(self.folder, part), _OPEN_FOLDER)  # noqa: PTH118 (plain system calls here)
        descriptor = os.open(self._tmp_name, _CREATE, _FILE_MODE, dir_fd=self._folders["tmp"])
        self._file = os.fdopen(descriptor, "wb")

    def _make_folders(self) -> None:
        for part in FOLDERS:
            missing = []
            folder = Path(self._path, part)
            while not folder.exists():
                missing.append(folder)
                folder = folder.parent
            for new in reversed(missing):
                new.mkdir(_FOLDER_MODE, exist_ok=True)
                sync_folder(str(new.parent))  # a crash without it costs the folder, and with it the mail
                self.fsyncs += 1
                if new.name.startswith(".") and (new.parent / "cur").is_dir():
                    (new / SUBFOLDER_MARK).touch(_FILE_MODE)

    def _remove_leftovers(self) -> None:
        """Remove what attempts that died left in tmp; one that is alive after all can then no longer deliver."""
        with os.scandir(self._folders["tmp"]) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(f"{self._name}.")]
        for name in names:
            if name != self._tmp_name:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._folders["tmp"])

    def _seen_name(self) -> str | None:
        """Return our mail's name in cur, where readers put flags behind it: NAME:2,S."""
        prefixes = (f"{self._name}:", f"{self._name},")
        with os.scandir(self._folders["cur"]) as entries:
            names = (entry.name for entry in entries)
            return next((name for name in names if name == self._name or name.startswith(prefixes)), None)

    def _is_same(self, part: str, name: str) -> bool:
        descriptor = os.open(name, _READ, dir_fd=self._folders[part])
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(descriptor).st_size != self._size:
                return False
            return hashlib.file_digest(file, "sha256").digest() == self._digest.digest()


def sync_folder(folder: str) -> None:
    """Make the names in a folder durable; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def usable(base: str, *, create: bool) -> OSError | None:
    """Return what is wrong with the folder above all Maildirs, or None; a folder that is to be created need not be."""
    try:
        status = os.statvfs(base)
        os.close(os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except FileNotFoundError as error:
        return None if create else error
    except OSError as error:
        return error
    if status.f_flag & os.ST_RDONLY:
        return OSError(errno.EROFS, os.strerror(errno.EROFS))
    if status.f_blocks and not status.f_bavail:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return None
