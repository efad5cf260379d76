"""POP3 without I/O (RFC 1939, 2449, 3206, 5034): bytes in, events out. No socket, clock or logger may be known here.

A caller says what reply it expects, in the order of the commands it sent; then feeds what arrives, in any pieces.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from common.failures import PollResult
from common.messages import one_line

MAX_STATUS: Final = 8192
"""Octets of a status line; RFC 2449 says 512, real servers write whole sentences."""

MAX_TEXT: Final = 200
"""Octets of a status line's text that are kept: it is for people."""

MAX_UTF8: Final = 4
"""Octets of one character: a text may be cut by so many more."""

MAX_UIDL: Final = 1024
"""Octets of a UIDL; RFC 1939 says 70, real servers write more."""

MAX_LOGIN_DELAY: Final = 86_400
"""Seconds between sign-ins that a server may ask for: no mailbox rests longer than a day on its word."""

CHUNK: Final = 64 * 1024
"""Octets of a body that are held back at most before they are handed on: small mail comes in one event."""

_CR: Final = 0x0D
_CRLF: Final = b"\r\n"
_DOTTED: Final = b"\r\n."
_TERMINATOR: Final = b"\r\n.\r\n"
_DOT: Final = re.compile(re.escape(_DOTTED))  # is found in half the time that `find` takes
_END: Final = re.compile(re.escape(_TERMINATOR))
_STATUS: Final = re.compile(rb"(\+OK|-ERR)(?:[ \t]+(.*))?", re.DOTALL | re.IGNORECASE)
_REPLY: Final = re.compile(rb"(?:\+OK|-ERR)[ \t\r]")
_CODE: Final = re.compile(r"\[([A-Z/-]{1,64})\]", re.IGNORECASE)


class DesynchronisedError(Exception):
    """The server sent what no reply may look like, or what nobody asked for: drop the connection without QUIT."""


class Expect(Enum):
    """The form of a reply."""

    STATUS = "status"  # one line
    BODY = "body"  # one line and, after +OK, a dot-terminated body
    CHALLENGE = "challenge"  # one line, or "+ " and base64 (RFC 5034, section 4)


@dataclass(frozen=True, slots=True)
class Status:
    """A reply's status line."""

    ok: bool
    text: str  # printable, response code included
    code: str | None = None  # extended response code (RFC 2449, section 8), upper case: "IN-USE"


@dataclass(frozen=True, slots=True)
class Challenge:
    """What AUTH asks next, still in base64."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next octets of a body, dots unstuffed."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class End:
    """A body is complete; believe it only once the next reply's status line is one."""


Event = Status | Challenge | Chunk | End


