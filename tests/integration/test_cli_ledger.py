"""`pps ledger prune`, and the sweeper that does the same by itself: old rows go, and nothing else changes."""

import asyncio
import json
from pathlib import Path

import pytest

from fetcher import sweep
from tests.bad_input.calls import called
from tests.integration.service import Installation, Serving, catch_all, install
from tests.ledger import change
from tests.mails import mail
from tests.servers.fixtures_dovecot import Mailbox

DAY_MS = 86_400_000


async def pulled_long_ago(service: Serving, mailbox: Mailbox, *, days: int) -> None:
    """Pull a mail to its deletion, then let so many days pass."""
    mailbox.plant(mail(to="ann@local.example"))
    await service.poll()
    await service.until(lambda status: status.profiles[0].mails == {"deleted": 1})
    await change(service.parts.ledger, "UPDATE mails SET unseen_since = unseen_since - :past", past=days * DAY_MS)


async def pruned(there: Installation, *options: str) -> dict[str, object]:
    """Return what `pps ledger prune --json` says."""
    ended = await asyncio.to_thread(there.pps, "ledger", "prune", "--json", *options)
    assert (ended.code, ended.err) == (0, "")
    found: dict[str, object] = json.loads(ended.out)
    return found


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
async def test_old_rows_are_counted_then_forgotten(
    where: str, mailbox: Mailbox, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """--dry-run changes nothing; --older-than stands in for `retention`; what is forgotten is gone."""
    service = {} if where == "sqlite" else {"ledger": request.getfixturevalue("database")}
    there = install(tmp_path, catch_all(mailbox), **service)
    if service:
        assert (await asyncio.to_thread(there.pps, "migrate")).code == 0
    async with there.serving() as serving:
        await pulled_long_ago(serving, mailbox, days=60)
        assert await pruned(there) == {"mails": 0, "older_than": 90 * 86400, "dry_run": False}
        assert await pruned(there, "--older-than", "40d", "-n") == {
            "mails": 1,
            "older_than": 40 * 86400,
            "dry_run": True,
        }
        ended = await asyncio.to_thread(there.pps, "ledger", "prune", "--older-than", "40d")
        await serving.until(lambda status: status.profiles[0].mails == {})
    assert ended.out == "1 mails were forgotten: they left their server more than 40 days ago\n"
    assert there.counts() == {"ann": 1}


async def test_the_sweeper_forgets_what_is_past_its_keeping(
    mailbox: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `retention`, as a reload changed it."""
    monkeypatch.setattr(sweep, "INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(sweep, "HOUSEKEEPING_SECONDS", 0.0)
    there = install(tmp_path, catch_all(mailbox), retention="60d")
    async with there.serving() as service:
        await pulled_long_ago(service, mailbox, days=50)
        assert there.events("mails_pruned") == []
        install(tmp_path, catch_all(mailbox), retention="40d")
        await service.reloader.reload()
        await service.until(lambda status: status.profiles[0].mails == {})
        assert there.events("config_needs_restart") == []
    assert [line["mails"] for line in there.events("mails_pruned")] == [1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--older-than", "5d"), "--older-than: 5d is not between 30d and 3650d"),
        (("--older-than", "long"), "--older-than: 'long' is not a time such as"),
        ((), "nothing ran yet"),
    ],
)
def test_what_can_t_be_pruned_is_one_line(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """Too short a time would forget what the server may list again; and no ledger is made just to look into it."""
    (tmp_path / "pps.toml").write_text("")
    ended = called(["ledger", "prune", *options], tmp_path)
    assert said in ended.err
    assert (ended.err.count("\n"), ended.out) == (1, "")
    assert not (tmp_path / "pps.db").exists()
