"""How full the queues are, since when, and what nobody could read: of either broker, from wherever it can be known."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.broker import DEAD, FETCHED, OUTCOMES, jobs_queue
from common.config import Config
from common.dead_letters import DeadLetter, letter_of
from common.failures import PpsError
from common.ledger.queued import Queued, read_queued
from common.ledger.reader import Reader
from common.ledger.standing import read_clock
from common.lock import holder_of

MOST_LETTERS: Final = 50
"""Dead letters that are looked at: what is wrong shows in the first, and each is carried over the network."""

TAIL: Final = 4 * 1024 * 1024
"""Octets of the log's end in which the embedded broker's dead letters are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStanding:
    """One queue; None is what can't be known from where it was looked."""

    name: str
    ready: int | None  # messages that wait for a worker
    unacked: int | None  # in a worker's hands
    consumers: int | None
    oldest: int | None = None  # since when the oldest waits, by the ledger
    note: str = ""  # what is odd about it


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """What nobody could read: the oldest, and how many there are in all."""

    count: int | None
    letters: tuple[DeadLetter, ...]
    unseen: str = ""  # why they can't be looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Queues:
    """All queues at one moment."""

    at: int  # milliseconds, by the ledger's clock
    broker: str  # memory or rabbitmq
    source: str  # api, amqp, metrics or ledger: where the numbers are from
    note: str  # why they are from no better place; "" if they are
    queues: tuple[QueueStanding, ...]
    dead: Dead


async def read_queues(config: Config, reader: Reader, *, quick: bool = False) -> Queues:
    """Look at the queues; raises PpsError where RabbitMQ can't be reached. `quick`: of one process, only its files."""
    at, queued = await read_clock(reader), await read_queued(reader)
    if config.service.broker == "memory:":
        return await _embedded(config, at, queued, quick=quick)
    from manager.rabbitmq.queues import look  # noqa: PLC0415 (one process must not pay for importing pika)

    return await look(config, at, queued)


async def purge_dead(config: Config) -> int:
    """Forget all dead letters; return how many there were. Raises PpsError."""
    if config.service.broker == "memory:":
        raise PpsError("[service] broker: memory: forgets its dead letters by itself: it keeps 100, until it ends")
    from manager.rabbitmq.queues import purge_dead as purge  # noqa: PLC0415 (as above)

    return await purge(config)


def names_of(targets: Collection[str], queued: Collection[str]) -> list[str]:
    """Return all queues that should be there, in the order of a mail's way; pps.dead is told apart."""
    jobs = {jobs_queue(target) for target in targets} | (set(queued) - {FETCHED})
    return [FETCHED, *sorted(jobs), OUTCOMES]


async def _embedded(config: Config, at: int, queued: Mapping[str, Queued], *, quick: bool) -> Queues:
    """Tell what the process shows that has the queues in its memory, or else what the ledger knows."""
    from manager.scraped_queues import scrape  # noqa: PLC0415 (`pps status` must answer at once)

    counts = None if quick else await scrape(config)
    names = names_of(config.targets, queued)
    if counts is not None:
        queues = [_shown(name, counts.get(name, {}), queued.get(name)) for name in names]
        return Queues(at=at, broker="memory", source="metrics", note="", queues=tuple(queues), dead=_logged(config))
    nothing = Queued(count=0, oldest=None)
    counted = [(name, queued.get(name, nothing)) for name in names if name != OUTCOMES]
    queues = [
        QueueStanding(name=name, ready=one.count, unacked=None, consumers=None, oldest=one.oldest)
        for name, one in counted
    ]
    return Queues(at=at, broker="memory", source="ledger", note=_COUNTED, queues=tuple(queues), dead=_logged(config))


_COUNTED: Final = (
    "the queues are in the memory of `pps run`: what is counted is what the ledger has on its way, waiting or in hand; "
    "[service] http with a single port shows both"
)


def _shown(name: str, counts: Mapping[str, int], queued: Queued | None) -> QueueStanding:
    return QueueStanding(
        name=name,
        ready=counts.get("ready", 0),
        unacked=counts.get("unacked", 0),
        consumers=counts.get("consumers", 0),
        oldest=None if queued is None else queued.oldest,
    )


def _logged(config: Config) -> Dead:
    """Return the dead letters of the process that works now, by its log: they die with it."""
    if config.service.log == "-":
        return Dead(count=None, letters=(), unseen='[service] log is "-": see message_dead in the service\'s stderr')
    try:
        holder = holder_of(config)
    except PpsError as error:
        return Dead(count=None, letters=(), unseen=str(error))
    if holder is None:
        return Dead(count=0, letters=())
    found = [letter for pid, letter in _told_dead(Path(config.service.log)) if pid == holder.pid]
    return Dead(count=len(found), letters=tuple(found[-MOST_LETTERS:]))


def _told_dead(path: Path) -> Sequence[tuple[int, DeadLetter]]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            lines = [line for line in file.read(TAIL).split(b"\n") if b'"message_dead"' in line]
    except OSError:
        return ()
    found = []
    for line in lines:
        try:
            event = json.loads(line)
            found.append((int(event["pid"]), letter_of({**event, "at": event.get("timestamp", "")})))
        except (ValueError, KeyError, TypeError):  # a line that was cut
            continue
    return found


def dead_queue(count: int | None) -> QueueStanding:
    """Return pps.dead as a queue: nobody takes from it."""
    return QueueStanding(name=DEAD, ready=count, unacked=None, consumers=None)
