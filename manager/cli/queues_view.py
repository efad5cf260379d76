"""How `pps queues` looks: Queues as lines and tables for people, and as a document for scripts. Pure."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from common.dead_letters import DeadLetter
from manager.cli.moments import age, iso, local
from manager.cli.tables import Block, Line, Rows
from manager.queues import Queues, QueueStanding, dead_queue

_UNKNOWN: Final = "?"


def blocks_of(found: Queues) -> Iterator[Block]:
    """Yield the queues in the order of a mail's way, then what nobody could read."""
    yield queue_rows(found)
    if found.note:
        yield Line("")
        yield Line(f"what is in hand can't be seen: {found.note}" if found.source == "amqp" else found.note)
    yield from _dead(found)


def queue_rows(found: Queues) -> Rows:
    """Return the table of queues."""
    rows = [_row(one, found.at) for one in found.queues]
    rows.append([*_row(dead_queue(found.dead.count), found.at)[:2], "", "", "", ""])
    return Rows(("queue", "ready", "in hand", "consumers", "oldest", ""), rows)


def _row(queue: QueueStanding, at: int) -> list[str]:
    idle = queue.consumers == 0 and not queue.note and bool(queue.ready)
    return [
        queue.name,
        *(_UNKNOWN if count is None else str(count) for count in (queue.ready, queue.unacked, queue.consumers)),
        "" if queue.oldest is None else age(at, queue.oldest),
        "nobody takes from it" if idle else queue.note,
    ]


def _dead(found: Queues) -> Iterator[Block]:
    dead = found.dead
    if dead.unseen:
        yield Line("")
        yield Line(f"messages that nobody could read: {dead.unseen}")
    if not dead.letters:
        return
    more = f"; the oldest {len(dead.letters)}" if dead.count and dead.count > len(dead.letters) else ""
    yield Line("")
    yield Line(f"{dead.count} that nobody could read{more} (once you have looked: pps queues purge-dead):")
    yield Rows(("since", "queue", "octets", "reason"), [_letter_row(letter) for letter in dead.letters])


def _letter_row(letter: DeadLetter) -> list[str]:
    return [
        _UNKNOWN if letter.at is None else local(letter.at),
        letter.queue or _UNKNOWN,
        _UNKNOWN if letter.octets is None else str(letter.octets),
        letter.reason,
    ]


def document_of(found: Queues) -> dict[str, Any]:
    """Return what `pps queues --json` prints: docs/json.md describes it."""
    return {
        "at": iso(found.at),
        "broker": found.broker,
        "source": found.source,
        "note": found.note or None,
        "queues": [
            {**asdict(one), "oldest": iso(one.oldest), "note": one.note or None}
            for one in (*found.queues, dead_queue(found.dead.count))
        ],
        "dead": {
            "count": found.dead.count,
            "unseen": found.dead.unseen or None,
            "letters": [{**asdict(one), "at": iso(one.at)} for one in found.dead.letters],
        },
    }
