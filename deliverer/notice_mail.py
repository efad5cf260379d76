"""A notice as a mail: from nobody, never answered (RFC 3834), marked, so that one that comes back begets none. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from common.counted import counted
from common.ledger.notices import Kind, Notice
from common.notice import NOTICE_FIELD

MOST_LINES: Final = 20
"""Notices of one kind that are told in full; the others are counted."""

_HEADINGS: Final = {
    Kind.AUTH: "Profiles that stopped, since their sign-in is refused (mend the password, then: pps pull NAME)",
    Kind.TARGET: "Targets that take nothing (see: pps status)",
    Kind.QUARANTINE: "Mail that can't go on without a person (see: pps quarantine list)",
    Kind.OVERSIZE: "Mail that is larger than its profile takes, and stays on the server",
    Kind.MAILBOX: "Remote mailboxes that fill up",
}


def text_of(notices: Sequence[Notice]) -> str:
    """Return what is told, grouped by kind."""
    parts = []
    for kind, heading in _HEADINGS.items():
        lines = [notice.text for notice in notices if notice.kind is kind]
        if lines:
            more = [f"… and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
            told = [f"  {line}" for line in [*lines[:MOST_LINES], *more]]
            parts.append("\n".join([f"{heading}:", *told]))
    return "\n\n".join(parts) + "\n"


def mail_of(notices: Sequence[Notice], *, recipient: str, installation: str, mail_id: str, at: int) -> bytes:
    """Return a mail with CRLF; equal for equal arguments, so that a repeated delivery makes equal bytes."""
    message = EmailMessage(policy=SMTP)
    count = len(notices)
    message["From"] = f'"POP3 Pull Service" <pps@{recipient.rpartition("@")[2] if "@" in recipient else "localhost"}>'
    if recipient.isascii():
        message["To"] = recipient
    message["Subject"] = f"PPS: {counted(count, 'thing')} to look at"
    message["Date"] = format_datetime(datetime.fromtimestamp(at // 1000, UTC))
    message["Message-ID"] = f"<{mail_id}@{installation}.pps.invalid>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message[NOTICE_FIELD] = installation
    message.set_content(text_of(notices))
    return message.as_bytes()
