"""What stands still, since when, whose, and what to do about it: read off a Standing. Pure.

Each Trouble ends in a command or a setting: who reads it at night must not have to look anything up.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from common.ledger.standing import HostStanding, ProfileStanding, Standing, TargetStanding, Waiting

OVERDUE_MS: Final = 2 * 60_000
"""How late a poll may begin before the profile counts as overdue: a fetcher looks every second."""

PATIENCE_MS: Final = 15 * 60_000
"""How long a mail may be on its way to a router or a deliverer before somebody should look."""


GRANT_ENDS_MS: Final = 7 * 86_400_000
"""How long before a grant runs out a person is told, as the fetcher's log does (grant_ends_soon)."""


class ProfileState(StrEnum):
    """How a profile is doing, as a person would say it."""

    ACTIVE = "active"  # polled when it is due
    POLLING = "polling"  # just now
    BACKOFF = "backoff"  # the last polls failed; tried again by itself
    OVERDUE = "overdue"  # due, and nobody polls it
    STOPPED = "stopped"  # until a person acts
    DISABLED = "disabled"  # by the administrator's wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that stands still."""

    what: str  # service, broker, queue, dead, restored, breaches, host, profile, grant, target, quarantined, lost, …
    name: str | None  # of the profile, target or queue
    since: int | None  # None: it never worked
    count: int | None  # mails or deliveries that wait for it
    reason: str
    mend: str


def state_of(profile: ProfileStanding, at: int) -> ProfileState:
    """Return how a profile is doing."""
    if not profile.enabled:
        return ProfileState.DISABLED
    if profile.polling:
        return ProfileState.POLLING
    if profile.due_at is None:
        return ProfileState.STOPPED
    if profile.due_at < at - OVERDUE_MS:
        return ProfileState.OVERDUE
    return ProfileState.BACKOFF if profile.failures else ProfileState.ACTIVE


def is_flowing(standing: Standing, *, running: bool | None) -> bool:
    """Whether mail moves: something polls, and some target that mail waits for takes it. Unknown counts as yes."""
    enabled = [one for one in standing.profiles if one.enabled]
    well = {ProfileState.ACTIVE, ProfileState.POLLING}
    polled = any(state_of(one, standing.at) in well for one in enabled)
    wanted = {one.target for one in enabled}
    paused = {one.name for one in standing.targets if one.paused_since is not None}
    return running is not False and polled and not wanted <= paused


def troubles_of(standing: Standing, *, running: bool | None) -> tuple[Trouble, ...]:
    """Return all that stands still, what holds up most first. `running`: whether a service works, None: unknown."""
    return (
        *_of_service(standing, running=running),
        *_of_trust(standing),
        *(found for one in standing.targets for found in _of_target(one)),
        *(_of_host(one) for one in standing.hosts),
        *(found for one in standing.profiles for found in _of_profile(one, standing.at, running=running)),
        *_of_mails(standing, running=running),
    )


def _of_service(standing: Standing, *, running: bool | None) -> Iterator[Trouble]:
    overdue = [one for one in standing.profiles if state_of(one, standing.at) is ProfileState.OVERDUE]
    since = min((one.due_at for one in overdue if one.due_at is not None), default=None)
    if running is False:
        reason = "nothing works on this ledger: no mail is fetched or delivered"
        finished = (one.last_finished_at for one in standing.profiles if one.last_finished_at is not None)
        yield Trouble(
            what="service", name=None, since=max(finished, default=None), count=None, reason=reason, mend="pps run"
        )
    elif overdue:
        reason = f"{len(overdue)} of {len(standing.profiles)} profiles are due, and nobody polls them"
        mend = "is `pps run` or `pps fetcher` at work, and what does it say? pps log --level warning"
        yield Trouble(what="service", name=None, since=since, count=len(overdue), reason=reason, mend=mend)


def _of_trust(standing: Standing) -> Iterator[Trouble]:
    """Tell of a ledger that came back from a backup, and of what contradicted an invariant when all was verified."""
    known = standing.verified
    if known.restored_at is not None:
        yield Trouble(
            what="restored",
            name=None,
            since=known.restored_at,
            count=None,
            reason=f"{known.restored_why}: nothing is deleted",
            mend="pps verify; once you have read it: pps verify --accept",
        )
    if known.breaches:
        reason = "must not be so, as the last verification found"
        mend = "see what it is: pps verify"
        yield Trouble(what="breaches", name=None, since=known.at, count=known.breaches, reason=reason, mend=mend)


def _of_target(target: TargetStanding) -> Iterator[Trouble]:
    waiting = [target.deliveries[state] for state in ("pending", "deferred") if state in target.deliveries]
    count = sum(one.count for one in waiting)
    if target.paused_since is not None:
        mend = f"make it answer, or mend [target.{target.name}] url; it is tried again every minute by itself"
        yield Trouble(
            what="target",
            name=target.name,
            since=target.paused_since,
            count=count,
            reason=f"takes nothing: {target.reason or ''}",
            mend=mend,
        )
    elif "deferred" in target.deliveries:
        put_off = target.deliveries["deferred"]
        yield Trouble(
            what="deferred",
            name=target.name,
            since=put_off.oldest,
            count=put_off.count,
            reason=f"put off: {target.last_reply or ''}",
            mend="tried again by itself for 5 days; see whose: pps mails --deferred; now: pps retry",
        )


