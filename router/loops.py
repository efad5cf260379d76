"""Whether a mail goes in circles: fetched from a mailbox that our own deliveries, sent on by somebody, end in.

Pure. Deliverers leave a trace in every mail that they hand over, with Received turned off a line of our own:

    Received: from SOURCEHOST by INSTALLATION.pps.invalid (PPS) with POP3 id DELIVERY
        for <RECIPIENT>; DATE
    X-PPS-Trace: INSTALLATION DELIVERY RECIPIENT
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from common.notice import NOTICE_CAME_BACK, NOTICE_FIELD
from router.headers import Field

MAX_RECEIVED: Final = 50
"""Hops of one mail; real mail has ten, and servers give up between 25 and 100 (RFC 5321, section 6.3)."""

MAX_SAME_RECIPIENT: Final = 2
"""Our traces for one recipient. One is somebody who had a mail sent back to himself, and wants it."""

MAX_TRACES: Final = 5
"""Our traces in all: a circle through several users comes by each of them only once a turn."""

_NOTICE: Final = NOTICE_FIELD.lower()
_OURS: Final = b".pps.invalid"
_BY: Final = re.compile(rb"\bby\s++([0-9a-f-]{36})\.pps\.invalid\b", re.IGNORECASE)
_FOR: Final = re.compile(rb"\bfor\s++<([^<>\s]++)>")
_TRACE: Final = re.compile(rb"\s*+([0-9a-f-]{36})\s++\S++\s++(\S++)\s*+", re.IGNORECASE)


def loop_reason(fields: Sequence[Field], installation: str, recipients: Collection[str]) -> str | None:
    """Return why a mail that goes to `recipients` is in a loop, None if it isn't."""
    names = [field.name for field in fields]
    if _NOTICE in names and _is_our_notice(fields, installation):
        return NOTICE_CAME_BACK
    if names.count("received") > MAX_RECEIVED:
        return f"loop: more than {MAX_RECEIVED} Received fields"
    traces = _traces(fields, installation)
    if traces.total() >= MAX_TRACES:
        return f"loop: this installation delivered the mail {traces.total()} times before"
    for recipient in recipients:
        times = traces[_text(recipient.encode("ascii", "replace"))]
        if times >= MAX_SAME_RECIPIENT:
            return f"loop: delivered to {recipient} {times} times before"
    return None


def _is_our_notice(fields: Sequence[Field], installation: str) -> bool:
    return any(field.name == _NOTICE and _names(field.value.strip(), installation) for field in fields)


def _traces(fields: Sequence[Field], installation: str) -> Counter[str]:
    """Return how often this installation delivered the mail to whom."""
    traces: Counter[str] = Counter()
    for field in fields:
        if field.name == "received" and _OURS in field.value.lower():
            by = _BY.search(field.value)
            if by is not None and _names(by[1], installation):
                recipient = _FOR.search(field.value, by.end())
                traces[_text(recipient[1]) if recipient else ""] += 1
        elif field.name == "x-pps-trace":
            trace = _TRACE.fullmatch(field.value)
            if trace is not None and _names(trace[1], installation):
                traces[_text(trace[2])] += 1
    return traces


def _names(found: bytes, installation: str) -> bool:
    return found.decode(errors="replace").lower() == installation.lower()


def _text(recipient: bytes) -> str:
    """Return a recipient for comparison; a trace, which must be ASCII, has "?" for every other character."""
    return recipient.decode(errors="replace").lower()
