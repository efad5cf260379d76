"""Where a mail would go and why, asked of the very rule that routes it; nothing is fetched, recorded or delivered."""

from dataclasses import dataclass
from typing import Any, BinaryIO

from common.header import split_header
from common.messages import MAX_HEADER
from common.routing_policy import RoutingPolicy
from router.headers import fields_of
from router.loops import loop_reason
from router.recipients import Recipients, recipients_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a router would decide on one mail."""

    recipients: Recipients
    loop: str | None  # why it would be set aside instead; our own traces are known only to the ledger

    def document(self, name: str) -> dict[str, Any]:
        """Return the explanation as `--json` prints it."""
        found = self.recipients
        rows = [
            {
                "address": one.address,
                "field": one.field or None,
                "position": one.position or None,
                "rule": str(one.rule),
                "reason": one.reason,
            }
            for one in found.recipients
        ]
        why = found.why or None
        return {
            "file": name,
            "recipients": rows,
            "fallback": found.fallback,
            "why": why,
            "sender": found.sender,
            "loop": self.loop,
        }


def explain_mail(file: BinaryIO, policy: RoutingPolicy) -> Explanation:
    """Return what would become of the raw mail in `file`, of which only the header is read."""
    beginning = file.read(MAX_HEADER + 1)
    length = split_header(beginning)
    header = beginning[: min(length, MAX_HEADER)]
    recipients = recipients_of(header, policy, header_cut=length > MAX_HEADER)
    return Explanation(recipients=recipients, loop=loop_reason(fields_of(header), "", ()))
