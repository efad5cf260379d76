"""What a catch-all's own mail says of its envelope fields: for `pps doctor`, which reads a sample of headers. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from common.profile import Profile
from router.advice import MIN_SAMPLE, FieldAdvice, Verdict, advise
from router.headers import fields_of
from router.naming import shown

SAMPLE: Final = 50
"""Mails whose headers are read: a field that is on all of them is on nearly all mail."""

_GOOD: Final = frozenset({Verdict.USABLE, Verdict.PARTIAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeAdvice:
    """What to change in a profile, and what the sample showed."""

    mails: int  # in the sample
    mends: tuple[str, ...]  # settings that misplace mail, each with the mend
    hint: str  # a setting that would be more exact than To and Cc; "" if there is none
    fields: tuple[FieldAdvice, ...]  # all that was seen, the best first


def judged(profile: Profile, headers: Sequence[bytes]) -> EnvelopeAdvice:
    """Return what a sample of headers says of a profile's settings. Pure."""
    fields = advise([fields_of(header) for header in headers], profile.policy)
    if len(headers) < MIN_SAMPLE:
        return EnvelopeAdvice(mails=len(headers), mends=(), hint="", fields=())
    mends = tuple(filter(None, (_mend(entry, profile, fields, len(headers)) for entry in profile.envelope)))
    usable = next((one for one in fields if one.verdict is Verdict.USABLE), None)
    hint = f"{usable.says}: set {usable.keys}" if usable is not None and not profile.envelope else ""
    return EnvelopeAdvice(mails=len(headers), mends=mends, hint=hint, fields=tuple(fields))


def _mend(entry: str, profile: Profile, fields: Sequence[FieldAdvice], mails: int) -> str:
    """Return what is wrong with an entry of `envelope`; "" if nothing is."""
    name, _, place = entry.partition(":")
    written = f"{shown(name)}:{place}" if place else shown(name)
    found = [one for one in fields if one.entry == written]
    if not found:
        return f"envelope: {written} is on none of {mails} mails: leave it out"
    best = next((one for one in found if one.verdict in _GOOD), None)
    if best is None:
        return f"envelope: {found[0].says}"
    if best.hops[1] > profile.envelope_hops:
        return (
            f"envelope_hops: {written} stands under up to {best.hops[1]} Received: set envelope_hops = {best.hops[1]}"
        )
    return ""
