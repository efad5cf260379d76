"""Mail in Maildirs, as it was delivered: found by its delivery's id, and compared with what was fetched. It blocks."""

import hashlib
import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final

from deliverer.maildir import file_name
from deliverer.maildir_path import maildir_of

CHUNK: Final = 256 * 1024
MAX_NAMES: Final = 300_000
"""Names of files that are remembered at a time, of the folders looked into last."""

CHANGED_MS: Final = 60_000
"""How long after its delivery a file's date counts as a change by somebody else: a deliverer wrote it just before."""

SUFFIX: Final = ".pps"
"""What the names end with that we give."""

_ENDS: Final = (b" ", b"\t")


class Fate(Enum):
    """What became of a delivered mail's file."""

    PRESENT = auto()
    UNTOLD = auto()  # present, and there is nothing to compare it with: see `_compared`
    CHANGED = auto()  # by somebody, since
    DIFFERENT = auto()  # and nobody changed it since
    GONE = auto()
    UNSEEN = auto()  # its folder can't be looked into


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A mail that a Maildir was given."""

    delivery_id: str
    recipient: str
    done_at: int
    digest: bytes | None  # of the mail as it was fetched; None: it isn't known any more
    octets: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """A Maildir as it was read."""

    at: float  # milliseconds since 1970
    names: dict[str, str] | None  # without flags: where it is; None: it can't be looked into


class Maildirs:
    """All Maildirs of one target, `template` being its path. Not for two threads at once."""

    def __init__(self, template: str) -> None:
        self._template = template
        self._folders: OrderedDict[str, _Folder] = OrderedDict()

    def fate_of(self, delivered: Delivered) -> Fate:
        """Return what became of one mail."""
        try:
            folder = maildir_of(self._template, delivered.recipient).path
        except ValueError:
            return Fate.UNSEEN  # the path was another when it was delivered
        name = file_name(delivered.delivery_id)
        for again in (False, True):
            read = self._read(folder, again=again)
            if read.names is None:
                return Fate.UNSEEN
            if name not in read.names:
                if delivered.done_at < read.at - CHANGED_MS:
                    return Fate.GONE
                continue  # it may have come since the folder was read
            try:
                return _compared(Path(folder, read.names[name]), delivered)
            except FileNotFoundError:
                continue  # a mail reader has moved it
            except OSError:
                return Fate.UNSEEN
        return Fate.GONE

    def _read(self, folder: str, *, again: bool) -> "_Folder":
        if again or folder not in self._folders:
            self._folders.pop(folder, None)
            self._make_room()
            self._folders[folder] = _Folder(at=time.time() * 1000, names=_listed(folder))
        self._folders.move_to_end(folder)
        return self._folders[folder]

    def _make_room(self) -> None:
        while self._folders and sum(len(one.names or ()) for one in self._folders.values()) > MAX_NAMES:
            self._folders.popitem(last=False)


def _listed(folder: str) -> dict[str, str] | None:
    """Return the mails that we put into a Maildir: names without flags, and where. None: it can't be looked into."""
    found: dict[str, str] = {}
    try:
        for part in ("new", "cur"):
            with os.scandir(os.path.join(folder, part)) as entries:  # noqa: PTH118 (scandir's own way, a million times)
                for entry in entries:
                    name = entry.name.partition(":")[0].partition(",")[0]
                    if name.endswith(SUFFIX):
                        found[name] = f"{part}/{entry.name}"
    except FileNotFoundError:
        return found if Path(folder).parent.is_dir() else None  # the user is gone, or the disk isn't here
    except OSError:
        return None
    return found


def _compared(path: Path, delivered: Delivered) -> Fate:
    with path.open("rb") as file:
        if delivered.digest is None or delivered.octets is None:
            return Fate.UNTOLD
        digest, octets = hashlib.sha256(), 0
        rest = file.read(CHUNK)
        chunk = rest[_after_first_field(rest) :]
        while chunk:
            restored = chunk.replace(b"\n", b"\r\n")  # a Maildir stores CRLF as LF
            digest.update(restored)
            octets += len(restored)
            chunk = file.read(CHUNK)
        if digest.digest() == delivered.digest:
            return Fate.PRESENT
        if os.fstat(file.fileno()).st_mtime * 1000 > delivered.done_at + CHANGED_MS:
            return Fate.CHANGED
        # A LF that was bare counts for one octet too many, so what has fewer was cut.
        return Fate.UNTOLD if octets > delivered.octets else Fate.DIFFERENT


def _after_first_field(data: bytes) -> int:
    """Return where the first field ends, which is our trace: with the lines that begin with white space."""
    end = data.find(b"\n") + 1
    while end and data[end : end + 1] in _ENDS:
        end = data.find(b"\n", end) + 1
    return end
