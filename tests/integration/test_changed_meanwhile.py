"""A process dies between a delivery and its outcome, and something is another when the next one begins."""

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.integration.service import Installation, install, wait_until
from tests.ledger import change
from tests.maildir import messages
from tests.mails import mail
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.servers.pop3_mailbox import Mailbox

LOCAL: Final[Mapping[str, object]] = {"url": "maildir:mail/{user}?create=yes"}
OTHER: Final[Mapping[str, object]] = {"url": "maildir:other/{user}?create=yes"}


def installed(folder: Path, server: Pop3Server, *, local: Mapping[str, object] = LOCAL, **keys: object) -> Installation:
    """Write a configuration with the targets `local` and `other`, and one mailbox, all of whose mail goes to ann."""
    account = {"name": "office", "server": server.server, "user": "office", "password": "file:office.secret"}
    table = {**account, "local_user": "ann@local.example", **keys}
    return install(folder, table, password=PASSWORD, targets={"local": local, "other": OTHER})


async def settled(there: Installation) -> None:
    """Work until the mail was deleted on the server."""
    async with there.serving() as service:
        await service.poll()
        await service.until(lambda status: all(set(states) == {"delivered"} for states in status.deliveries.values()))
        await service.poll()
        await service.until(lambda status: status.profiles[0].mails == {"deleted": 1})


async def test_a_server_that_writes_into_what_it_gives_again(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """A Status field makes other octets of the same mail: what is in the Maildir is known by its delivery."""
    box.marks = True
    box.plant(mail())
    there = installed(tmp_path, server)
    await there.die_at("deliverer.after_link")

    await settled(there)

    assert len(there.inbox("ann")) == 1


async def test_a_trace_field_of_another_form(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """`received` was turned off: the field that was written before tells the same."""
    box.plant(mail())
    await installed(tmp_path, server).die_at("deliverer.after_link")
    there = installed(tmp_path, server, local={**LOCAL, "received": False})

    await settled(there)

    assert len(there.inbox("ann")) == 1


async def test_a_profile_with_another_target(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """Who held the claim may have delivered, so the delivery stays with its target, which finds the mail."""
    box.plant(mail())
    await installed(tmp_path, server, target="local").die_at("deliverer.after_link")
    there = installed(tmp_path, server, target="other")

    await settled(there)

    assert len(there.inbox("ann")) == 1
    assert messages(tmp_path / "other" / "ann") == []


async def test_a_clock_that_was_years_ahead(server: Pop3Server, box: Mailbox, tmp_path: Path) -> None:
    """What it put off is due when the next process begins, not in years."""
    there = installed(tmp_path, server)
    later = int(time.time() * 1000) + 3650 * 86_400_000
    async with there.serving() as service:
        await service.poll()
        for column in ("due_at", "last_started_at", "last_finished_at"):
            await change(service.parts.ledger, f"UPDATE schedule SET {column} = {later}")  # noqa: S608 (a number of ours)
    box.plant(mail())

    with there.running("run"):
        await asyncio.to_thread(wait_until, lambda: len(there.inbox("ann")) == 1)

    with sqlite3.connect(tmp_path / "pps.db") as ledger:
        (due_at,) = ledger.execute("SELECT due_at FROM schedule").fetchone()
    ledger.close()
    assert due_at < later


@pytest.mark.parametrize("name", ["pps.db", "pps.db-wal", "pps.db-shm"])
async def test_a_ledger_is_not_for_everybody(server: Pop3Server, tmp_path: Path, name: str) -> None:
    """It names users, and has sealed passwords."""
    async with installed(tmp_path, server).serving():
        assert (tmp_path / name).stat().st_mode & 0o007 == 0
