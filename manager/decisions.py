"""Finds what waits for a person, and carries out what the person decides: one audit line in the log for each.

It works beside a running service: only the ledger is written, and the sweeper finds what became due.
"""

import asyncio
import getpass
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.blobs import NoBlobError
from common.config import Config
from common.config_errors import nearest
from common.connect import open_blobs
from common.failures import PpsError, UsageError
from common.header import split_header
from common.ledger import Ledger
from common.ledger.deciding import Decision, Verb
from common.ledger.desk import Desk
from common.ledger.stuck import Stuck, StuckItem
from common.log import open_log
from common.messages import MAX_HEADER, one_line

RATE: Final = 20.0
"""Deliveries a second that become due when many are set in motion, unless the person asks for others."""

BLOB_SECONDS: Final = 10.0
"""How long a blob store may take to show a header to a person who waits."""

_SQLITE: Final = "sqlite:///"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to become of each item that was found."""

    verb: Verb
    recipient: str | None = None
    target: str | None = None
    rate: float = RATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What came of it."""

    items: tuple[StuckItem, ...]  # that were found
    done: int  # the others no longer waited

    @property
    def counts(self) -> list[tuple[str, str, int]]:
        """Return how many items there are by target and reason, the most first."""
        counted = Counter((item.target or "", item.reason) for item in self.items)
        return [(target, reason, count) for (target, reason), count in counted.most_common()]


@asynccontextmanager
async def _desk(config: Config) -> AsyncIterator[Desk]:
    """Open the ledger beside whatever runs; nothing is made just to look into it."""
    require_ledger(config)
    ledger = await Ledger.open(
        config.service.ledger, base=config.base, log=open_log("-", config.base, level="error"), hurried=True
    )
    try:
        yield Desk(ledger)
    finally:
        await ledger.close()


def require_ledger(config: Config) -> None:
    """Raise PpsError where there is no ledger yet: none is made just to look into it."""
    url = config.service.ledger
    if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
        raise PpsError(f"{config.path}: nothing ran yet: `pps run` or `pps pull` makes the ledger")


async def header_of(config: Config, mail_id: str) -> bytes | None:
    """Return a mail's header block, if its bytes are in the blob store; else the remote server alone has it."""
    head = bytearray()
    try:
        blobs = open_blobs(config.service, config.base)
        async with asyncio.timeout(BLOB_SECONDS), aclosing(blobs.stream(mail_id)) as stream:
            async for chunk in stream:
                head += chunk
                if len(head) > MAX_HEADER:
                    break
    except (NoBlobError, OSError):
        return None
    return bytes(head[: min(split_header(head), MAX_HEADER)])


async def find(config: Config, wanted: Stuck) -> list[StuckItem]:
    """Return what waits and fits the filter; raises PpsError, also where nothing does for a name that nobody has."""
    async with _desk(config) as desk:
        found = await desk.stuck(wanted)
        if not found and wanted.profile is not None:
            await desk.require_profile(wanted.profile)
    if not found and wanted.target is not None and wanted.target not in config.targets:
        raise UsageError(
            f"there is no [target.{one_line(wanted.target, 64)}]: {nearest(wanted.target, config.targets)}"
        )
    return found


async def decide(config: Config, items: Sequence[StuckItem], wish: Wish) -> Decided:
    """Carry out a wish on these items; raises PpsError."""
    if wish.target is not None and wish.target not in config.targets:
        raise UsageError(f"--via: there is no [target.{wish.target}] in {config.path}")
    by = _person()
    log = open_log(config.service.log, config.base).bind(role="manager")
    done = 0
    async with _desk(config) as desk:
        for number, item in enumerate(items):
            wait = int(number / wish.rate * 1000)
            if not await desk.decide(_decision(item, wish, wait)):
                continue
            done += 1
            log.info(
                f"delivery_{_PAST[wish.verb]}" if item.delivery_id else f"mail_{_PAST[wish.verb]}",
                by=by,
                mail=item.mail_id,
                delivery=item.delivery_id,
                recipient=item.recipient,
                target=wish.target or item.target,
                to=wish.recipient,
                reason=item.reason,
                due_in=wait // 1000,
            )
    return Decided(items=tuple(items), done=done)


async def believe(config: Config, target: str) -> None:
    """End the doubt in a target's user table, if there is one."""
    async with _desk(config) as desk:
        await desk.end_hold(target)


_PAST: Final = {
    Verb.RETRY: "retried_by_person",
    Verb.REDIRECT: "redirected_by_person",
    Verb.DISCARD: "discarded_by_person",
}


def _decision(item: StuckItem, wish: Wish, wait: int) -> Decision:
    return Decision(
        verb=wish.verb,
        mail_id=item.mail_id,
        delivery_id=item.delivery_id,
        recipient=wish.recipient,
        target=wish.target,
        wait=wait,
    )


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "unknown"
