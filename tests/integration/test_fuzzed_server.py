"""A server that goes wrong at every state, in every way: nobody else notices, and nothing is deleted."""

from functools import partial
from pathlib import Path

import pytest

from fetcher import connection
from fetcher.streams import Limits
from tests.integration.service import install
from tests.maildir import compare
from tests.mails import mail
from tests.servers.fuzzed_pop3 import FuzzedServer
from tests.servers.pop3 import PASSWORD, Pop3Server
from tests.status import Status

CLASSES = {"network", "protocol", "empty", "ok", "auth", "throttled", "in_use"}
"""How a poll of such a server may end; never as a fault of ours."""

HASTY = partial(Limits, connect=5, greeting=1, idle=1, reply=1.5, multi_line=1_000_000, mail=1_000_000)


async def test_a_server_that_goes_wrong_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its errors is classed, in status; another mailbox is emptied meanwhile; nothing asks for a deletion."""
    monkeypatch.setattr(connection, "Limits", HASTY)
    mails = [mail() for _ in range(5)]
    async with FuzzedServer() as fuzzed, Pop3Server() as good:
        good.mailbox("office").plant(*mails)
        tables = [_profile(f"fuzz-{n}", f"127.0.0.1 {fuzzed.port}") for n in range(fuzzed.pairs)]
        tables.append(_profile("office", good.server))
        there = install(tmp_path, *tables, password=PASSWORD, host_sessions=30)
        async with there.serving() as serving:
            status = await serving.until(_all_polled)

        fuzz = [one for one in status.profiles if one.name != "office"]
        assert {one.last_result for one in fuzz} <= CLASSES
        assert all(one.last_error for one in fuzz if one.last_result not in {"empty", "ok"})
        assert there.events("poll_crashed") == []
        assert fuzzed.deletions == []
        assert fuzzed.connections >= fuzzed.pairs
        assert compare({"office": mails}, {"office": there.inbox("office")}).exact


def _profile(name: str, server: str) -> dict[str, object]:
    account = {"name": name, "server": server, "user": name, "password": f"file:{name}.secret"}
    return {**account, "local_user": f"{name}@local.example", "interval": "1h"}


def _all_polled(status: Status) -> bool:
    return all(one.last_finished_at is not None for one in status.profiles)
