"""The options by which a person says which of what waits is meant, and the filter that they make."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from common.ledger.stuck import Stuck

Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="A mail's or delivery's id, or how it begins.")]
Target = Annotated[str | None, typer.Option("--target", metavar="NAME", help="Only what waits for this target.")]
Profile = Annotated[str | None, typer.Option("--profile", metavar="NAME", help="Only mail of this profile.")]
Recipient = Annotated[str | None, typer.Option("--recipient", metavar="ADDRESS", help="Only this recipient's.")]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Only where the target's words hold this text.")
]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="TIME", help="Only what waits longer: 90m, 12h, 3d.")
]
All = Annotated[bool, typer.Option("--all", help="Everything that waits.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Only count what would be done.")]
Rate = Annotated[float, typer.Option("--rate", min=0.01, max=10_000, help="How many a second become due.")]


def filter_of(  # noqa: PLR0913 (one for each option)
    ids: list[str] | None,
    *,
    target: str | None,
    profile: str | None,
    recipient: str | None,
    reason: str | None,
    older_than: str | None,
    deferred: bool = False,
) -> "Stuck":
    """Return the filter; raises UsageError."""
    from common.ledger.stuck import Stuck

    if any(not one for one in ids or ()):
        raise _misuse("ID: is empty: name a mail or delivery, or use --all")
    return Stuck(
        ids=tuple(ids or ()),
        target=target,
        profile=profile,
        recipient=recipient,
        reason=reason,
        older_than=None if older_than is None else _seconds(older_than),
        deferred=deferred,
    )


def named(wanted: "Stuck", *, everything: bool) -> "Stuck":
    """Return the filter if it says what is meant; raises UsageError where nothing was said, or too much."""
    if wanted.is_empty and not everything:
        raise _misuse("say which: an ID, --target, --profile, --recipient, --reason, --older-than, or --all")
    if everything and not wanted.is_empty:
        raise _misuse("--all is everything: leave it out, or leave out the ID and the other filters")
    return wanted


def _seconds(text: str) -> int:
    from common.measures import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise _misuse(f"--older-than: {error}") from error


def _misuse(text: str) -> Exception:
    from common.failures import UsageError

    return UsageError(text)
