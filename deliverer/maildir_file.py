"""One mail on its way into one Maildir: all that blocks. Its steps run in threads, one after the other.

tmp → fsync → link into new. The link is the moment of delivery: before it a crash leaves a file in tmp that nobody
reads, after it the mail is whole. The name is the same at each attempt, so that a link made twice fails.
"""

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from deliverer.line_ends import MaildirEdge
from deliverer.maildir_folders import Folders, MaildirFolders

_FILE_MODE: Final = 0o600
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
HEAD: Final = 1024
"""Octets in which a mail's first line ends, where that is ours."""

_LINK_TRIES: Final = 3
"""A mail reader may move or remove the mail of our name between our looks; hardly ever twice."""


class Found(Enum):
    """Where the mail is after `link`."""

    NEW = auto()
    CUR = auto()  # delivered by an earlier attempt, and seen by a mail reader since
    DIFFERENT = auto()  # another mail has our name: nothing was done


class MailFile:
    """Writes one mail into the Maildir `path`, which must resolve to a place in `base`. Not for two threads at once.

    `is_ours` tells by a mail's first octets, HEAD at most, whether an earlier attempt of this delivery put it there.
    """

    def __init__(  # noqa: PLR0913 (what one file is made of)
        self,
        folders: MaildirFolders,
        path: str,
        *,
        base: str,
        name: str,
        create: bool,
        is_ours: Callable[[bytes], bool],
    ) -> None:
        self.fsyncs = 0
        self.folder = ""  # the resolved Maildir, once there is one
        self._maildirs = folders
        self._path = path
        self._base = base
        self._name = name
        # A name of its own each time: what a dead attempt left in tmp may be linked in new already, so it must never
        # be written to again; and one that is still alive somewhere must not find its file replaced.
        self._tmp_name = f"{name}.{secrets.token_hex(4)}"
        self._create = create
        self._is_ours = is_ours
        self._open_folders: Folders | None = None
        self._descriptor: int | None = None
        self._written = False  # there is a file in tmp
        self._edge = MaildirEdge()

    @property
    def _folders(self) -> dict[str, int]:
        assert self._open_folders is not None  # noqa: S101 (opened by the first write; says so to the type checker)
        return self._open_folders.descriptors

    def write(self, data: bytes) -> None:
        """Append octets of the mail to the file in tmp, as a Maildir stores them. Raises OSError."""
        self._append(self._edge.feed(data))

    def _append(self, data: bytes) -> None:
        if self._descriptor is None:
            self._descriptor = self._open()
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def finish(self, data: bytes, *, again: bool, until: float) -> Found | None:
        """Write the last octets, make the file durable, and deliver; None, if it is `until` (monotonic) before that."""
        self._append(self._edge.feed(data) + self._edge.finish())
        assert self._descriptor is not None  # noqa: S101 (opened by the write; says so to the type checker)
        os.fsync(self._descriptor)
        self.fsyncs += 1
        self._let_go()
        if time.monotonic() > until:
            return None
        found = self.link(again=again)
        self.close()
        return found

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
        self._let_go()
        if self._written:
            self._written = False
            with contextlib.suppress(OSError):
                os.unlink(self._tmp_name, dir_fd=self._folders["tmp"])
        self._open_folders = None

    @property
    def closed(self) -> bool:
        """Whether nothing is left to close."""
        return self._open_folders is None

    def _open(self) -> int:
        try:
            return self._open_in(self._maildirs.open(self._path, base=self._base, create=self._create))
        except FileNotFoundError:  # removed since it was opened
            self._maildirs.forget(self._path, base=self._base)
            return self._open_in(self._maildirs.open(self._path, base=self._base, create=self._create))

    def _open_in(self, folders: Folders) -> int:
        self._open_folders, self.folder = folders, folders.path
        descriptor = os.open(self._tmp_name, _CREATE, _FILE_MODE, dir_fd=folders.descriptors["tmp"])
        self._written = True
        return descriptor

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

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
        """Whether the file of our name is this delivery's.

        Not by its octets: some servers write Status fields into what is retrieved once more, and the trace field may
        have got another form. Only whole mails are linked, so that it is whole.
        """
        descriptor = os.open(name, _READ, dir_fd=self._folders[part])
        try:
            return self._is_ours(os.read(descriptor, HEAD))
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
