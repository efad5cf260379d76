"""Every metric that PPS has: name, kind, labels and what it says. The one home of them; docs/metrics.md is made of it.

No label is ever an account, an address, a UIDL or free text: their number, and so a page's size, must not grow with the
mail. `profile` is a label of the few that are marked so, and only below a configured number of profiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from common.failures import PollResult
from common.messages import Result

PREFIX: Final = "pps_"

MOMENTS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
"""Seconds, for what takes milliseconds as a rule."""

WAITS: Final = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 86_400, 5 * 86_400)
"""Seconds, for what may take as long as a mail is tried."""


class Kind(StrEnum):
    """What becomes of a metric's values."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Scope(StrEnum):
    """Whose value it is, and so how those of many processes are put together."""

    PROCESS = "process"
    SERVICE = "service"


_SERVICE_WIDE: Final = " Of the whole service, the same in each process: take max(), not sum()."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Label:
    """A label, with all its values where they are known beforehand: those series begin with 0."""

    name: str
    values: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One metric. Compared by identity: it is a key at each mail."""

    name: str  # without the prefix
    kind: Kind
    text: str
    labels: tuple[Label, ...] = ()
    scope: Scope = Scope.PROCESS
    buckets: tuple[float, ...] = MOMENTS  # of a histogram

    @property
    def full_name(self) -> str:
        """Return the name that Prometheus shows; a counter's ends in _total."""
        return PREFIX + self.name

    @property
    def help(self) -> str:
        """Return the line that stands above its values."""
        return self.text + (_SERVICE_WIDE if self.scope is Scope.SERVICE else "")


def _label(name: str, *values: str) -> Label:
    return Label(name=name, values=values)


def _counter(name: str, text: str, *labels: Label) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, text=text, labels=labels)


def _gauge(name: str, text: str, *labels: Label, scope: Scope = Scope.PROCESS) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, text=text, labels=labels, scope=scope)


def _histogram(name: str, text: str, *labels: Label, buckets: tuple[float, ...] = MOMENTS) -> Metric:
    return Metric(name=name, kind=Kind.HISTOGRAM, text=text, labels=labels, buckets=buckets)


_QUEUE: Final = _label("queue")
_ROLE: Final = _label("role")
_PROFILE: Final = _label("profile")
_TARGET: Final = _label("target")
_TRANSPORT: Final = _label("transport")

# Fetching

POLLS: Final = _counter("polls_total", "Polls that ended.", _label("result", *PollResult))
POLL_SECONDS: Final = _histogram(
    "poll_duration_seconds",
    "How long each phase of a POP3 session took; tls is the handshake, quit is DELE and QUIT.",
    _label("phase", "connect", "tls", "auth", "list", "retrieve", "settle", "quit"),
)
SCHEDULE_LAG: Final = _histogram(
    "schedule_lag_seconds", "How long after its time a poll began: where it grows, more fetchers help.", buckets=WAITS
)
POP3_SESSIONS: Final = _gauge("pop3_sessions", "POP3 sessions under way.")
MAILS_FETCHED: Final = _counter("mails_fetched_total", "Mails that were retrieved and are confirmed by the broker.")
BYTES_FETCHED: Final = _counter("bytes_fetched_total", "Octets of those mails.")
MAILS_DELETED: Final = _counter(
    "mails_deleted_total",
    "DELE by its result: ok (QUIT was confirmed), refused, unconfirmed (the next listing tells).",
    _label("result", "ok", "refused", "unconfirmed"),
)
DELETES_WITHHELD: Final = _counter(
    "deletes_withheld_total",
    "Delivered mails that stayed: unverified (the server doesn't show the mail that was delivered), undelivered (a "
    "copy got another recipient), lease_lost, restored (the ledger comes from a backup: a person "
    "is to read first what `pps verify` finds).",
    _label("reason", "unverified", "undelivered", "lease_lost", "restored"),
)

# Broker

PUBLISHES: Final = _counter(
    "publishes_total",
    "Messages sent, by the broker's verdict; all but ack are sent again.",
    _QUEUE,
    _label("result", "ack", "nack", "returned", "timeout", "lost"),
)
CONFIRM_SECONDS: Final = _histogram("confirm_seconds", "From a publish to the broker's confirmation.", _QUEUE)
PUBLISH_INFLIGHT: Final = _gauge("publish_inflight", "Messages sent and not yet confirmed.")
PUBLISH_INFLIGHT_BYTES: Final = _gauge("publish_inflight_bytes", "Their octets.")
BROKER_BLOCKED: Final = _gauge("broker_blocked", "1 while the broker takes no messages: an alarm, or no room.", _ROLE)
BROKER_CONNECTED: Final = _gauge("broker_connected", "1 while both connections to the broker are up.", _ROLE)
BROKER_RECONNECTS: Final = _counter("broker_reconnects_total", "Connections that were lost and are back.", _ROLE)
CONSUMERS: Final = _gauge("consumers", "Consumers of a queue.", _QUEUE, scope=Scope.SERVICE)
QUEUE_MESSAGES: Final = _gauge(
    "queue_messages",
    "Messages of a queue: ready is of the whole service (take max()), unacked is in this process's hands (take sum()).",
    _QUEUE,
    _label("state", "ready", "unacked"),
)
QUEUE_OLDEST: Final = _gauge(
    "queue_oldest_seconds",
    "Age of what waits longest: ready by the ledger (take max()), unacked in this process's hands (take max()).",
    _QUEUE,
    _label("state", "ready", "unacked"),
)

