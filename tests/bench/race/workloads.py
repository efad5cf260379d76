"""The workloads (a) to (e), as data: what is in the mailboxes, who runs, and what is wanted of us."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from tests.bench.race.boxes import Mails
from tests.bench.race.contest import PROBE, Contest, Entry
from tests.bench.race.figures import Goal
from tests.bench.race.programs import DOMAIN, ENVELOPE, Fdm, Fetchmail, Getmail, Mpop, Pps
from tests.mails import mail

SMALL: Final = 8_000
LARGE: Final = 30_000_000
DELAY_MS: Final = 25
MANY: Final = 16
USERS: Final = tuple(f"user{number}" for number in range(10))

MEMORY: Final = "peak memory"


def small(count: int, box: str) -> Mails:
    """Yield small mails for the mailbox's own user."""
    return ((mail(to=f"{box}@{DOMAIN}", size=SMALL), (box,)) for _ in range(count))


def for_two(count: int) -> Iterator[tuple[bytes, tuple[str, ...]]]:
    """Yield mails of a catch-all, each for two users."""
    for number in range(count):
        users = (USERS[number % len(USERS)], USERS[(number + 1 + number // len(USERS) % 9) % len(USERS)])
        to = ", ".join(f"{user}@{DOMAIN}" for user in users)
        yield mail(to=to, extra=f"{ENVELOPE}: {to}\r\n", size=SMALL), users


def _one(part: float, *, count: int) -> Mapping[str, Mails]:
    return {"box": small(_of(count, part), "box")}


def _many(part: float) -> Mapping[str, Mails]:
    return {name: small(10, name) for name in (f"box{number}" for number in range(_of(100, part)))}


def _catch_all(part: float) -> Mapping[str, Mails]:
    return {"all": for_two(_of(5_000, part))}


def _large(part: float) -> Mapping[str, Mails]:
    return {"box": ((mail(to=f"box@{DOMAIN}", size=LARGE), ("box",)) for _ in range(_of(20, part)))}


def _of(count: int, part: float) -> int:
    return max(1, int(count * part))


CONTESTS: Final = (
    Contest(
        key="a",
        title="one mailbox, 5,000 mails of 8 kB, loopback, to Maildir",
        unit="mails/s",
        contents=partial(_one, count=5_000),
        entries=[Entry(program=kind()) for kind in (Pps, Mpop, Fdm, Fetchmail, Getmail)],
        goals=[
            (
                Goal(label="times mpop", bound=1.2, of=("mpop",)),
                Goal(label="of the fsync probe", bound=0.8, of=(PROBE,)),
            )
        ],
        probe=(5_000, SMALL),
    ),
    Contest(
        key="b",
        title="one mailbox, 500 mails of 8 kB, 50 ms round trip",
        unit="mails/s",
        contents=partial(_one, count=500),
        entries=[Entry(program=kind()) for kind in (Pps, Mpop, Fdm, Fetchmail, Getmail)],
        goals=[(Goal(label="times mpop", bound=1.2, of=("mpop",)),)],
        delay_ms=DELAY_MS,
    ),
    Contest(
        key="c",
        title="100 mailboxes of 10 mails of 8 kB, 50 ms round trip; sequential programs get the first 20",
        unit="mailboxes/s",
        contents=_many,
        per_box=True,
        entries=[
            Entry(program=Pps()),
            *(Entry(program=kind(at_once=MANY)) for kind in (Mpop, Fdm, Fetchmail, Getmail)),
            *(Entry(program=kind(), part=0.2) for kind in (Mpop, Fdm, Fetchmail, Getmail)),
        ],
        goals=[
            (Goal(label=f"times mpop -P{MANY}", bound=3, of=(f"mpop -P{MANY}",)),),
            (Goal(label="times mpop", bound=30, of=("mpop",)),),
            (Goal(label="times fetchmail", bound=100, of=("fetchmail",)),),
        ],
        delay_ms=DELAY_MS,
    ),
    Contest(
        key="d",
        title="a catch-all of 5,000 mails of 8 kB for two local users each, loopback",
        unit="mails/s",
        contents=_catch_all,
        entries=[Entry(program=kind()) for kind in (Pps, Fetchmail, Getmail)],
        goals=[(Goal(label="times the better of fetchmail and getmail6", bound=10, of=("fetchmail", "getmail6")),)],
        users=USERS,
    ),
    Contest(
        key="e",
        title="one mailbox, 20 mails of 30 MB, loopback",
        unit="mails/s",
        contents=_large,
        entries=[Entry(program=kind()) for kind in (Pps, Mpop, Fdm, Fetchmail, Getmail)],
        goals=[
            (Goal(label="times mpop", bound=0.9, of=("mpop",)),),
            (Goal(label="MB of memory", bound=200, own=MEMORY, most=True),),
        ],
    ),
)
