"""How every ledger commits: many writes at once, one row that no database takes, a schema of another version."""

import asyncio
from pathlib import Path

import pytest
import structlog

from common.failures import PpsError
from common.ledger import Ledger, RowRejectedError
from common.ledger.records import PlannedRecipient, RoutedMail
from tests.ledger import Scene, change, digest

log = structlog.get_logger()


async def test_one_poisonous_row_does_not_hold_up_its_batch(ledger: Ledger) -> None:
    """99 good rows and one that no database takes: the 99 are recorded, the one is refused to its caller."""
    uidls = [b"u%d" % number for number in range(100)]
    scene = await Scene.begin(ledger, *uidls)
    await asyncio.gather(*(scene.fetch(uidl) for uidl in uidls))

    async def route(uidl: bytes) -> object:
        recipient = "bad\udc80@example.com" if uidl == b"u50" else "ann@example.com"
        mail = scene.known[uidl]
        routed = RoutedMail(
            mail_id=mail.mail_id,
            mailbox=scene.lease.profile.mailbox,
            profile_id=scene.lease.profile_id,
            fetches=0,
            fingerprint=None,
            digest=digest(mail.mail_id),
            recipients=(PlannedRecipient(address=recipient, reason="To"),),
            fallback="postmaster@example.com",
            target="local",
            sender="",
            source_host="127.0.0.1",
        )
        return await ledger.route(routed)

    results = await asyncio.gather(*(route(uidl) for uidl in uidls), return_exceptions=True)

    assert [uidl for uidl, result in zip(uidls, results, strict=True) if isinstance(result, RowRejectedError)] == [
        b"u50"
    ]
    assert (await scene.one("SELECT count(*) FROM mails WHERE state = 'routed'"))[0] == 99


async def test_writes_of_many_share_few_commits(ledger: Ledger) -> None:
    """A hundred mails fetched at once cost a handful of transactions, not a hundred."""
    uidls = [b"u%d" % number for number in range(100)]
    scene = await Scene.begin(ledger, *uidls)
    before = ledger.commits
    await asyncio.gather(*(scene.fetch(uidl) for uidl in uidls))
    assert ledger.commits - before <= 3


async def test_a_ledger_of_a_newer_version_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    """An old worker must not write into a schema that it doesn't know."""
    await change(ledger, "UPDATE alembic_version SET version_num = '9999'")
    url = ledger._engine.url.set(drivername=ledger._engine.dialect.name).render_as_string(hide_password=False)
    with pytest.raises(PpsError, match="newer PPS"):
        await Ledger.open(url, base=tmp_path, log=log)
