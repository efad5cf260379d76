"""What `pps verify` found the last times: kept, so that status, doctor and metrics can tell of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from common.ledger.rows import clock
from common.ledger.schema import new_id, verifications
from common.ledger.writer import Operation

KEPT: Final = 10
"""Verifications that are kept: the last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """One run of `pps verify`."""

    began_at: int
    whole: bool  # every profile, and all that could be looked at was
    mails: int
    breaches: int
    undelivered: int  # of the breaches, mails that were deleted with no delivered row
    document: Mapping[str, Any]  # what `pps verify --json` printed


async def _keep(connection: AsyncConnection, found: Sequence[Verification]) -> list[None]:
    time = await clock(connection)
    names = ("began_at", "whole", "mails", "breaches", "undelivered")
    for one in found:
        values = {name: getattr(one, name) for name in names}
        row = {**values, "id": new_id(), "ended_at": time, "document": json.dumps(one.document)}
        await connection.execute(insert(verifications).values(**row))
    last = select(verifications.c.id).order_by(verifications.c.ended_at.desc(), verifications.c.id.desc()).limit(KEPT)
    await connection.execute(delete(verifications).where(verifications.c.id.not_in(last)))
    return [None for _ in found]


KEEP: Final[Operation[Verification, None]] = Operation(
    name="keep_verification", rank=98, key=lambda found: str(found.began_at), apply=_keep
)
