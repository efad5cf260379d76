"""`pps status`: how all stands, read from the ledger beside whatever runs."""

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Final

import typer

from manager.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from common.ledger.records import ProfileStatus, Status

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def status(*, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> int:
    """Show how profiles, deliveries and targets stand."""
    from common.config import load_config  # noqa: PLC0415 (slow)
    from manager.standing import read_status  # noqa: PLC0415

    found = asyncio.run(read_status(load_config(config)))
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found)))
    else:
        _print(found)
    return 0


def _print(found: "Status") -> None:
    from manager.cli.tables import print_table  # noqa: PLC0415 (slow)

    rows = [_profile_row(profile, found.at) for profile in found.profiles]
    print_table(["profile", "server", "state", "last success", "next poll", "mails", "error"], rows)
    if found.deliveries:
        typer.echo()
        rows = [[name, _counts(counts)] for name, counts in sorted(found.deliveries.items())]
        print_table(["target", "deliveries"], rows)
    for target in found.targets:
        typer.echo(f"\ntarget {target.name} takes nothing for {_age(found.at, target.paused_since)}: {target.reason}")
    if found.quarantined:
        typer.echo()
        rows = [[item.mail_id, item.recipient or "", item.reason] for item in found.quarantined]
        print_table(["needs a person", "recipient", "reason"], rows)


def _profile_row(profile: "ProfileStatus", at: int) -> list[str]:
    return [
        profile.name,
        profile.server,
        _state(profile),
        "never" if profile.last_success_at is None else f"{_age(at, profile.last_success_at)} ago",
        _next(profile, at),
        _counts(profile.mails),
        profile.last_error or "",
    ]


def _state(profile: "ProfileStatus") -> str:
    if not profile.enabled:
        return "disabled"
    if profile.polling:
        return "polling"
    if profile.due_at is None:
        return "stopped"
    return profile.last_result or "new"


def _next(profile: "ProfileStatus", at: int) -> str:
    if not profile.enabled or profile.due_at is None:
        return "never"
    return "now" if profile.due_at <= at else f"in {_age(profile.due_at, at)}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _age(later: int, earlier: int) -> str:
    """Return the time between two moments in its largest unit: "12m"."""
    seconds = max(0, later - earlier) // 1000
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    return f"{seconds // size}{unit}"
