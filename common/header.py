"""Where a mail's header block ends: the one question about headers that both fetcher and router ask."""

import re
from typing import Final

_EMPTY_LINE: Final = re.compile(rb"\n\r*+\n")
"""LF alone ends the lines of mail that was stored so, and damaged mail has CR CR LF; the earliest empty line wins."""

_EMPTY_FIRST_LINE: Final = re.compile(rb"\r*+\n")


def split_header(raw: bytes | bytearray) -> int:
    """Return the octets of the header block, its empty line included; a mail without one is all header."""
    end = _EMPTY_FIRST_LINE.match(raw) or _EMPTY_LINE.search(raw)
    return len(raw) if end is None else end.end()