class Reader:
    """Turns octets into events. Only CRLF "." CRLF ends a body, the status line's own CRLF counting."""

    def __init__(self) -> None:
        self._expected: deque[Expect] = deque()
        self._buffer = bytearray()  # of a body it begins with the CRLF before it, until a first chunk is taken
        self._in_body = False
        self._ended = False  # the body was handed on whole, its End was not
        self._skip = 0  # octets of that CRLF
        self._searched = 0
        self._stuffed = False  # whether a line that was searched begins with a dot

    @property
    def idle(self) -> bool:
        """Whether nothing is expected and nothing is left over."""
        return not self.pending and not self._buffer

    @property
    def pending(self) -> int:
        """Replies that are expected and have not ended."""
        return len(self._expected) + self._in_body

    @property
    def in_body(self) -> bool:
        """Whether a body has begun and not ended."""
        return self._in_body

    def expect(self, form: Expect) -> None:
        """Announce the reply to a command that is being sent."""
        self._expected.append(form)

    def feed(self, octets: bytes) -> Iterator[Event]:
        """Take what arrived, yield what it completes; raises DesynchronisedError. Must be exhausted before the next."""
        self._buffer += octets
        while (event := self._next()) is not None:
            yield event

    def _next(self) -> Event | None:
        if self._ended:
            self._ended = self._in_body = False
            return End()
        if not self._buffer:
            return None
        return self._body() if self._in_body else self._status()

    def _status(self) -> Status | Challenge | None:
        if not self._expected:
            raise DesynchronisedError(f"{len(self._buffer)} octets that nobody asked for")
        end = self._buffer.find(b"\n", 0, MAX_STATUS + 1)
        if end < 0:
            if len(self._buffer) > MAX_STATUS:
                raise DesynchronisedError(f"a status line over {MAX_STATUS} octets")
            return None
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        if self._expected[0] is Expect.CHALLENGE and (line == b"+" or line.startswith(b"+ ")):
            self._expected.popleft()
            del self._buffer[: end + 1]
            return Challenge(line[1:].strip())
        status = parse_status(line)
        if self._expected.popleft() is Expect.BODY and status.ok:
            self._begin_body(end)
        else:
            del self._buffer[: end + 1]
        return status

    def _begin_body(self, end: int) -> None:
        """Leave the status line's CRLF in the buffer: a dot after it begins a line."""
        if self._buffer[end - 1] == _CR:
            del self._buffer[: end - 1]
        else:
            self._buffer[: end + 1] = _CRLF
        self._in_body, self._skip, self._searched, self._stuffed = True, len(_CRLF), 0, False

    def _body(self) -> Chunk | End | None:
        end = self._find_end()
        if end >= 0:
            return self._last(end)
        self._searched = max(0, len(self._buffer) - len(_TERMINATOR) + 1)  # the end may straddle two pieces
        if len(self._buffer) < CHUNK:
            return None
        cut = self._searched
        dotted = self._buffer.find(_DOTTED, cut - len(_DOTTED), cut + len(_DOTTED) - 1)
        return self._taken(cut if dotted < 0 else dotted)  # a line's dots must not be parted from the CRLF before them

    def _find_end(self) -> int:
        """Return where the terminator begins, or -1. In most mails the first dot that begins a line is the end's."""
        start = self._searched
        if not self._stuffed:
            start = _position(_DOT, self._buffer, start)
            if start < 0 or self._buffer.startswith(_TERMINATOR, start):
                return start
            self._stuffed = True
        return _position(_END, self._buffer, start)

    def _last(self, end: int) -> Chunk | End:
        self._ended = True
        chunk = self._taken(end + len(_CRLF))
        del self._buffer[: len(_TERMINATOR) - len(_CRLF)]
        if chunk.octets:
            return chunk
        self._ended = self._in_body = False
        return End()

    def _taken(self, cut: int) -> Chunk:
        octets = bytes(self._buffer[:cut])
        if self._stuffed:
            octets = unstuffed(octets)
        if self._skip:
            octets = octets[self._skip :]
            if _REPLY.match(octets):  # a stray line was taken for the status line: the real one stands in the mail
                raise DesynchronisedError("a reply inside a reply")
        del self._buffer[:cut]
        self._skip = self._searched = 0
        self._stuffed = False  # what little is left is searched again
        return Chunk(octets)


def _position(pattern: re.Pattern[bytes], octets: bytearray, start: int) -> int:
    """Return where the pattern is found, or -1; a match that lived on would keep `octets` from being cut."""
    found = pattern.search(octets, start)
    return -1 if found is None else found.start()


def unstuffed(octets: bytes) -> bytes:
    """Undo dot-stuffing (RFC 1939, section 3), in bulk.

    No server that stuffs sends a line of one dot and more: there the dot is the mail's own, and stays.
    """
    return octets.replace(b"\r\n..", b"\r\n.")


def parse_status(line: bytes) -> Status:
    """Read "+OK …" or "-ERR …" with its response code; raises DesynchronisedError."""
    match = _STATUS.fullmatch(line)
    if match is None:
        raise DesynchronisedError("a reply that is neither +OK nor -ERR")
    text = (match[2] or b"")[:MAX_TEXT].decode("utf-8", "replace")
    if not text.isprintable():
        text = one_line(text)
    code = _CODE.match(text) if text.startswith("[") else None
    return Status(ok=match[1].startswith(b"+"), text=text, code=code[1].upper() if code else None)


def command(verb: str, *arguments: str) -> bytes:
    """Return a command line; raises ValueError for an argument that could end it early."""
    line = " ".join((verb, *arguments))
    if any(c in line for c in "\r\n\0"):
        raise ValueError(f"{verb}: an argument holds CR, LF or NUL")
    return line.encode() + b"\r\n"


