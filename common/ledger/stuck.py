"""What waits, found by what a person knows of it: deliveries in quarantine or deferred, and mails set aside whole."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.records import DeliveryState, MailState
from common.ledger.rows import AnyRow, clock
from common.ledger.schema import deliveries, mails, profiles

MOST: Final = 100_000
"""Items that one command takes in hand; another takes the rest."""

SET_ASIDE: Final = (MailState.QUARANTINED, MailState.LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A filter: all that is given must hold. Of an empty one, everything that is stuck."""

    ids: tuple[str, ...] = ()  # of mails or deliveries, or how these begin
    target: str | None = None
    profile: str | None = None
    recipient: str | None = None
    reason: str | None = None  # part of what the target said, whatever the case
    older_than: int | None = None  # seconds since it got stuck
    deferred: bool = False  # what is to be tried again, instead of what is in quarantine

    @property
    def is_empty(self) -> bool:
        """Whether it takes everything."""
        return not any((self.ids, self.target, self.profile, self.recipient, self.reason, self.older_than))


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckItem:
    """A delivery that waits, or with no delivery a mail that was set aside as a whole."""

    mail_id: str
    delivery_id: str | None
    profile: str
    state: str
    recipient: str | None
    target: str | None
    reason: str  # what the target said last
    named_by: str  # which field and rule named the recipient
    attempts: int
    size: int
    since: int  # milliseconds since 1970
    next_attempt_at: int | None


async def find_stuck(connection: AsyncConnection, wanted: Stuck) -> list[StuckItem]:
    """Return what fits the filter, the oldest first."""
    time = await clock(connection)
    before = None if wanted.older_than is None else time - wanted.older_than * 1000
    rows = list((await connection.execute(_of_deliveries(wanted, before))).all())
    if not (wanted.deferred or wanted.target or wanted.recipient):
        rows += (await connection.execute(_of_mails(wanted, before))).all()
    return sorted((_item(row) for row in rows), key=lambda item: (item.since, item.mail_id, item.delivery_id or ""))


def _of_deliveries(wanted: Stuck, before: int | None) -> Select[Any]:
    state = DeliveryState.DEFERRED if wanted.deferred else DeliveryState.QUARANTINED
    since = deliveries.c.created_at if wanted.deferred else deliveries.c.done_at
    query = (
        select(
            deliveries.c.mail_id,
            deliveries.c.id.label("delivery_id"),
            profiles.c.name.label("profile"),
            deliveries.c.state,
            deliveries.c.recipient,
            deliveries.c.target,
            deliveries.c.last_reply.label("reason"),
            deliveries.c.reason.label("named_by"),
            deliveries.c.attempts,
            mails.c.size,
            since.label("since"),
            deliveries.c.next_attempt_at,
        )
        .join(mails, mails.c.id == deliveries.c.mail_id)
        .join(profiles, profiles.c.id == deliveries.c.profile_id)
        .where(deliveries.c.state == state)
    )
    if wanted.target is not None:
        query = query.where(deliveries.c.target == wanted.target)
    if wanted.recipient is not None:
        query = query.where(deliveries.c.recipient == wanted.recipient)
    ids = (deliveries.c.id, deliveries.c.mail_id)
    return _narrowed(query, wanted, before, _Columns(ids, deliveries.c.last_reply, since))


def _of_mails(wanted: Stuck, before: int | None) -> Select[Any]:
    query = (
        select(
            mails.c.id.label("mail_id"),
            profiles.c.name.label("profile"),
            mails.c.state,
            mails.c.reason,
            mails.c.fetches.label("attempts"),
            mails.c.size,
            mails.c.progress_at.label("since"),
        )
        .join(profiles, profiles.c.id == mails.c.profile_id)
        .where(mails.c.state.in_(SET_ASIDE))
    )
    return _narrowed(query, wanted, before, _Columns((mails.c.id,), mails.c.reason, mails.c.progress_at))


class _Columns(NamedTuple):
    ids: tuple[Any, ...]
    reason: Any
    since: Any


def _narrowed(query: Select[Any], wanted: Stuck, before: int | None, columns: _Columns) -> Select[Any]:
    if wanted.ids:
        query = query.where(
            or_(*(column.startswith(one, autoescape=True) for column in columns.ids for one in wanted.ids))
        )
    if wanted.profile is not None:
        query = query.where(profiles.c.name == wanted.profile)
    if wanted.reason is not None:
        query = query.where(columns.reason.icontains(wanted.reason, autoescape=True))
    if before is not None:
        query = query.where(columns.since <= before)
    return query.order_by(columns.since).limit(MOST)


def _item(row: AnyRow) -> StuckItem:
    found = dict(row._mapping)  # noqa: SLF001 (SQLAlchemy's public name for a row's columns)
    return StuckItem(
        mail_id=found["mail_id"],
        delivery_id=found.get("delivery_id"),
        profile=found["profile"],
        state=found["state"],
        recipient=found.get("recipient"),
        target=found.get("target"),
        reason=found["reason"] or "",
        named_by=found.get("named_by") or "",
        attempts=found["attempts"],
        size=found["size"],
        since=found["since"] or 0,
        next_attempt_at=found.get("next_attempt_at"),
    )
