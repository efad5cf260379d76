"""What is looked at before a page is shown: told while it answers, and left out, not repeated, while it doesn't."""

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import structlog

from common.failures import PpsError
from common.folder_blobs import FolderBlobs
from common.ledger import Ledger
from common.ledger.reader import Found, LedgerReader
from common.memory_broker import MemoryBroker
from common.metrics import Metrics, looks, new_metrics
from common.metrics.looks import BlobLook, BrokerLook, LedgerLook
from tests.ledger import Scene
from tests.scraped import Scraped

KEY = "01999999-0000-7000-8000-000000000001"


@pytest.fixture
def metrics() -> Metrics:
    """Return metrics that are kept."""
    return new_metrics(shown=True)


async def shown(metrics: Metrics) -> Scraped:
    """Return what a page would show."""
    return Scraped.read((await metrics.page()).decode())


async def test_a_ledger_that_is_silent_leaves_no_old_numbers(
    tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that nobody can vouch for any more looks like one of now: it goes."""
    ledger = await Ledger.open("sqlite:///pps.db", base=tmp_path, log=structlog.get_logger())
    scene = await Scene.begin(ledger, b"u1")
    verified = "INSERT INTO verifications VALUES ('v', 5000, 5000, 1, 9, 3, 1, '{}')"
    await scene.age(verified)
    await ledger.pause_target("spare", "connection refused", 60)
    look = LedgerLook(ledger, metrics, most_profiles=5, targets=lambda: {"one"})

    await look.look()
    told = await shown(metrics)

    async def silent(_self: LedgerReader, _query: str, **_values: object) -> Sequence[Found]:
        raise PpsError("[service] ledger: the database doesn't answer")

    monkeypatch.setattr(LedgerReader, "rows", silent)
    await look.look()
    left = await shown(metrics)
    await ledger.close()

    assert told.value("ledger_mails", state="listed") == 1
    assert told.value("ledger_mails", state="routed") == 0
    assert told.by("verify_breaches", "what") == {"undelivered": 1, "other": 2}
    assert told.value("verify_last_timestamp_seconds") == 5
    assert told.value("ledger_restored") == 0
    assert (told.value("target_paused", target="one"), told.value("target_paused", target="spare")) == (0, 1)
    assert told.by("profiles", "state") == {"active": 1}
    for name in ("ledger_mails", "profiles", "verify_breaches", "quarantined", "profile_up"):
        assert not [sample for sample, _ in left.values if sample == f"pps_{name}"], name
    for name in ("oldest_undelivered_seconds", "profiles_overdue", "verify_last_timestamp_seconds", "ledger_restored"):
        assert math.isnan(left.value(name) or 0), name
    assert look.pending_age == {}


async def test_queues_of_targets_are_asked_for_by_the_configuration_of_now(tmp_path: Path, metrics: Metrics) -> None:
    """A reload may bring other targets; what waits longest in their queues, the ledger knows."""
    log = structlog.get_logger()
    ledger = await Ledger.open("sqlite:///pps.db", base=tmp_path, log=log)
    broker = MemoryBroker(log)
    targets = {"one"}
    of_ledger = LedgerLook(ledger, metrics, most_profiles=5, targets=lambda: {"one"})
    look = BrokerLook(broker, metrics, role="run", targets=lambda: targets, ledger=of_ledger)
    await broker.publish("pps.jobs.one", b"x", message_id="1")

    await look.look()

    found = await shown(metrics)
    assert found.value("queue_messages", queue="pps.jobs.one", state="ready") == 1
    assert found.value("consumers", queue="pps.jobs.one") == 0
    assert found.value("broker_connected", role="run") == 1
    await broker.close()
    await ledger.close()


async def test_a_blob_store_tells_what_it_holds_and_what_is_free(tmp_path: Path, metrics: Metrics) -> None:
    """Also before its folder is made."""
    blobs = FolderBlobs(tmp_path / "to be made" / "blobs")
    look = BlobLook(blobs, metrics)
    await look.free()
    await look.held()
    empty = await shown(metrics)
    await blobs.put(KEY, b"x" * 1000)
    await look.held()

    assert (empty.value("blob_store_free_bytes") or 0) > 0
    assert empty.value("blob_bytes") == 0
    assert (await shown(metrics)).value("blob_bytes") == 1000


async def test_what_is_silent_holds_up_a_page_but_for_so_long(
    tmp_path: Path, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that neither answers nor refuses, and a store that hangs: the page comes, without what they know."""
    monkeypatch.setattr(looks, "PATIENCE_SECONDS", 0.05)
    never = asyncio.Event()

    async def silent(*_any: object, **_values: object) -> Sequence[Found]:
        await never.wait()
        return []

    monkeypatch.setattr(LedgerReader, "rows", silent)
    monkeypatch.setattr(FolderBlobs, "free", silent)
    ledger = await Ledger.open("sqlite:///pps.db", base=tmp_path, log=structlog.get_logger())
    metrics.before_page(LedgerLook(ledger, metrics, most_profiles=5, targets=lambda: {"one"}).look)
    metrics.before_page(BlobLook(FolderBlobs(tmp_path), metrics).free)

    async with asyncio.timeout(60):
        found = await shown(metrics)
    await ledger.close()

    assert math.isnan(found.value("oldest_undelivered_seconds") or 0)
    assert math.isnan(found.value("blob_store_free_bytes") or 0)
