"""Line ends at the edges: CRLF and stuffed dots for SMTP, LF for a Maildir. Pure, chunk by chunk, constant memory."""

import re
from typing import Final

CRLF: Final = b"\r\n"

MAX_RUN: Final = 64
"""CRs before a LF that still count as one damaged line end; a longer run is text, and isn't held back."""

_BARE_CR: Final = re.compile(rb"\r(?!\n)")
_BARE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LINE_END: Final = re.compile(rb"(\r++)(\n?)|\n")
_TRAILING: Final = re.compile(rb"\r{1,%d}\Z" % MAX_RUN)


class SmtpEdge:
    """Makes any octets fit for DATA (RFC 5321, section 4.5.2), so that no server can see an end that isn't ours.

    Some servers end DATA at a bare LF dot LF. So bare CR and LF become CRLF first, and dots are stuffed after that.
    CR CR LF, which gateways make of CRLF, is one line end: two would end a header block after its first line. NUL is
    no character of a mail (RFC 5322, section 4), and is removed; `removed` counts them.
    """

    def __init__(self) -> None:
        self.removed = 0
        self._held = b""  # trailing CRs, until what follows is known
        self._at_line_start = True

    def feed(self, chunk: bytes) -> bytes:
        """Take the next octets, return what may be sent of them."""
        nuls = chunk.count(0)
        if nuls:
            self.removed += nuls
            chunk = chunk.replace(b"\0", b"")
        chunk = self._held + chunk
        trailing = _TRAILING.search(chunk, max(0, len(chunk) - MAX_RUN))
        self._held = trailing[0] if trailing else b""
        return self._stuffed(_with_crlf(chunk[: len(chunk) - len(self._held)]))

    def finish(self) -> bytes:
        """Return what is left: the last line's end, so that the final dot stands on a line of its own."""
        rest = self._stuffed(_with_crlf(self._held))
        self._held = b""
        return rest if self._at_line_start else rest + CRLF

    def _stuffed(self, lines: bytes) -> bytes:
        if not lines:
            return lines
        stuffed = lines.replace(b"\r\n.", b"\r\n..")
        if self._at_line_start and lines.startswith(b"."):
            stuffed = b"." + stuffed
        self._at_line_start = lines.endswith(CRLF)
        return stuffed


class MaildirEdge:
    """Makes CRLF a LF, as a Maildir stores mail; every other octet, a bare CR too, stays as it is."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take the next octets, return what may be written of them."""
        chunk = self._held + chunk
        self._held = chunk[-1:] if chunk.endswith(b"\r") else b""
        chunk = chunk[: len(chunk) - len(self._held)]
        if _BARE_CR.search(chunk) is None:  # nearly all mail: twice as fast
            return chunk.translate(None, b"\r")
        return chunk.replace(CRLF, b"\n")

    def finish(self) -> bytes:
        """Return what is left: a CR that no LF followed."""
        rest, self._held = self._held, b""
        return rest


def _with_crlf(chunk: bytes) -> bytes:
    if _BARE.search(chunk) is None:  # nearly all mail: no call a line
        return chunk
    return _LINE_END.sub(lambda end: CRLF if end[2] != b"" else CRLF * len(end[1]), chunk)
