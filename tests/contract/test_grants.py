"""The contract of OAuth 2 grants in the ledger, on SQLite and PostgreSQL: one worker at a time, the newest wins."""

import asyncio

import pytest

from common.ledger import Ledger
from common.ledger.grants import GrantClaim, GrantEnd, StoredGrant
from common.ledger.sealing import RESEAL_GRANT, SealedGrant, sealed_grants
from tests.ledger import change

BOX = "mailbox"


def stored(
    sealed: bytes = b"sealed", epoch: int | None = None, *, grant_expires_in: float | None = None
) -> StoredGrant:
    """Return a grant to store, whose token is good for an hour."""
    return StoredGrant(
        mailbox=BOX, epoch=epoch, sealed=sealed, fresh_for=3300, expires_in=3600, grant_expires_in=grant_expires_in
    )


async def claimed(ledger: Ledger) -> GrantClaim:
    """Claim the grant, which must be free."""
    claim = await ledger.claim_grant(BOX)
    assert claim is not None
    return claim


async def test_a_grant_is_sealed_anew_unless_it_was_renewed_meanwhile(ledger: Ledger) -> None:
    """Who seals anew holds no claim: a token that a worker stored since is worth more than the one that was read."""
    await ledger.store_grant(stored(b"old"))
    assert await ledger.read(sealed_grants) == [(BOX, b"old")]

    done = await ledger.write(RESEAL_GRANT, SealedGrant(mailbox=BOX, was=b"old", sealed=b"new"))
    late = await ledger.write(RESEAL_GRANT, SealedGrant(mailbox=BOX, was=b"old", sealed=b"late"))

    assert (done, late) == (True, False)
    assert await ledger.read(sealed_grants) == [(BOX, b"new")]


async def test_a_grant_is_what_was_stored(ledger: Ledger) -> None:
    """With its times, counted from the database's now."""
    assert await ledger.grant_of(BOX) is None
    assert await ledger.claim_grant(BOX) is None
    assert await ledger.store_grant(stored(grant_expires_in=86_400.0))
    grant = await ledger.grant_of(BOX)
    assert grant is not None
    assert (grant.sealed, grant.refused) == (b"sealed", None)
    assert grant.fresh_for == pytest.approx(3300, abs=30)
    assert grant.expires_in == pytest.approx(3600, abs=30)
    assert grant.grant_expires_in == pytest.approx(86_400, abs=30)
    assert b"sealed" not in repr(grant).encode()


async def test_one_of_many_gets_the_claim(ledger: Ledger) -> None:
    """Until it stores, gives back, or its time is over."""
    await ledger.store_grant(stored())
    claims = [claim for claim in await asyncio.gather(*(ledger.claim_grant(BOX) for _ in range(20))) if claim]
    assert len(claims) == 1
    await ledger.end_grant(GrantEnd(mailbox=BOX, epoch=claims[0].epoch))
    again = await claimed(ledger)
    assert await ledger.claim_grant(BOX) is None
    await change(ledger, "UPDATE grants SET claimed_until = 1")  # a worker that died
    assert (await claimed(ledger)).epoch == again.epoch + 1


async def test_who_lost_the_claim_stores_nothing(ledger: Ledger) -> None:
    """Neither a token nor a refusal of a worker that was too slow is written over the newer one."""
    await ledger.store_grant(stored())
    slow = await claimed(ledger)
    await change(ledger, "UPDATE grants SET claimed_until = 1")
    quick = await claimed(ledger)
    assert await ledger.store_grant(stored(b"quick", quick.epoch))
    assert not await ledger.store_grant(stored(b"slow", slow.epoch))
    await ledger.end_grant(GrantEnd(mailbox=BOX, epoch=slow.epoch, refused="too late"))
    grant = await ledger.grant_of(BOX)
    assert grant is not None
    assert (grant.sealed, grant.refused) == (b"quick", None)


async def test_a_login_takes_the_place_of_whatever_is_under_way(ledger: Ledger) -> None:
    """And what was refused before is good again."""
    await ledger.store_grant(stored())
    before = await claimed(ledger)
    await ledger.end_grant(GrantEnd(mailbox=BOX, epoch=before.epoch, refused="invalid_grant"))
    under_way = await claimed(ledger)
    assert under_way.grant.refused == "invalid_grant"
    await ledger.store_grant(stored(b"new"))
    assert not await ledger.store_grant(stored(b"old", under_way.epoch))
    grant = await ledger.grant_of(BOX)
    assert grant is not None
    assert (grant.sealed, grant.refused) == (b"new", None)


async def test_a_distrusted_token_is_over_at_once(ledger: Ledger) -> None:
    """The grant itself stays."""
    await ledger.store_grant(stored())
    await ledger.distrust_grant(BOX)
    grant = await ledger.grant_of(BOX)
    assert grant is not None
    assert grant.fresh_for <= 0
    assert grant.expires_in <= 0
    assert grant.sealed == b"sealed"
