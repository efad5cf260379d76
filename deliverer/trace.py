"""The one field that is put above each mail: which installation delivered it, under which id, to whom."""

import re
import uuid
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from common.messages import DeliveryJob

_HOST: Final = re.compile(r"[A-Za-z0-9._:\[\]-]+")
_UUID7_TIME_SHIFT: Final = 80


def delivery_seconds(delivery_id: str) -> float:
    """Return the time that a UUIDv7 holds (RFC 9562, section 5.7), in seconds since 1970: the same at each attempt."""
    return (uuid.UUID(delivery_id).int >> _UUID7_TIME_SHIFT) / 1000


def trace_field(job: DeliveryJob, installation: str, *, received: bool) -> bytes:
    """Return a Received field (RFC 5321, section 4.4), or where that isn't wanted a field of our own; with its CRLF.

    All of it follows from the job and the target's settings. A router finds loops by it.
    """
    if not received:
        recipient = job.recipient.encode("ascii", "replace").decode()
        return f"X-PPS-Trace: {installation} {job.delivery_id} {recipient}\r\n".encode("ascii")
    source = job.source_host if _HOST.fullmatch(job.source_host) else "unknown"
    date = format_datetime(datetime.fromtimestamp(int(delivery_seconds(job.delivery_id)), UTC))
    # Only a message sent with SMTPUTF8 may name such a recipient (RFC 6532), and most targets don't offer it.
    end = f"\r\n\tfor <{job.recipient}>; {date}\r\n" if job.recipient.isascii() else f";\r\n\t{date}\r\n"
    by = f"by {installation}.pps.invalid (PPS) with POP3 id {job.delivery_id}"
    return f"Received: from {source} {by}{end}".encode("ascii")


def traces(head: bytes, delivery_id: str, installation: str) -> bool:
    """Whether a mail begins with the field that this delivery puts above it: in either form, settings may change."""
    received = rb"Received: from \S+ by %b\.pps\.invalid \(PPS\) with POP3 id %b\b"
    own = rb"X-PPS-Trace: %b %b "
    return any(
        re.match(form % (re.escape(installation.encode()), re.escape(delivery_id.encode())), head)
        for form in (received, own)
    )
