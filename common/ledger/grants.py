"""OAuth 2 grants: what a mailbox's access tokens are got with, sealed, and who is getting the next one just now."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.rows import clock, insert_missing
from common.ledger.schema import grants
from common.ledger.writer import Operation
from common.messages import one_line

CLAIM_MS: Final = 60_000
"""How long one worker may take to get a token: twice the endpoint's deadline; after it another tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What is stored of a grant. Times are seconds from now by the database's clock; negative: that long ago."""

    sealed: bytes = field(repr=False)
    fresh_for: float  # until another access token should be got, ahead of `expires_in`
    expires_in: float  # of the access token
    grant_expires_in: float | None  # until only a person can help; None: not known
    refused: str | None  # why no further token is given: only a person can help


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantClaim:
    """The right to get the next token, and the grant to get it with."""

    mailbox: str
    epoch: int
    grant: Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGrant:
    """What came of it. Access and refresh token are one value: they are stored in one commit, or neither is."""

    mailbox: str
    epoch: int | None  # None: a person signed in; whatever worker is at it comes too late
    sealed: bytes = field(repr=False)
    fresh_for: float
    expires_in: float
    grant_expires_in: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantEnd:
    """A claim that brought no token: `refused` for good, or given back."""

    mailbox: str
    epoch: int
    refused: str | None = None


async def grant_of(connection: AsyncConnection, mailbox: str) -> Grant | None:
    """Return a mailbox's grant, if there is one."""
    row = (await connection.execute(select(grants).where(grants.c.mailbox == mailbox))).first()
    return None if row is None or row.sealed is None else _grant(row, await clock(connection))


def _grant(row: Any, time: int) -> Grant:  # noqa: ANN401 (a row)
    return Grant(
        sealed=row.sealed,
        fresh_for=(row.refresh_at - time) / 1000,
        expires_in=(row.expires_at - time) / 1000,
        grant_expires_in=None if row.grant_expires_at is None else (row.grant_expires_at - time) / 1000,
        refused=row.refused,
    )


async def _claim(connection: AsyncConnection, mailboxes: Sequence[str]) -> list[GrantClaim | None]:
    time = await clock(connection)
    answers: list[GrantClaim | None] = []
    for mailbox in mailboxes:
        query = select(grants).where(grants.c.mailbox == mailbox).with_for_update()
        row = (await connection.execute(query)).first()
        if row is None or row.sealed is None or (row.claimed_until is not None and row.claimed_until > time):
            answers.append(None)
            continue
        change = update(grants).where(grants.c.mailbox == mailbox)
        await connection.execute(change.values(epoch=row.epoch + 1, claimed_until=time + CLAIM_MS))
        answers.append(GrantClaim(mailbox=mailbox, epoch=row.epoch + 1, grant=_grant(row, time)))
    return answers


async def _store(connection: AsyncConnection, stored: Sequence[StoredGrant]) -> list[bool]:
    time = await clock(connection)
    answers = []
    for one in stored:
        values = {
            "sealed": one.sealed,
            "refresh_at": time + int(one.fresh_for * 1000),
            "expires_at": time + int(one.expires_in * 1000),
            "grant_expires_at": None if one.grant_expires_in is None else time + int(one.grant_expires_in * 1000),
            "claimed_until": None,
            "refused": None,
        }
        change = update(grants).where(grants.c.mailbox == one.mailbox)
        if one.epoch is None:
            await insert_missing(connection, grants, ("mailbox",), [{"mailbox": one.mailbox, "epoch": 0}])
            await connection.execute(change.values(epoch=grants.c.epoch + 1, **values))
            answers.append(True)
            continue
        done = await connection.execute(change.where(grants.c.epoch == one.epoch).values(**values))
        answers.append(done.rowcount > 0)
    return answers


async def _end(connection: AsyncConnection, ends: Sequence[GrantEnd]) -> list[None]:
    for one in ends:
        own = (grants.c.mailbox == one.mailbox) & (grants.c.epoch == one.epoch)
        refused = None if one.refused is None else one_line(one.refused)
        await connection.execute(update(grants).where(own).values(claimed_until=None, refused=refused))
    return [None for _ in ends]


async def _distrust(connection: AsyncConnection, mailboxes: Sequence[str]) -> list[None]:
    time = await clock(connection)
    for mailbox in mailboxes:
        change = update(grants).where(grants.c.mailbox == mailbox)
        await connection.execute(change.values(refresh_at=time, expires_at=time))
    return [None for _ in mailboxes]


CLAIM_GRANT: Final[Operation[str, GrantClaim | None]] = Operation(
    name="claim_grant", rank=5, key=lambda mailbox: mailbox, apply=_claim
)
STORE_GRANT: Final[Operation[StoredGrant, bool]] = Operation(
    name="store_grant", rank=6, key=lambda stored: stored.mailbox, apply=_store
)
END_GRANT: Final[Operation[GrantEnd, None]] = Operation(
    name="end_grant", rank=7, key=lambda end: end.mailbox, apply=_end
)
DISTRUST_GRANT: Final[Operation[str, None]] = Operation(
    name="distrust_grant", rank=8, key=lambda mailbox: mailbox, apply=_distrust
)
