"""What stands still in the queues, and what to do about it: read off a Queues. Pure."""

from collections.abc import Collection, Iterator
from typing import Final

from common.broker import FETCHED, JOBS_PREFIX, OUTCOMES
from manager.queues import Queues, QueueStanding
from manager.trouble import Trouble

_TAKERS: Final = {FETCHED: "pps router", OUTCOMES: "pps fetcher"}


def queue_troubles(found: Queues, *, paused: Collection[str], targets: Collection[str]) -> Iterator[Trouble]:
    """Yield the queues that nobody takes from, and what nobody could read; a paused target's is told as its own."""
    for queue in found.queues:
        if queue.ready and queue.consumers == 0 and queue.name.removeprefix(JOBS_PREFIX) not in paused:
            yield Trouble(
                what="queue",
                name=queue.name,
                since=queue.oldest,
                count=queue.ready,
                reason="nobody takes from it",
                mend=_mend(queue, targets),
            )
    if found.dead.count:
        reasons = [letter.reason for letter in found.dead.letters[:1]]
        yield Trouble(
            what="dead",
            name=None,
            since=found.dead.letters[0].at if found.dead.letters else None,
            count=found.dead.count,
            reason="; ".join(["messages that nobody could read", *reasons]),
            mend="no mail is lost by it; see which: pps queues"
            + ("" if found.broker == "memory" else "; then: pps queues purge-dead"),
        )


def broker_trouble(complaint: str) -> Trouble:
    """Return what it means that the broker can't be reached: nothing moves."""
    return Trouble(what="broker", name=None, since=None, count=None, reason=complaint, mend="look closer: pps doctor")


def _mend(queue: QueueStanding, targets: Collection[str]) -> str:
    target = queue.name.removeprefix(JOBS_PREFIX)
    if queue.name.startswith(JOBS_PREFIX) and target not in targets:
        return f"there is no [target.{target}] in the configuration: put it back until its mail is delivered"
    return f"start its role, and see what it says: {_TAKERS.get(queue.name, 'pps deliverer')}"
