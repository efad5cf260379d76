"""How `pps status` looks: an Overview as lines and tables for people, and as a document for scripts. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from common.counted import counted
from common.ledger.standing import ProfileStanding, Standing, TargetStanding, Waiting
from manager.cli.moments import age, iso
from manager.cli.queues_view import document_of as queues_document
from manager.cli.queues_view import queue_rows
from manager.cli.tables import Block, Line, Rows
from manager.standing import Overview
from manager.trouble import ProfileState, Trouble, state_of

MANY: Final = 20
"""Profiles that a terminal shows in full; of more, only those that aren't well."""

_QUIET: Final = frozenset({ProfileState.ACTIVE, ProfileState.POLLING, ProfileState.DISABLED})
_WARNINGS: Final = frozenset({"dead", "deferred", "grant", "skipped"})
_ONE: Final = {"breaches": "breach"}
_ORDER: Final = ("listed", "fetched", "routed", "skipped", "quarantined", "lost", "removed")
_WORDS: Final = {"listed": "to fetch", "fetched": "to route", "routed": "on the way"}
"""States whose names say little to who doesn't know the pipeline."""


def blocks_of(found: Overview, *, short: bool) -> Iterator[Block]:
    """Yield what to show, from what matters most; `short` leaves out profiles without trouble where there are many."""
    standing = found.standing
    yield Line(_headline(found), style="bold green" if found.flowing else "bold red")
    for trouble in found.troubles:
        yield Line("")
        yield Line(_complaint(trouble, standing.at), style="yellow" if trouble.what in _WARNINGS else "red")
        yield Line(f"  -> {trouble.mend}")
    yield Line("")
    yield from _profiles(standing, short=short)
    yield from _targets(standing)
    if found.queues is not None and found.queues.broker != "memory":  # of one process, the ledger told it above
        yield Line("")
        yield queue_rows(found.queues)


def _headline(found: Overview) -> str:
    flow, at = found.standing.flow, found.standing.at
    if not found.standing.profiles:
        return "the ledger knows no profile yet: `pps run`, `pps fetcher` and `pps pull` read them from the file"
    done = f"{counted(flow.last_day, 'mail')} done in 24 h, {flow.last_hour} in the last hour"
    last = "none yet" if flow.last_at is None else f"the last {age(at, flow.last_at)} ago"
    return f"{'mail flows' if found.flowing else 'mail does not flow'}: {done}, {last}"


def _complaint(trouble: Trouble, at: int) -> str:
    """Return "! profile office without success for 3h, 12 waiting: why" and the like."""
    many = trouble.count if trouble.what not in {"target", "profile", "queue", "service"} else None
    what = _ONE.get(trouble.what, trouble.what) if trouble.count == 1 else trouble.what
    whose = f"{what} {trouble.name}" if trouble.name else what
    subject = f"deliveries to {trouble.name}" if trouble.what == "deferred" else whose
    without = " without success" if trouble.what == "profile" else ""
    since = "" if trouble.since is None else f" for {age(at, trouble.since)}"
    waiting = f", {trouble.count} waiting" if trouble.count and trouble.what in {"target", "profile", "queue"} else ""
    return f"! {many or ''} {subject}{without}{since}{waiting}: {trouble.reason}".replace("!  ", "! ").rstrip()


def _profiles(standing: Standing, *, short: bool) -> Iterator[Block]:
    shown = standing.profiles
    if short and len(shown) > MANY:
        shown = tuple(one for one in shown if state_of(one, standing.at) not in _QUIET)
    if shown:
        headings = ("profile", "server", "state", "next", "last good", "mails waiting")
        yield Rows(headings, [_profile_row(one, standing.at) for one in shown])
    if len(shown) < len(standing.profiles):
        yield Line(f"{len(standing.profiles) - len(shown)} more profiles without trouble: pps status --all")


def _profile_row(profile: ProfileStanding, at: int) -> list[str]:
    state = state_of(profile, at)
    return [
        profile.name,
        profile.server,
        state.value,
        _next(profile, state, at),
        "never" if profile.last_success_at is None else f"{age(at, profile.last_success_at)} ago",
        _counts(profile.mails),
    ]


