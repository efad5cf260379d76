"""`pps log`: the log as a person reads it, whole or of one mail, once or as it grows."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from manager.cli.completion import complete_profile
from manager.cli.log_view import LEVELS, Shown, Wanted, parsed
from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from common.config import Config

FOLLOW_SECONDS: Final = 0.25
"""How often a file that is followed is looked at: soon for a person, nothing for the machine."""

MAX_READ: Final = 1024 * 1024
"""Octets that are read of the file at a time."""

FOLLOWED_LINES: Final = 20
"""Lines before the first new one that `-f` shows: enough to see what goes on."""


def log(  # noqa: PLR0913 (one parameter an option)
    mail: Annotated[
        str | None,
        typer.Argument(metavar="MAIL", help="A mail's or delivery's id, or its beginning, an address or a profile."),
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the log grows, until Ctrl-C.")] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=0, help="Only the last so many; with -f, 20 if not said.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help='Since then: "2h", "3d", "2026-11-23 19:00".')
    ] = None,
    level: Annotated[str, typer.Option(metavar="|".join(LEVELS), help="Of this level, or worse.")] = LEVELS[0],
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of this profile.", autocompletion=complete_profile)
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> int:
    """Show the log, readable."""
    from common.config import load_config
    from manager.cli.moments import moment_of

    wanted = Wanted(
        mail=mail,
        since=0 if since is None else moment_of(since, "--since"),
        levels=_levels(level),
        profile=profile,
    )
    shown = Shown(as_json=as_json, coloured=sys.stdout.isatty() and not as_json and "NO_COLOR" not in os.environ)
    path = _log_path(load_config(config))
    last = FOLLOWED_LINES if follow and lines is None and since is None else lines
    try:
        _show(path, wanted, shown, follow=follow, last=last)
    except KeyboardInterrupt:
        if not follow:
            raise
    return 0


def _show(path: Path, wanted: "Wanted", shown: "Shown", *, follow: bool, last: int | None) -> None:
    """Print the lines that are wanted: of those that are there already only the `last`, then those to come."""
    kept: deque[str] = deque(maxlen=last)

    def catch_up() -> None:
        while kept:
            typer.echo(kept.popleft())
        sys.stdout.flush()

    def wait() -> None:
        nonlocal last
        last = None  # what comes from now on is new
        catch_up()
        time.sleep(FOLLOW_SECONDS)

    for line in lines_of(path, follow=follow, wait=wait, since=wanted.since):
        event = parsed(line)
        if event is None or not wanted.matches(event):
            continue
        if last is None:
            typer.echo(shown.text(line, event))
        else:
            kept.append(shown.text(line, event))
    catch_up()


def _levels(least: str) -> frozenset[str]:
    from common.config_errors import nearest
    from common.failures import UsageError

    if least not in LEVELS:
        raise UsageError(f"--level: no level {least!r}: {nearest(least, LEVELS)}")
    return frozenset(LEVELS[LEVELS.index(least) :])


def _log_path(config: "Config") -> Path:
    from common.failures import PpsError

    if config.service.log == "-":
        raise PpsError(f'{config.path}: [service] log is "-": the log is where the stderr of the service goes')
    return Path(config.service.log)


def lines_of(path: Path, *, follow: bool, wait: Callable[[], None] | None = None, since: int = 0) -> Iterator[bytes]:
    """Yield the lines of the log's files, the oldest first; if `follow`, then those to come, for ever.

    `wait` is called when there is nothing new; the file may be set aside meanwhile. Files whose last line is older than
    `since` (milliseconds) are left out.
    """
    from common.log import log_files

    for aside in log_files(str(path), path.parent):
        if aside != path and _written_at(aside) >= since:
            yield from _lines(aside)
    yield from _grown(path, wait or (lambda: time.sleep(FOLLOW_SECONDS))) if follow else _lines(path)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime * 1000
    except FileNotFoundError:
        return 0


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
