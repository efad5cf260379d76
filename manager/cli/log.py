"""`pps log`: the log as a person reads it, whole or of one mail, once or as it grows."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from common.config import Config

FOLLOW_SECONDS: Final = 0.25
"""How often a file that is followed is looked at: soon for a person, nothing for the machine."""

MAX_READ: Final = 1024 * 1024
"""Octets that are read of the file at a time."""

_HEAD: Final = ("timestamp", "level", "event", "exception", "pid")


def log(
    mail: Annotated[
        str | None, typer.Argument(metavar="MAIL", help="A mail's or delivery's id, or an address.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the log grows.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> int:
    """Show the log, readable."""
    from common.config import load_config  # noqa: PLC0415 (slow)

    path = _log_path(load_config(config))
    for line in lines_of(path, follow=follow):
        event = parsed(line)
        if event is not None and (mail is None or tells_of(event, mail)):
            typer.echo(line.decode(errors="replace") if as_json else readable(event))
    return 0


def _log_path(config: "Config") -> Path:
    from common.failures import PpsError  # noqa: PLC0415 (slow)

    if config.service.log == "-":
        raise PpsError(f'{config.path}: [service] log is "-": the log is where the stderr of the service goes')
    return Path(config.service.log)


def lines_of(path: Path, *, follow: bool, wait: Callable[[], None] | None = None) -> Iterator[bytes]:
    """Yield the lines of the log's files, the oldest first; if `follow`, then those to come, for ever.

    `wait` is called when there is nothing new; the file may be set aside meanwhile.
    """
    from common.log import log_files  # noqa: PLC0415 (slow)

    for aside in log_files(str(path), path.parent):
        if aside != path:
            yield from _lines(aside)
    yield from _grown(path, wait or (lambda: time.sleep(FOLLOW_SECONDS))) if follow else _lines(path)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n")
    except FileNotFoundError:
        return


def _grown(path: Path, wait: Callable[[], None]) -> Iterator[bytes]:
    """Yield lines as they are written; when the file was set aside, what is left in it comes before the new one."""
    while True:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            wait()
            continue
        with file:
            rest = b""
            left = False
            while not left:
                left = _is_another(path, file.fileno())  # asked before reading: what was written before is read
                while chunk := file.read(MAX_READ):
                    *whole, rest = (rest + chunk).split(b"\n")
                    yield from whole
                if not left:
                    wait()


def _is_another(path: Path, descriptor: int) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return True
    ours = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino)


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line, None for what is none: a line that a full disk cut."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def tells_of(event: dict[str, Any], mail: str) -> bool:
    """Whether an id or address of the event is `mail`, or begins with it."""
    return any(isinstance(value, str) and value.startswith(mail) for name, value in event.items() if name not in _HEAD)


def readable(event: dict[str, Any]) -> str:
    """Return "2026-11-23 19:41:31 info mail_delivered mail_id=… recipient=…", in local time; a traceback follows it."""
    moment = str(event.get("timestamp", ""))
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    rest = " ".join(f"{name}={_value(value)}" for name, value in event.items() if name not in _HEAD)
    line = f"{moment} {event.get('level', ''):<7} {event.get('event', '')} {rest}".rstrip()
    return "\n    ".join([line, *str(event.get("exception", "")).splitlines()])


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text
