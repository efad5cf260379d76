"""What the management API tells of a queue, read as a person would say it."""

from typing import Any

import pytest

from common.broker import FETCHED
from manager.rabbitmq.queues import standing_of

WELL: dict[str, Any] = {
    "name": FETCHED,
    "messages_ready": 3,
    "messages_unacknowledged": 2,
    "consumers": 1,
    "state": "running",
    "leader": "a",
    "members": ["a", "b", "c"],
    "online": ["a", "b", "c"],
}


@pytest.mark.parametrize(
    ("told", "note"),
    [
        ({}, ""),
        ({"state": "down"}, "is down"),
        ({"leader": ""}, "has no leader: nothing moves in it"),
        ({"online": ["a", "b"]}, "on 2 of its 3 nodes"),
        ({"members": [], "online": [], "leader": None}, ""),  # a classic queue
    ],
)
def test_what_is_odd_about_a_queue_is_said(told: dict[str, Any], note: str) -> None:
    """Down, leaderless, on a part of its cluster; of a healthy one nothing."""
    found = standing_of(FETCHED, WELL | told, None)

    assert (found.ready, found.unacked, found.consumers, found.note) == (3, 2, 1, note)


def test_a_queue_that_was_only_just_made_has_no_numbers_yet() -> None:
    """RabbitMQ counts every few seconds: what isn't known is no zero."""
    found = standing_of(FETCHED, {"name": FETCHED, "type": "quorum"}, None)

    assert (found.ready, found.unacked, found.consumers, found.note) == (None, None, None, "")
