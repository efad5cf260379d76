"""Builders and short cuts for tests of the ledger: a profile, a listing, a fetched and routed mail, an outcome."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger import Ledger
from common.ledger.records import (
    Claim,
    ClaimRequest,
    Fetched,
    FetchedMail,
    KnownMail,
    Lease,
    ListedMail,
    PlannedRecipient,
    Route,
    RoutedMail,
    Settled,
)
from common.messages import DeliveryOutcome, Result, Stage
from common.profile import Profile
from common.retention import USUAL


def profile(name: str = "office", **keys: object) -> Profile:
    """Return a catch-all's profile; keys are those of `[[profile]]`."""
    settings = {
        "name": name,
        "server": "127.0.0.1 110",
        "user": f"{name}@example.com",
        "password": "env:PASSWORD",
        "local_user": "postmaster",
        "local_domain": ["example.com"],
        "distribute": True,
    }
    return Profile.from_document(settings | keys)


def listed(*uidls: bytes, size: int = 100) -> tuple[ListedMail, ...]:
    """Return a listing of these UIDLs."""
    return tuple(ListedMail(number=n, uidl_key=uidl, uidl=uidl, size=size) for n, uidl in enumerate(uidls, start=1))


def digest(text_of: str) -> bytes:
    """Return a SHA-256 that stands for some bytes."""
    return hashlib.sha256(text_of.encode()).digest()


@dataclass(slots=True, kw_only=True)
class Scene:
    """A ledger with one leased profile."""

    ledger: Ledger
    lease: Lease
    known: dict[bytes, KnownMail] = field(default_factory=dict)

    @classmethod
    async def begin(cls, ledger: Ledger, *uidls: bytes) -> "Scene":
        """Lease the profile and list these UIDLs."""
        await ledger.sync_profiles([profile()], managed_by="file")
        (lease,) = await ledger.claim_due("test", 10)
        scene = cls(ledger=ledger, lease=lease)
        await scene.list(*uidls)
        return scene

    async def list(self, *uidls: bytes) -> dict[bytes, KnownMail]:
        """Record a listing, return what is known."""
        self.known = (await self.ledger.record_listing(self.lease, listed(*uidls))).known
        return self.known

    async def fetch(self, uidl: bytes, *, content: str | None = None) -> Fetched:
        """Record that a mail was fetched; `content` stands for its bytes, by default its own."""
        mail = self.known[uidl]
        hashed = digest(content or mail.mail_id)
        return await self.ledger.record_fetched(
            FetchedMail(
                mail_id=mail.mail_id,
                profile_id=self.lease.profile_id,
                epoch=self.lease.epoch,
                fetches=mail.fetches,
                header_hash=hashed,
                digest=hashed,
                body_digest=hashed,
                size=100,
            )
        )

    async def route(
        self,
        uidl: bytes,
        *recipients: str,
        fingerprint: str | None = None,
        content: str | None = None,
        target: str = "local",
        quarantine: str | None = None,
    ) -> Route:
        """Record who gets a mail."""
        mail = self.known[uidl]
        return await self.ledger.route(
            RoutedMail(
                mail_id=mail.mail_id,
                mailbox=self.lease.profile.mailbox,
                profile_id=self.lease.profile_id,
                fetches=mail.fetches,
                fingerprint=fingerprint,
                digest=digest(content or mail.mail_id),
                recipients=tuple(PlannedRecipient(address=one, reason="To") for one in recipients),
                fallback="postmaster@example.com",
                target=target,
                sender="",
                source_host="127.0.0.1",
                quarantine=quarantine,
            )
        )

    async def deliver(self, route: Route) -> Sequence[Settled]:
        """Claim and settle all of a route's deliveries as delivered."""
        settled = []
        for planned in route.deliveries:
            request = ClaimRequest(delivery_id=planned.delivery_id, attempt=planned.attempt, repeatable=True)
            assert (await self.ledger.claim(request)).claim in {Claim.FIRST, Claim.AGAIN}
            settled.append(await self.ledger.settle(outcome(planned.delivery_id, planned.mail_id, planned.attempt)))
        return settled

    async def state(self, uidl: bytes) -> str:
        """Return a mail's state as it stands."""
        return str((await self.one("SELECT state FROM mails WHERE uidl_key = :uidl", uidl=uidl))[0])

    async def one(self, query: str, **values: object) -> Sequence[object]:
        """Return the one row of a query."""
        return await self.ledger.read(lambda c: _one(c, query, values))

    async def all(self, query: str, **values: object) -> Sequence[tuple[object, ...]]:
        """Return the rows of a query."""
        return await self.ledger.read(lambda c: _all(c, query, values))

    async def age(self, statement: str, **values: object) -> None:
        """Change rows by hand: retries are brought on by ageing rows, never by waiting."""
        await change(self.ledger, statement, **values)


async def change(ledger: Ledger, statement: str, **values: object) -> None:
    """Run one statement and commit it."""
    async with ledger._engine.begin() as connection:
        await connection.execute(text(statement), values)


async def forget(scene: Scene, *, days: int) -> int:
    """Let so many days pass in which the mailbox is polled, then prune what left 90 days ago; return how many went."""
    past = days * 86_400_000
    await scene.age("UPDATE mails SET unseen_since = unseen_since - :past WHERE unseen_since IS NOT NULL", past=past)
    now = (await scene.one("SELECT max(progress_at) FROM mails"))[0]
    await scene.age("UPDATE schedule SET last_success_at = :now", now=now)
    return await scene.ledger.prune(USUAL)


async def _one(connection: AsyncConnection, query: str, values: dict[str, object]) -> Sequence[object]:
    return tuple((await connection.execute(text(query), values)).one())


async def _all(connection: AsyncConnection, query: str, values: dict[str, object]) -> list[tuple[object, ...]]:
    return [tuple(row) for row in (await connection.execute(text(query), values)).all()]


def outcome(
    delivery_id: str,
    mail_id: str,
    attempt: int = 1,
    result: Result = Result.DELIVERED,
    *,
    code: int = 250,
    enhanced: str = "",
    reply: str = "250 saved",
    stage: Stage = Stage.DOT,
    refused_to: str = "",
) -> DeliveryOutcome:
    """Return an outcome: delivered, unless told otherwise."""
    return DeliveryOutcome(
        delivery_id=delivery_id,
        mail_id=mail_id,
        attempt=attempt,
        result=result,
        code=code,
        enhanced=enhanced,
        reply=reply,
        stage=stage,
        target="local",
        duration=0.01,
        at=0,
        refused_to=refused_to,
    )
