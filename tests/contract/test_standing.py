"""How all stands, read from both databases: the counts are right, and cheap where a million mails are settled."""

from pathlib import Path

import pytest
import structlog

from common.failures import PpsError
from common.ledger import Ledger
from common.ledger.reader import newest_schema, open_reader
from common.ledger.schema import HEAD
from common.ledger.standing import DELIVERIES, FLOW, MAILS, SET_ASIDE, UNDELETED, ProfileStanding, read_standing
from common.messages import Result
from tests.command import tree
from tests.contract.reader import Asked, asked, plant_settled, scans
from tests.ledger import Scene, outcome

__all__ = ["asked"]


def counts(profile: ProfileStanding) -> dict[str, int]:
    """Return how many mails of a profile wait in each state."""
    return {state: waiting.count for state, waiting in profile.mails.items()}


async def test_mails_are_counted_by_state_and_settled_ones_by_the_day(asked: Asked) -> None:
    """A mail that is done is no longer the profile's burden; who left before it was fetched is told apart."""
    scene = await Scene.begin(asked.ledger, b"u1", b"u2", b"u3", b"u4")
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com"))
    await asked.ledger.record_deleted(scene.lease, [scene.known[b"u1"].mail_id])
    await scene.fetch(b"u2")
    gone = "UPDATE mails SET unseen_since = 1 WHERE uidl_key = :uidl"
    await scene.age(gone, uidl=b"u3")

    found = await read_standing(asked.reader)

    (profile,) = found.profiles
    assert counts(profile) == {"listed": 1, "fetched": 1, "removed": 1}
    assert (profile.name, profile.server, profile.user) == ("office", "127.0.0.1 110", "office@example.com")
    assert (profile.polling, profile.failures, profile.last_success_at) == (True, 0, None)
    assert (found.flow.last_hour, found.flow.last_day) == (1, 1)
    assert found.flow.last_at is not None
    assert found.flow.last_at <= found.at
    assert found.undelivered_since == profile.mails["listed"].oldest


async def test_yesterday_s_mail_is_not_today_s(asked: Asked) -> None:
    """The last one is known all the same."""
    scene = await Scene.begin(asked.ledger, b"u1", b"u2")
    done = "UPDATE mails SET state = 'kept', progress_at = progress_at - :age WHERE uidl_key = :uidl"
    await scene.age(done, uidl=b"u1", age=2 * 3_600_000)
    await scene.age(done, uidl=b"u2", age=25 * 3_600_000)

    found = await read_standing(asked.reader)

    assert (found.flow.last_hour, found.flow.last_day) == (0, 1)
    assert found.undelivered_since is None


async def test_a_target_tells_what_waits_for_it_and_in_whose_words(asked: Asked) -> None:
    """Paused or not: undone deliveries by state, the reply to the oldest that was put off."""
    scene = await Scene.begin(asked.ledger, b"u1", b"u2", b"u3")
    for uidl, result in ((b"u1", Result.DEFERRED), (b"u2", Result.REFUSED), (b"u3", None)):
        await scene.fetch(uidl)
        (planned,) = (await scene.route(uidl, "ann@example.com")).deliveries
        if result is not None:
            told = outcome(planned.delivery_id, planned.mail_id, 1, result, code=550, enhanced="5.7.1", reply="no")
            await asked.ledger.settle(told)
    await asked.ledger.pause_target("spare", "connection refused", 60)

    found = await read_standing(asked.reader)

    local, spare = found.targets
    assert {state: one.count for state, one in local.deliveries.items()} == {
        "deferred": 1,
        "quarantined": 1,
        "pending": 1,
    }
    assert (local.paused_since, local.last_reply) == (None, "no")
    assert (spare.name, spare.reason, spare.deliveries) == ("spare", "connection refused", {})
    (aside,) = found.set_aside
    assert (aside.mail_id, aside.profile, aside.recipient, aside.state, aside.reason) == (
        scene.known[b"u2"].mail_id,
        "office",
        "ann@example.com",
        "quarantined",
        "no",
    )


async def test_mail_that_everybody_has_and_that_is_still_there_is_told(asked: Asked) -> None:
    """A quarantined mail is set aside with its reason, and is not what could be deleted."""
    scene = await Scene.begin(asked.ledger, b"u1", b"u2")
    await asked.ledger.quarantine(scene.known[b"u2"].mail_id, "a loop")
    assert (await read_standing(asked.reader)).undeleted_since is None
    await scene.fetch(b"u1")
    await scene.deliver(await scene.route(b"u1", "ann@example.com"))

    found = await read_standing(asked.reader)

    assert found.undeleted_since is not None
    assert [(one.state, one.recipient, one.reason) for one in found.set_aside] == [("quarantined", None, "a loop")]


async def test_no_question_looks_at_settled_rows(asked: Asked) -> None:
    """With a million settled mails each is answered by an index: the plan names no scan of a whole table."""
    scene = await Scene.begin(asked.ledger, b"u1")
    await plant_settled(asked.ledger, scene.lease.profile_id)

    plans = [
        await asked.plan(MAILS),
        await asked.plan(DELIVERIES),
        await asked.plan(UNDELETED),
        await asked.plan(FLOW, hour=50_000, day=40_000),
        *[await asked.plan(query, limit=9) for query in SET_ASIDE],
    ]

    assert scans(*plans) == []


async def test_to_look_makes_nothing(tmp_path: Path) -> None:
    """Neither a file nor a table."""
    with pytest.raises(PpsError, match="nothing ran yet"):
        async with open_reader("sqlite:///pps.db", base=tmp_path, log=structlog.get_logger()):
            pass

    assert tree(tmp_path) == {}


async def test_a_reader_writes_nothing(tmp_path: Path) -> None:
    """Not even by mistake; and what is no database is one line."""
    log = structlog.get_logger()
    await (await Ledger.open("sqlite:///pps.db", base=tmp_path, log=log)).close()

    with pytest.raises(PpsError, match="attempt to write a readonly database"):
        async with open_reader("sqlite:///pps.db", base=tmp_path, log=log) as reader:
            await reader.rows("DELETE FROM mails")

    (tmp_path / "pps.db").write_text("not a database" * 100)
    with pytest.raises(PpsError, match=r"can't .* .*pps.db: file is not a database"):
        async with open_reader("sqlite:///pps.db", base=tmp_path, log=log):
            pass


def test_the_reader_knows_the_newest_schema() -> None:
    """By the names of the migrations, so that it need not import the tables."""
    assert newest_schema() == HEAD
