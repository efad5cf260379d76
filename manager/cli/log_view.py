"""A line of the log as a person reads it, and which lines are wanted. Pure: lines in, text out.

The log is what other programs wrote: whatever it holds, nothing but text reaches the terminal.
"""

import contextlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import typer

LEVELS: Final = ("debug", "info", "warning", "error", "critical")

_HEAD: Final = ("timestamp", "level", "event", "exception", "pid")
_COLOURS: Final = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events to show."""

    mail: str | None = None  # an id, an address or a profile, or its beginning
    since: int = 0  # milliseconds
    levels: frozenset[str] = frozenset(LEVELS)
    profile: str | None = None

    def matches(self, event: dict[str, Any]) -> bool:
        """Whether an event is wanted; one without a level or time that we know is."""
        level = event.get("level")
        return (
            (level in self.levels or level not in LEVELS)
            and (self.profile is None or event.get("profile") == self.profile)
            and (self.mail is None or tells_of(event, self.mail))
            and (self.since == 0 or _at(event) >= self.since)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How events are shown."""

    as_json: bool
    coloured: bool = False

    def text(self, line: bytes, event: dict[str, Any]) -> str:
        """Return a line of the file, and what it says, as it is printed."""
        if not self.as_json:
            return readable(event, coloured=self.coloured)
        raw = line.decode(errors="replace")
        return raw if raw.isprintable() else json.dumps(event)


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line, None for what is none: a line that a full disk cut."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def tells_of(event: dict[str, Any], mail: str) -> bool:
    """Whether an id or address of the event is `mail`, or begins with it."""
    return any(_begins(value, mail) for name, value in event.items() if name not in _HEAD)


def _begins(value: object, mail: str) -> bool:
    if isinstance(value, list):
        return any(_begins(one, mail) for one in value)
    return isinstance(value, str) and value.startswith(mail)


def readable(event: dict[str, Any], *, coloured: bool = False) -> str:
    """Return "2026-11-23 19:41:31 info mail_delivered mail_id=… recipient=…", in local time; a traceback follows it."""
    moment = str(event.get("timestamp", ""))
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    level = str(event.get("level", ""))
    told = _text(f"{level:<7} {event.get('event', '')}")
    if coloured and level in _COLOURS:
        told = typer.style(told, fg=_COLOURS[level])
    rest = " ".join(f"{_text(name)}={_value(value)}" for name, value in event.items() if name not in _HEAD)
    traceback = [_text(line) for line in str(event.get("exception", "")).splitlines()]
    return "\n    ".join([f"{_text(moment)} {told} {rest}".rstrip(), *traceback])


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _text(json.dumps(text, ensure_ascii=False) if " " in text or not text else text)


def _text(text: str) -> str:
    """Return text in which an escape sequence is only text."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _at(event: dict[str, Any]) -> float:
    """Return when an event was, in milliseconds; what doesn't say counts as now."""
    try:
        return datetime.fromisoformat(str(event.get("timestamp"))).timestamp() * 1000
    except ValueError:
        return float("inf")
