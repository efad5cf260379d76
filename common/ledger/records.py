"""What goes into the ledger and what comes out: values only, no SQL. Times are milliseconds of the database's clock."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.messages import DeliveryOutcome
    from common.profile import Profile


class MailState(StrEnum):
    """Where a mail is in its life. "Delivered" is not stored twice: see `Ledger.deletable`."""

    LISTED = "listed"  # on the server, to be fetched
    FETCHED = "fetched"  # recorded, on its way to a router
    ROUTED = "routed"  # its recipients are known
    DELETED = "deleted"  # every recipient has it, and the server confirmed the deletion
    KEPT = "kept"  # every recipient has it, and it stays on the server by the profile's wish
    SKIPPED = "skipped"  # never fetched, for a reason
    QUARANTINED = "quarantined"  # needs a person
    LOST = "lost"  # its bytes are gone: an alarm


class DeliveryState(StrEnum):
    """Where one recipient's piece is in its life."""

    PENDING = "pending"  # no attempt has ended yet
    DEFERRED = "deferred"  # tried, to be tried again
    DELIVERED = "delivered"  # the target took custody
    REDIRECTED = "redirected"  # the fallback user gets it instead
    QUARANTINED = "quarantined"  # needs a person
    DISCARDED = "discarded"  # a person said so


UNDONE = (DeliveryState.PENDING, DeliveryState.DEFERRED, DeliveryState.QUARANTINED)
"""States that keep the remote mail from deletion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """What is remembered of a server that did not bear what it offers."""

    window: int | None = None  # commands that it may be sent ahead; None: nothing is known against it
    hangs_up_on_capa: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to poll one profile for a while; every write made under it is checked against its epoch."""

    profile_id: str
    epoch: int
    revision: int
    profile: "Profile"
    failures: int = 0  # polls that failed in a row
    auth_failures: int = 0  # of those, refused sign-ins
    memory: HostMemory = HostMemory()
    hides: bool = False  # the server was seen to hide mail that was retrieved

    lag: float = 0.0  # seconds from its time to its claim

    @property
    def hides_mail(self) -> bool:
        """Whether the only copy of a retrieved mail is ours, by the profile's word or by what was seen."""
        return self.profile.hides_mail(seen=self.hides)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMail:
    """One line of a listing: how a server names a mail in this session, and for good."""

    number: int
    uidl_key: bytes  # what the mail is known by: its UIDL, or where that can't be trusted, its content
    uidl: bytes
    size: int  # as listed: advisory


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMail:
    """What the ledger knows of a listed mail."""

    mail_id: str
    uidl_key: bytes
    size: int
    state: MailState
    fetches: int
    breaks: int  # sessions that broke while it was retrieved
    deletable: bool  # every recipient has it
    header_hash: bytes | None
    digest: bytes | None
    body_digest: bytes | None
    age: int  # milliseconds since it was last recorded to move


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedMail:
    """A mail whose bytes are in our hands, to be recorded before it is published."""

    mail_id: str
    profile_id: str
    epoch: int
    fetches: int
    header_hash: bytes
    digest: bytes
    body_digest: bytes
    size: int  # octets that were retrieved


class Fetched(StrEnum):
    """What recording a fetched mail led to."""

    RECORDED = "recorded"  # publish it
    STALE = "stale"  # the lease was lost, or the mail is no longer wanted
    ANOTHER = "another"  # the UIDL named another mail when it was fetched before


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRecipient:
    """One recipient of a routed mail, with the field and rule that named it."""

    address: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutedMail:
    """A router's decision on one mail, to be recorded before its jobs are published."""

    mail_id: str
    mailbox: str
    profile_id: str
    fetches: int
    fingerprint: str | None  # None: never joined with another mail
    digest: bytes
    recipients: tuple[PlannedRecipient, ...]
    fallback: str
    target: str
    sender: str
    source_host: str
    quarantine: str | None = None  # a reason not to deliver at all: a loop


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDelivery:
    """One delivery that wants an attempt."""

    delivery_id: str
    mail_id: str
    profile_id: str
    recipient: str
    fallback: str
    target: str
    sender: str
    source_host: str
    attempt: int
    created_at: int
    reason: str
    digest: bytes
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a router's decision led to."""

    stale: bool  # the mail was sent back to be fetched since: nothing was recorded
    joined: bool  # the mail is one of several of a copy
    deliveries: tuple[PlannedDelivery, ...]  # those that want an attempt now


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """A deliverer wants to make this attempt."""

    delivery_id: str
    attempt: int
    repeatable: bool  # the target recognises a delivery made twice (Maildir)


class Claim(StrEnum):
    """What a deliverer may do with a job."""

    FIRST = "first"  # nobody tried before
    AGAIN = "again"  # somebody may have begun before: look before you write
    EXPIRED = "expired"  # a claim ran out on a target that can't be asked: the attempt is ambiguous
    DENIED = "denied"  # done, stale, or in another's hands: drop the job
    HELD = "held"  # its target takes nothing for now, by the ledger's word: the job waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The answer to a ClaimRequest; the token shows later that the claim is still the newest one."""

    claim: Claim
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What an outcome changed."""

    outcome: "DeliveryOutcome"
    applied: bool  # False: stale, or the delivery was done already
    state: DeliveryState | None  # the delivery's state now; None: no such delivery
    deletable: tuple[str, ...]  # mails that became deletable
    next_attempt_in: int | None = None  # seconds
    fates: tuple[tuple[str, MailState], ...] = ()  # of mails that were sent back; told once for what settled together