# Work on messages

WORK_SECONDS: Final = _histogram(
    "work_seconds",
    "How long a message was worked on, and how that ended.",
    _label("stage", "route", "deliver", "settle"),
    _label("result", "ack", "requeue", "dead", "failed"),
)
ROUTED: Final = _counter("routed_total", "Recipients, by the rule that named them.", _label("rule"))
COPIES_JOINED: Final = _counter("copies_joined_total", "Mails that were another copy of one already there.")
DELIVERIES: Final = _counter(
    "deliveries_total",
    "Attempts at deliveries; redirected: no such user, so the fallback user gets it. Outages of a target are none.",
    _TRANSPORT,
    _label("result", *Result, "redirected"),
)
DELIVERY_SECONDS: Final = _histogram(
    "delivery_seconds", "From a mail's first listing to its acceptance by the target.", _TRANSPORT, buckets=WAITS
)
SWEPT: Final = _counter(
    "swept_total",
    "What the sweeper did: retry (its time had come), job and mail (their message was lost), sent_back (to be fetched "
    "again), pruned (old rows), blob (orphans).",
    _label("what", "retry", "job", "mail", "sent_back", "pruned", "blob"),
)

# How all stands, by the ledger

LEDGER_MAILS: Final = _gauge(
    "ledger_mails",
    "Mails that are not settled; removed: by somebody else, before they were fetched.",
    _label("state", "listed", "fetched", "routed", "skipped", "quarantined", "lost", "removed"),
    scope=Scope.SERVICE,
)
LEDGER_DELIVERIES: Final = _gauge(
    "ledger_deliveries",
    "Deliveries that are not done.",
    _label("state", "pending", "deferred", "quarantined"),
    scope=Scope.SERVICE,
)
OLDEST_UNDELIVERED: Final = _gauge(
    "oldest_undelivered_seconds",
    "Age of the oldest mail that somebody doesn't have yet, and that isn't set aside; 0: there is none.",
    scope=Scope.SERVICE,
)
OLDEST_UNDELETED: Final = _gauge(
    "oldest_undeleted_seconds",
    "Age of the oldest mail that everybody has and that is still to be deleted on its server; 0: there is none.",
    scope=Scope.SERVICE,
)
QUARANTINED: Final = _gauge(
    "quarantined",
    "What can't go on without a person; lost: its bytes are gone.",
    _label("reason", "refused", "ambiguous", "expired", "sent_back", "loop", "lost", "other"),
    scope=Scope.SERVICE,
)
PROFILES: Final = _gauge(
    "profiles",
    "Profiles; backoff: the last poll failed, stopped: until a person acts.",
    _label("state", "active", "backoff", "stopped", "disabled"),
    scope=Scope.SERVICE,
)
PROFILES_OVERDUE: Final = _gauge(
    "profiles_overdue", "Profiles whose poll should have begun more than a minute ago.", scope=Scope.SERVICE
)
PROFILE_UP: Final = _gauge("profile_up", "1 if its last poll went well.", _PROFILE, scope=Scope.SERVICE)
PROFILE_LAST_SUCCESS: Final = _gauge(
    "profile_last_success_timestamp_seconds", "When a poll of it last went well.", _PROFILE, scope=Scope.SERVICE
)
HOSTS_PAUSED: Final = _gauge(
    "hosts_paused", "POP3 hosts that refused so many accounts that sign-ins there are paused.", scope=Scope.SERVICE
)
VERIFY_BREACHES: Final = _gauge(
    "verify_breaches",
    "Breaches that the last `pps verify` found; undelivered: mails that were deleted with no delivered row.",
    _label("what", "undelivered", "other"),
    scope=Scope.SERVICE,
)
VERIFY_LAST: Final = _gauge("verify_last_timestamp_seconds", "When the last `pps verify` began.", scope=Scope.SERVICE)
LEDGER_RESTORED: Final = _gauge(
    "ledger_restored", "1 while nothing is deleted, because the ledger comes from a backup.", scope=Scope.SERVICE
)
TARGET_PAUSED: Final = _gauge("target_paused", "1 while a target takes nothing.", _TARGET, scope=Scope.SERVICE)

# Disk, and who we are

BLOB_BYTES: Final = _gauge("blob_bytes", "Octets of mail at rest in the blob store.", scope=Scope.SERVICE)
BLOB_FREE_BYTES: Final = _gauge("blob_store_free_bytes", "Octets that are free where blobs go.", scope=Scope.SERVICE)
BUILD_INFO: Final = _gauge("build_info", "Always 1.", _label("version"), _label("python"))

METRICS: Final = tuple(found for found in list(globals().values()) if isinstance(found, Metric))
"""All of them, in the order in which they stand here."""
