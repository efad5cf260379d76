"""What `pps verify` counts, and what must never be: values only. Every mail is in just one of its profile's counts."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

MOST_BREACHES: Final = 200
"""Breaches of one kind that are named; there may be more, and they are counted."""


class Kind(StrEnum):
    """A breach: what contradicts an invariant, or another record of the same mail."""

    DELETED_UNDELIVERED = "deleted_undelivered"  # with no delivered row: invariant I2
    DELETED_UNDONE = "deleted_undone"  # while a delivery of its bytes was undone
    KEPT_UNDELIVERED = "kept_undelivered"  # recorded as done, with no delivered row
    ROUTED_TO_NOBODY = "routed_to_nobody"  # with no copy, or one without a delivery
    COPY_WITHOUT_DELIVERY = "copy_without_delivery"
    DELIVERY_WITHOUT_MAIL = "delivery_without_mail"  # undone, and its mail's row is gone: nobody would ever make it
    DELIVERED_WITHOUT_REPLY = "delivered_without_reply"  # no time or no yes of the target is on record
    CONTENT_NOWHERE = "content_nowhere"  # somebody still wants it, and neither server nor blobs have it
    BLOB_WITHOUT_ROW = "blob_without_row"
    BLOB_DIFFERS = "blob_differs"  # in size or digest from what was fetched
    FILE_DIFFERS = "file_differs"  # a mail in a Maildir isn't what was fetched, and nobody changed it since
    LISTED_WITHOUT_ROW = "listed_without_row"  # although a poll went well since it was first seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One of them."""

    kind: Kind
    subject: str  # the id of a mail, delivery, copy or blob
    profile: str | None
    says: str


@dataclass(slots=True, kw_only=True)
class Remote:
    """What a profile's server showed, compared with the ledger."""

    looked: bool = False
    why_not: str | None = None
    held: bool = False  # it may not be looked at now, for its poll, its hours or its server's wish: no fault
    listed: int = 0
    known: int = 0  # of those, mails that the ledger has as on the server
    new: int = 0  # not on record yet: the next poll fetches them
    came_back: int = 0  # recorded as deleted or gone: a deletion not carried out, or somebody put them back
    vanished: int = 0  # on record as on the server, and not listed now
    unnamed: int = 0  # without a UIDL of their own: only counted
    unnamed_known: int = 0  # mails on record that are known by their content, and on the server
    new_uidls: tuple[str, ...] = ()  # hashes of the first of the new ones: the next verification asks for them


@dataclass(slots=True, kw_only=True)
class Account:
    """One profile's mails: each counts once, up to `lost`."""

    name: str
    mails: int = 0
    deleted: int = 0  # delivered to everybody, and deleted on the server
    kept: int = 0  # delivered to everybody, and left there
    done: int = 0  # delivered to everybody, and not deleted yet
    under_way: int = 0  # to be fetched, routed or delivered
    quarantined: int = 0  # it, or somebody's delivery, waits for a person
    discarded: int = 0  # by a person, for everybody
    skipped: int = 0
    removed: int = 0  # by somebody else, before they were fetched
    lost: int = 0
    on_server: int = 0  # of all these, as the last poll saw it
    breaches: int = 0
    remote: Remote = field(default_factory=Remote)

    @property
    def delivered(self) -> int:
        """Mails that everybody has."""
        return self.deleted + self.kept + self.done

    def document(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {"delivered": self.delivered} | asdict(self)


@dataclass(slots=True, kw_only=True)
class Blobs:
    """What the blob store holds."""

    looked: bool = False
    why_not: str | None = None
    blobs: int = 0
    octets: int = 0
    orphaned: int = 0  # of mails that are done with: removed after a week
    missing: int = 0  # mails too large for a message, without a blob, and still on the server: they are fetched again


@dataclass(slots=True, kw_only=True)
class Deliveries:
    """What one target was given."""

    target: str
    transport: str  # "maildir", or "reply" where the target's answer is all that there is
    delivered: int = 0
    present: int = 0  # in the Maildir, as they were fetched
    untold: int = 0  # present, and can't be compared: bare line feeds in the mail, or it was fetched anew since
    changed: int = 0  # by somebody, since they were delivered
    gone: int = 0  # since: read and removed, mostly
    unseen: int = 0  # in folders that this user may not read, or that this machine doesn't have


@dataclass(slots=True, kw_only=True)
class Report:
    """All that `pps verify` found."""

    at: int  # when it began, by the database's clock
    seconds: float = 0.0
    every: bool = True  # not only some profiles
    remote: bool = True  # their servers too
    accounts: dict[str, Account] = field(default_factory=dict)  # by profile id
    targets: dict[str, Deliveries] = field(default_factory=dict)
    blobs: Blobs = field(default_factory=Blobs)
    counts: dict[Kind, int] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)  # the first of each kind
    restored: str | None = None  # why nothing is deleted until this was read

    @property
    def whole(self) -> bool:
        """Whether all was to be looked at."""
        return self.every and self.remote

    def add(self, kind: Kind, subject: str, says: str, profile_id: str | None = None) -> None:
        """Count a breach, and name it if there is room."""
        account = self.accounts.get(profile_id or "")
        if account is not None:
            account.breaches += 1
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= MOST_BREACHES:
            profile = None if account is None else account.name
            self.breaches.append(Breach(kind=kind, subject=subject, profile=profile, says=says))

    def account_of(self, profile_id: str) -> Account | None:
        """Return a profile's account; None: it wasn't asked for. One that can't be read has its mails counted, too."""
        if self.every and profile_id not in self.accounts:
            self.accounts[profile_id] = Account(name=profile_id)
        return self.accounts.get(profile_id)

    @property
    def mails(self) -> int:
        """Mails that were accounted for."""
        return sum(account.mails for account in self.accounts.values())

    @property
    def total(self) -> int:
        """Breaches of all kinds."""
        return sum(self.counts.values())

    @property
    def unlooked(self) -> list[str]:
        """What was to be looked at and could not be, with the reason."""
        blobs = [f"blobs: {self.blobs.why_not}"] if self.blobs.why_not is not None else []
        return [*self._remotes(held=False), *blobs]

    @property
    def held(self) -> list[str]:
        """Mailboxes that may not be looked at now, with the reason."""
        return self._remotes(held=True)

    def _remotes(self, *, held: bool) -> list[str]:
        remotes = [(one.name, one.remote) for one in self.accounts.values() if one.remote.held is held]
        return [f"profile {name}: {remote.why_not}" for name, remote in remotes if remote.why_not is not None]

    def document(self) -> dict[str, Any]:
        """Return it as `--json` prints it, but for its times: docs/json.md describes it."""
        return {
            "whole": self.whole,
            "mails": self.mails,
            "profiles": [account.document() for account in self.accounts.values()],
            "targets": [asdict(one) for one in self.targets.values()],
            "blobs": asdict(self.blobs),
            "breaches": self.total,
            "kinds": {kind.value: count for kind, count in sorted(self.counts.items())},
            "found": [asdict(breach) for breach in self.breaches],
            "unlooked": self.unlooked,
            "held": self.held,
            "restored": self.restored,
        }