def _of_host(host: HostStanding) -> Trouble:
    return Trouble(
        what="host",
        name=host.name,
        since=host.paused_since,
        count=None,
        reason=f"signs nobody in: {host.reason}",
        mend="ask its administrator; one account at a time is tried by itself, and none of them is blamed",
    )


_MENDS: Final[Mapping[str, str]] = {
    "auth": "mend user or password of profile {name}, then: pps pull {name}",
    "grant": "pps oauth login {name}",
    "in_use": "close the other program that reads this mailbox, or give it a mailbox of its own",
    "throttled": "give profile {name} a longer interval",
    "network": 'check server = "{server}" of profile {name}, and the way to it; then: pps pull {name}',
    "tls": "mend tls or ca of profile {name}, then: pps pull {name}",
    "protocol": 'check that server = "{server}" of profile {name} is a POP3 server; see: pps log {name}',
    "local": "mend what the line says, then: pps pull {name}",
}


_LOGIN: Final = "pps oauth login {name}"
_TYPED_ANEW: Final = "type the password anew: pps profile password {name}; then: pps pull {name}"


def _of_profile(profile: ProfileStanding, at: int, *, running: bool | None) -> Iterator[Trouble]:
    state = state_of(profile, at)
    ends = profile.grant_expires_at
    if ends is not None and ends < at + GRANT_ENDS_MS and state is not ProfileState.DISABLED:
        days = max(0, ends - at) // 86_400_000
        reason = f"the provider gives it no more tokens {f'in {days} days' if days else 'from today on'}"
        mend = _LOGIN.format(name=profile.name)
        yield Trouble(what="grant", name=profile.name, since=None, count=None, reason=reason, mend=mend)
    failed = state is ProfileState.STOPPED or (profile.failures > 0 and state is not ProfileState.DISABLED)
    if not failed:
        return
    mend = _MENDS.get(profile.last_result or "", "pps pull {name}")
    if profile.last_result == "auth" and profile.with_tokens:
        mend = _LOGIN
    elif profile.last_result == "auth" and profile.with_stored:
        mend = _TYPED_ANEW
    mend = mend.format(name=profile.name, server=profile.server)
    again = "" if state is ProfileState.STOPPED or running is False else "; tried again by itself"
    stopped = "stopped: " if state is ProfileState.STOPPED else ""
    reason = f"{stopped}{profile.last_error or profile.last_result or 'no poll ended well'}"
    listed = profile.mails.get("listed")
    count = None if listed is None else listed.count
    since = profile.last_success_at
    yield Trouble(what="profile", name=profile.name, since=since, count=count, reason=reason, mend=mend + again)


def _of_mails(standing: Standing, *, running: bool | None) -> Iterator[Trouble]:
    quarantined = [*_all(standing, "quarantined"), *_undone(standing, "quarantined")]
    yield from _counted(
        quarantined,
        what="quarantined",
        reason="can't go on without you; the mail is still on the server",
        mend="see which and why, and decide: pps quarantine list",
    )
    yield from _counted(
        _all(standing, "lost"),
        what="lost",
        reason="gone from the server before everybody had it",
        mend="see which, and ask the senders: pps mails --state lost",
    )
    yield from _counted(
        _all(standing, "skipped"),
        what="skipped",
        reason="could not be fetched; tried again daily, and never deleted",
        mend="see which and why: pps mails --state skipped",
    )
    if running is not False:
        yield from _of_age(standing)


def _of_age(standing: Standing) -> Iterator[Trouble]:
    """Tell of mail that moves no more though nothing above holds it up: a role that isn't at work, mostly."""
    late = standing.at - PATIENCE_MS
    fetched = [one for one in _all(standing, "fetched") if one.since < late]
    yield from _counted(
        fetched, what="undelivered", reason="fetched, but not routed", mend="is `pps run` or `pps router` at work?"
    )
    held = {one.name for one in standing.targets if one.paused_since is not None}
    pending = [
        one.deliveries["pending"] for one in standing.targets if one.name not in held and one.deliveries.get("pending")
    ]
    yield from _counted(
        [one for one in pending if one.oldest < late],
        what="undelivered",
        reason="routed, but not delivered",
        mend="is `pps run` or `pps deliverer` at work, with this [target] in its file?",
    )
    if standing.undeleted_since is not None and standing.undeleted_since < standing.at - 4 * PATIENCE_MS:
        yield Trouble(
            what="undeleted",
            name=None,
            since=standing.undeleted_since,
            count=None,
            reason="delivered to everybody, but still on the server",
            mend="deleted at the profile's next good poll; see which: pps mails --state routed",
        )


def _counted(waiting: list[Waiting], *, what: str, reason: str, mend: str) -> Iterator[Trouble]:
    if waiting:
        count = sum(one.count for one in waiting)
        since = min(one.since for one in waiting)
        yield Trouble(what=what, name=None, since=since, count=count, reason=reason, mend=mend)


def _all(standing: Standing, state: str) -> list[Waiting]:
    return [one.mails[state] for one in standing.profiles if state in one.mails]


def _undone(standing: Standing, state: str) -> list[Waiting]:
    return [one.deliveries[state] for one in standing.targets if state in one.deliveries]
