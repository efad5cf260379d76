"""What a pull came to, in words: a line that accounts for every mail, and one for each thing that went wrong. Pure."""

from collections.abc import Collection
from typing import Any, Final

from common.counted import counted
from common.ledger.standing import Standing, TargetStanding
from manager.pull import GOOD, Pulled, PullReport

MAX_QUARANTINED: Final = 5
"""Lines about quarantined mail at the end of a pull; `pps status` has more."""

_WORDS: Final = {
    "deleted": "delivered and deleted",
    "kept": "delivered and kept on the server",
    "discarded": "discarded by a person",
    "left": "not done yet",
    "skipped": "skipped",
    "quarantined": "quarantined",
    "lost": "lost",
}


def recipients_of(report: PullReport) -> dict[str, int]:
    """Return how many mails each recipient got, over all profiles."""
    counts: dict[str, int] = {}
    for pulled in report.profiles:
        for address, count in pulled.recipients.items():
            counts[address] = counts.get(address, 0) + count
    return dict(sorted(counts.items()))


def closing_line(report: PullReport) -> str:
    """Return "12 mails: 10 delivered and deleted, 2 not done yet"; what is zero is left out."""
    counts = {words: sum(getattr(pulled, key) for pulled in report.profiles) for key, words in _WORDS.items()}
    total = sum(counts.values())
    if total == 0:
        return "no mail"
    told = ", ".join(f"{count} {words}" for words, count in counts.items() if count)
    return f"{counted(total, 'mail')}: {told}"


def complaints(report: PullReport, standing: Standing, targets: Collection[str]) -> list[str]:
    """Return one line for each profile that failed, each target that holds mail up, and the first in quarantine.

    `targets` are those that this pull could deliver to: mail that was routed before keeps the target it had then.
    """
    of_profiles = [f"{one.name}: {_failure(one)}" for one in report.profiles if one.result not in GOOD]
    of_targets = [
        f"target {one.name} takes nothing now: {one.reason}"
        for one in standing.targets
        if one.name in targets and one.paused_since is not None
    ]
    of_targets += [
        f"{_waiting(one)} deliveries of an earlier pull wait for target {one.name}: "
        "pull once more with the target they had"
        for one in standing.targets
        if one.name not in targets and _waiting(one)
    ]
    of_mails = [
        f"{one.state}: mail {one.mail_id}{f' for {one.recipient}' if one.recipient else ''}: {one.reason}"
        for one in standing.set_aside[:MAX_QUARANTINED]
    ]
    return of_profiles + of_targets + of_mails


def document(report: PullReport, complained: list[str]) -> dict[str, Any]:
    """Return the report as `--json` prints it."""
    rows = [
        {"name": one.name, "result": one.result, **{key: getattr(one, key) for key in _WORDS}}
        for one in report.profiles
    ]
    return {"done": report.done, "profiles": rows, "recipients": recipients_of(report), "errors": complained}


def _waiting(target: TargetStanding) -> int:
    return sum(target.deliveries[state].count for state in ("pending", "deferred") if state in target.deliveries)


def _failure(pulled: Pulled) -> str:
    return pulled.error or pulled.result or "was not polled"