def _next(profile: ProfileStanding, state: ProfileState, at: int) -> str:
    if profile.due_at is None or state is ProfileState.DISABLED:
        return "never"
    if state is ProfileState.OVERDUE:
        return f"{age(at, profile.due_at)} late"
    when = "now" if profile.due_at <= at or state is ProfileState.POLLING else f"in {age(profile.due_at, at)}"
    return when if profile.held is None else f"{when}: {profile.held}"


def _counts(waiting: Mapping[str, Waiting]) -> str:
    told = [f"{waiting[state].count} {_WORDS.get(state, state)}" for state in _ORDER[:-1] if state in waiting]
    return ", ".join(told)


def _targets(standing: Standing) -> Iterator[Block]:
    if standing.targets:
        yield Line("")
        headings = ("target", "state", "deliveries waiting", "oldest")
        yield Rows(headings, [_target_row(one, standing.at) for one in standing.targets])


def _target_row(target: TargetStanding, at: int) -> list[str]:
    oldest = min((one.oldest for one in target.deliveries.values()), default=None)
    return [
        target.name,
        "working" if target.paused_since is None else f"paused {age(at, target.paused_since)} ago",
        ", ".join(f"{one.count} {state}" for state, one in sorted(target.deliveries.items())),
        "" if oldest is None else f"{age(at, oldest)} ago",
    ]


def document_of(found: Overview) -> dict[str, Any]:
    """Return what `pps status --json` prints: docs/json.md describes it."""
    standing = found.standing
    return {
        "at": iso(standing.at),
        "flowing": found.flowing,
        "running": found.running,
        "done": {
            "last_hour": standing.flow.last_hour,
            "last_day": standing.flow.last_day,
            "last_at": iso(standing.flow.last_at),
        },
        "undelivered_since": iso(standing.undelivered_since),
        "undeleted_since": iso(standing.undeleted_since),
        "troubles": [{**asdict(one), "since": iso(one.since)} for one in found.troubles],
        "profiles": [_profile_document(one, standing.at) for one in standing.profiles],
        "targets": [_target_document(one) for one in standing.targets],
        "hosts": [
            {
                "name": one.name,
                "reason": one.reason,
                "paused_since": iso(one.paused_since),
                "paused_until": iso(one.paused_until),
            }
            for one in standing.hosts
        ],
        "queues": None if found.queues is None else queues_document(found.queues),
        "quarantined": [
            {
                "mail": one.mail_id,
                "profile": one.profile,
                "recipient": one.recipient,
                "state": one.state,
                "reason": one.reason,
                "since": iso(one.since),
            }
            for one in standing.set_aside
        ],
    }


def _profile_document(profile: ProfileStanding, at: int) -> dict[str, Any]:
    return {
        "name": profile.name,
        "server": profile.server,
        "user": profile.user,
        "target": profile.target,
        "state": state_of(profile, at).value,
        "next_poll": iso(profile.due_at) if profile.enabled else None,
        "failures": profile.failures,
        "grant_expires": iso(profile.grant_expires_at),
        "last_started": iso(profile.last_started_at),
        "last_finished": iso(profile.last_finished_at),
        "last_success": iso(profile.last_success_at),
        "last_result": profile.last_result,
        "last_error": profile.last_error,
        "held": profile.held,
        "mails": {state: profile.mails[state].count if state in profile.mails else 0 for state in _ORDER},
    }


def _target_document(target: TargetStanding) -> dict[str, Any]:
    states = ("pending", "deferred", "quarantined")
    oldest = min((one.oldest for one in target.deliveries.values()), default=None)
    return {
        "name": target.name,
        "paused_since": iso(target.paused_since),
        "reason": target.reason,
        "deliveries": {state: target.deliveries[state].count if state in target.deliveries else 0 for state in states},
        "oldest": iso(oldest),
        "last_reply": target.last_reply,
    }
