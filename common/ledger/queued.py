"""What waits in the queues, by the ledger: it knows since when, which no broker tells, and it knows without one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from common.broker import FETCHED, jobs_queue
from common.ledger.reader import Reader

TO_ROUTE: Final = "SELECT count(*) AS count, min(progress_at) AS oldest FROM mails WHERE state = 'fetched'"

TO_DELIVER: Final = """
SELECT target, count(*) AS count, min(created_at) AS oldest FROM deliveries WHERE state = 'pending' GROUP BY target
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """What waits for a worker, or is in its hands."""

    count: int
    oldest: int | None  # since when the oldest does


async def read_queued(reader: Reader) -> Mapping[str, Queued]:
    """Return what waits, by queue: fetched mails for a router, and deliveries for each target's deliverer.

    What a target put off isn't counted: it is in no queue until its time comes.
    """
    (fetched,) = await reader.rows(TO_ROUTE)
    found = {FETCHED: Queued(count=int(fetched["count"]), oldest=fetched["oldest"])}
    for row in await reader.rows(TO_DELIVER):
        found[jobs_queue(row["target"])] = Queued(count=int(row["count"]), oldest=row["oldest"])
    return found