def lines(body: bytes) -> list[bytes]:
    """Return the lines of a multi-line reply."""
    return body.removesuffix(b"\r\n").split(b"\r\n") if body else []


def parse_capabilities(body: bytes) -> dict[str, tuple[str, ...]]:
    """Return CAPA's lines by upper-case name (RFC 2449)."""
    found: dict[str, tuple[str, ...]] = {}
    for line in lines(body):
        name, *arguments = line.decode("ascii", "replace").split() or [""]
        if name:
            found[name.upper()] = tuple(arguments)
    return found


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the server offers (RFC 2449); `known` is False where it has no CAPA."""

    names: dict[str, tuple[str, ...]]
    known: bool

    def has(self, name: str) -> bool:
        """Whether the server offers it."""
        return name in self.names

    @property
    def login_delay(self) -> int:
        """Seconds that the server wants between sign-ins (RFC 2449, section 6.5); 0 where it says nothing."""
        seconds = next(iter(self.names.get("LOGIN-DELAY", ())), "")
        return min(int(seconds), MAX_LOGIN_DELAY) if _is_number(seconds.encode()) else 0

    @property
    def tells_login_delay_later(self) -> bool:
        """Whether the delay is another for each account, which is told once it has signed in."""
        return "USER" in self.names.get("LOGIN-DELAY", ())

    @property
    def top(self) -> bool:
        """Whether TOP is worth a try: offered, or nobody knows."""
        return self.has("TOP") or not self.known


@dataclass(frozen=True, slots=True)
class Listed:
    """One mail as the server lists it; `uidl` is None where it has none to give."""

    number: int
    size: int
    uidl: bytes | None


def parse_sizes(body: bytes) -> dict[int, int]:
    """Return listed size by message number; a malformed line is left out, and harms no other (getmail6 #277)."""
    found: dict[int, int] = {}
    for line in lines(body):
        parts = line.split()
        if len(parts) >= 2 and _is_number(parts[0]) and _is_number(parts[1]):  # noqa: PLR2004 (number and size)
            found[int(parts[0])] = int(parts[1])
    return found


def parse_uidls(body: bytes) -> dict[int, bytes]:
    """Return UIDL by message number; the bytes after any white space, too long ones left out."""
    found: dict[int, bytes] = {}
    for line in lines(body):
        parts = line.split(None, 1)
        if len(parts) == 2 and _is_number(parts[0]) and len(parts[1]) <= MAX_UIDL:  # noqa: PLR2004 (number and UIDL)
            found[int(parts[0])] = parts[1].rstrip()
    return found


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= 18  # noqa: PLR2004 (what fits 64 bits)


_BY_CODE: Final = {
    "AUTH": PollResult.AUTH,
    "IN-USE": PollResult.IN_USE,
    "LOGIN-DELAY": PollResult.THROTTLED,
    "SYS/TEMP": PollResult.THROTTLED,
    "SYS/PERM": PollResult.PROTOCOL,
}
_BY_WORDS: Final[Sequence[tuple[PollResult, re.Pattern[str]]]] = (
    (PollResult.IN_USE, re.compile(r"\block(ed)?\b|in use|\bbusy\b|already (open|logged)", re.IGNORECASE)),
    (PollResult.THROTTLED, re.compile(r"\bwait\b|too many|login limit|try (again )?later|temporar", re.IGNORECASE)),
)


def without(text: str, secret: str) -> str:
    """Return a reply's text without a secret that the server repeats, also one that is cut at the text's end."""
    for form in filter(None, (secret, one_line(secret, MAX_STATUS))):
        text = re.sub(re.escape(form), "***", text, flags=re.IGNORECASE)
        if len(text.encode()) >= MAX_TEXT - MAX_UTF8:
            ends = (form[:length] for length in range(len(form) - 1, 0, -1))
            part = next((end for end in ends if text.casefold().endswith(end.casefold())), "")
            text = text.removesuffix(text[len(text) - len(part) :])
    return text


def refusal(status: Status, otherwise: PollResult) -> PollResult:
    """Class a refusal by its response code (RFC 2449, 3206), else by what servers write, else as told."""
    if status.code in _BY_CODE:
        return _BY_CODE[status.code]
    for result, words in _BY_WORDS:
        if words.search(status.text):
            return result
    return otherwise
