"""The log: JSON lines in a file that several processes share, rotated by size. Logging never stops the service.

A line is one write on a descriptor in append mode, so lines of several processes never mix. Nothing of a mail and no
secret belongs here; what comes from outside becomes one printable line, whoever wrote it.
"""

import contextlib
import fcntl
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from common.failures import UsageError
from common.messages import MAX_TEXT, one_line

MAX_FILE: Final = 16 * 1024 * 1024
"""Octets at which a log file is set aside."""

FILES: Final = 5
"""The newest file and those set aside, NAME.1 to NAME.4: 80 MiB in all."""

MODE: Final = 0o640
"""Read by a log group, by nobody else: the log names users and addresses."""

MAX_TRACEBACK: Final = 8192
"""Characters of a traceback: its end says what happened."""

_MAX_DEPTH: Final = 4
_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # json.dumps makes one a call


def open_log(destination: str, base: Path, *, level: str = "info") -> FilteringBoundLogger:
    """Return a logger that writes to the file `destination`, relative to `base`, or to stderr if it is "-".

    Raises UsageError when the file can't be opened.
    """
    return logger_to(Destination(destination, base), level=level)


def logger_to(destination: "Destination", *, level: str = "info") -> FilteringBoundLogger:
    """Return a logger that writes to a destination, and follows when that is moved."""
    logger = structlog.wrap_logger(
        destination,
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            tidy,
            structlog.processors.JSONRenderer(serializer=_dump),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        pid=os.getpid(),
    )
    return cast("FilteringBoundLogger", logger.bind())


def log_files(destination: str, base: Path) -> list[Path]:
    """Return the log's files that exist, the oldest first."""
    newest = base / destination
    names = [*(_aside(newest, number) for number in range(FILES - 1, 0, -1)), newest]
    return [name for name in names if name.exists()]


def tidy(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put time, level and event first; mask secrets, and make every text from outside one bounded line."""
    tidied = {name: tidy_value(event.pop(name)) for name in ("timestamp", "level", "event")}
    traceback = event.pop("exception", None)
    for name, value in event.items():
        tidied[name] = tidy_value(value)
    if traceback is not None:
        tidied["exception"] = str(traceback)[-MAX_TRACEBACK:]  # JSON keeps its line breaks inside the line
    return tidied


def tidy_value(value: object, depth: int = 0) -> object:
    """Return a value as the log may hold it."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT and value.isprintable() else one_line(value)
    if isinstance(value, bytes):
        return one_line(value[:MAX_TEXT].decode("ascii", "backslashreplace"))
    if value is None or isinstance(value, int | float):
        return value
    if depth < _MAX_DEPTH and isinstance(value, dict):
        return {one_line(str(key)): tidy_value(item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [tidy_value(item, depth + 1) for item in value]
    return one_line(str(value))  # a Secret, too: its text is "***"


def _dump(event: EventDict, **_keywords: object) -> bytes:
    return _ENCODE(event).encode(errors="replace")


class Lines:
    """Where rendered lines go: stderr. The base of the file that does the same with care."""

    def msg(self, line: bytes) -> None:
        """Write one line; a failure is swallowed, for the log must not stop what it tells of."""
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), line + b"\n")

    log = debug = info = warn = warning = error = err = exception = fatal = critical = failure = msg


class Destination(Lines):
    """Where the log goes: may be moved while loggers write to it."""

    def __init__(self, destination: str, base: Path) -> None:
        self._lines = _lines(destination, base)

    def msg(self, line: bytes) -> None:
        """Write one line to where the log goes now."""
        self._lines.msg(line)

    log = debug = info = warn = warning = error = err = exception = fatal = critical = failure = msg

    def prepare(self, destination: str, base: Path) -> Callable[[], None]:
        """Open this place, even if it is the same; return what makes it the one for all lines to come.

        Raises UsageError when the file can't be opened.
        """
        lines = _lines(destination, base)

        def move() -> None:
            self._lines = lines

        return move


def _lines(destination: str, base: Path) -> Lines:
    return Lines() if destination == "-" else LogFile(base / destination)


class LogFile(Lines):
    """A file that several processes append to; each follows when another one, or logrotate, sets the file aside."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.Lock()
        self._lost = 0
        self._broken = False  # the last write stopped amid a line
        try:
            self._open()
        except OSError as error:
            raise UsageError(f"[service] log: can't write {path}: {error.strerror}") from error

    def msg(self, line: bytes) -> None:
        """Append one line. Lines that a full disk refused are counted, and told of when there is room again."""
        with self._threads:
            try:
                self._follow(len(line) + 1)
                self._append(line)
            except OSError:
                self._lost += 1

    log = debug = info = warn = warning = error = err = exception = fatal = critical = failure = msg

    def _append(self, line: bytes) -> None:
        data = line + b"\n"
        if self._lost or self._broken:
            told = {"event": "log_lines_lost", "level": "error", "count": self._lost}
            data = b"\n" * self._broken + _dump(told) + b"\n" + data
        written = os.write(self._descriptor, data)
        self._broken = written < len(data)
        self._lost = self._lost + 1 if self._broken else 0

    def _follow(self, room: int) -> None:
        """Make sure the descriptor is that of the file of this name, and that the file has room."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._open()
            return
        if (found.st_dev, found.st_ino) != self._identity:
            self._open()
        elif found.st_size + room > MAX_FILE:
            self._rotate()

    def _rotate(self) -> None:
        """Set the file aside. Only who holds the lock on the very file of this name may rename: others look again."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            found = self._path.stat()
            if (found.st_dev, found.st_ino) == self._identity:
                for number in range(FILES - 2, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        _aside(self._path, number).replace(_aside(self._path, number + 1))
                self._path.replace(_aside(self._path, 1))
        self._open()  # closes the old descriptor, and so gives back the lock

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        found = os.fstat(descriptor)
        self.close()
        self._descriptor = descriptor
        self._identity = (found.st_dev, found.st_ino)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        descriptor = self.__dict__.pop("_descriptor", None)
        self._identity = (0, 0)
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
