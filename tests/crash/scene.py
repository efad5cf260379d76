"""A lot of mails in a mailbox, and what must hold of them whatever is killed: at each moment, and in the end."""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.messages import MAX_INLINE, MAX_INLINE_FAN_OUT
from tests.crash.rows import Rows
from tests.crash.service import Service
from tests.maildir import Accounting, canonical, compare, count, messages, without_trace
from tests.mails import DOMAIN, FALLBACK, USERS, Sample, by_recipient, mail, varied
from tests.servers.dovecot import PASSWORD, Dovecot

DRAIN_SECONDS: Final = 120.0
"""How long a drain may take after the fault is healed: what would take minutes was made older."""

LOOK_SECONDS: Final = 0.02
AGE_SECONDS: Final = 15.0
"""Between two times that what a broker lost is made older: long enough for a mail to be fetched and delivered."""

NUDGE_SECONDS: Final = 0.5
"""Between two looks at what waits: for the next poll, or for the next attempt."""

TARGETS: Final = ("local", "mda")
"""Where mail goes: into Maildirs, and to an LMTP server."""

CONFIG: Final = """
[service]
ledger = "{ledger}"
broker = "{broker}"
log = "-"

[target.local]
url = "maildir:mail/{{domain}}/{{user}}?create=yes"

[target.mda]
url = "lmtp://127.0.0.1:{lmtp_port}"
connections = 1
"""

PROFILE: Final = """
[[profile]]
name = "{user}"
server = "127.0.0.1 {port}"
{trust}
user = "{user}"
password = "env:CRASH_PASSWORD"
local_domain = ["{domain}"]
local_user = "{fallback}"
distribute = true
interval = "10s"
target = "{target}"
"""

ENVIRONMENT: Final = {"CRASH_PASSWORD": PASSWORD}

_seeds = itertools.count(1)
_boxes = itertools.count(1)


def new_boxes(dovecot: Dovecot) -> dict[str, str]:
    """Make an empty mailbox for each target, which no earlier installation knew."""
    number = next(_boxes)
    return {target: dovecot.add_user(f"{target}{number}") for target in TARGETS}


def config(
    dovecot: Dovecot, boxes: Mapping[str, str], *, ledger: str, broker: str, port: str = "", ca: str = ""
) -> str:
    """Return a configuration with a mailbox for each of two targets; `port` is where POP3 goes by another way."""
    trust = f'ca = "{ca}"' if ca else ""
    port = port or str(dovecot.pop3_port)
    profiles = [
        PROFILE.format(user=user, port=port, trust=trust, domain=DOMAIN, fallback=FALLBACK, target=target)
        for target, user in boxes.items()
    ]
    return CONFIG.format(ledger=ledger, broker=broker, lmtp_port=dovecot.lmtp_port) + "".join(profiles)


def samples(count: int) -> list[Sample]:
    """Return mails that were never planted before: all kinds, one of more than 64 KiB for three."""
    seed = next(_seeds)
    return [*varied(count - 1, seed), _for_many(f"large {seed}", USERS, size=100_000)]


def wide() -> Sample:
    """Return a mail that travels inline to the router, and as a blob from there: it is for so many."""
    users = [f"user{number}" for number in range(MAX_INLINE_FAN_OUT // MAX_INLINE + 2)]
    return _for_many(f"wide {next(_seeds)}", users, size=MAX_INLINE - 1)


def lone() -> Sample:
    """Return a mail for a user who gets no other."""
    user = f"lone{next(_seeds)}"
    return _for_many(user, [user], size=2_000)


@contextmanager
def held_back(scene: "Scene") -> Iterator[Sample]:
    """Yield a mail for a user whose Maildir can't be made meanwhile: its delivery is put off, and no other."""
    user = f"held{next(_seeds)}"
    in_the_way = scene.service.folder / "mail" / DOMAIN / user
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.touch()
    try:
        yield _for_many(f"held {user}", [user], size=2_000)
    finally:
        in_the_way.unlink()


def _for_many(label: str, users: Sequence[str], *, size: int) -> Sample:
    recipients = tuple(f"{user}@{DOMAIN}" for user in users)
    message_id = f"<{label.replace(' ', '.')}@varied.example>"
    return Sample(
        label=label, raw=mail(to=", ".join(recipients), message_id=message_id, size=size), recipients=recipients
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What came out in the end, and how long after the last fault was healed."""

    accounting: Accounting
    seconds: float
    pause: float = 0.0  # the longest in which nothing arrived although mail kept coming, where that was watched


class Scene:
    """Mails planted for one target; what was there before does not count, what comes again of it is foreign."""

    def __init__(self, service: Service, rows: Rows, dovecot: Dovecot, *, box: str, target: str) -> None:
        self.service = service
        self.rows = rows
        self.planted: list[Sample] = []
        self.dovecot = dovecot
        self.box = box
        self._target = target
        self._before = self._held()

    def plant(self, mails: Sequence[Sample], *, due: bool = True) -> None:
        """Put mails into the mailbox, and make its poll due unless the ledger takes no change."""
        self.dovecot.plant(self.box, [sample.raw for sample in mails])
        self.planted += mails
        if due:
            self.rows.poll_now()

    def plant_twins(self, mails: Sequence[Sample]) -> None:
        """Put each mail in twice, as a provider does that stores one a recipient: it is still one copy."""
        self.dovecot.plant(self.box, [sample.raw for sample in mails for _ in range(2)])
        self.planted += mails
        self.rows.poll_now()

    @property
    def remote(self) -> int:
        """How many mails are still on the server."""
        return self.dovecot.count(self.box)

    @property
    def is_drained(self) -> bool:
        """Whether the mailbox is empty and nothing is undone."""
        return not self.remote and not self.rows.undone()

    @property
    def delivered(self) -> int:
        """How many mails have come to their users, each counted for each."""
        came = sum(
            1 for maildir in self._maildirs().values() for part in ("new", "cur") for _ in maildir.glob(f"{part}/*")
        )
        return came - sum(held.total() for held in self._before.values())

    def is_through(self, mail: Sample) -> bool:
        """Whether a mail that is alone in its Maildirs has arrived there, and is gone from the server."""
        maildirs = self._maildirs()
        arrived = all(count(maildirs[user]) for user in mail.recipients if user in maildirs)
        return arrived and canonical(mail.raw) not in set(self.dovecot.remaining(self.box))

    def arrivals(self) -> list[float]:
        """When each mail came to its user, by the clock, in order; only of a Maildir target."""
        return sorted(path.stat().st_mtime for maildir in self._maildirs().values() for path in maildir.glob("new/*"))

    def assert_nothing_gone_undelivered(self) -> None:
        """Invariant I2, as it can be seen from outside at any moment: gone from the server means held by its users."""
        planted = tuple(self.planted)  # before the look, since mail may be coming
        remaining = set(self.dovecot.remaining(self.box))  # before that at Maildirs: what goes after it is not judged
        held = {user: {canonical(without_trace(raw)) for raw in mails} for user, mails in self._found().items()}
        gone = [sample for sample in planted if canonical(sample.raw) not in remaining]
        undelivered = [
            (sample.label, user)
            for sample in gone
            for user in sample.recipients
            if canonical(sample.raw) not in held.get(user, ())
        ]
        assert not undelivered, f"deleted on the server, but not delivered: {undelivered}"

    def assert_only_whole(self) -> None:
        """What has come so far is, octet for octet, what was planted: nothing is cut."""
        foreign = compare(by_recipient(self.planted), self._found()).foreign
        assert not foreign, foreign

    def await_deliveries(self, count: int) -> None:
        """Return once so many have come to their users."""
        self.wait_until(lambda: self.delivered >= count)

    def await_states(self, **states: int) -> None:
        """Return once just so many deliveries and mails stand in these states."""
        self.wait_until(lambda: self.rows.undone() == states)

    def drain(self, *, seconds: float = DRAIN_SECONDS, queues_lost: bool = False) -> Drained:
        """Return once the mailbox is empty and nothing is undone, with the accounting; fail if that takes too long.

        `queues_lost`: what was queued is made older now and then, since the sweeper leaves it for another quarter of
        an hour when it looks while the queue holds what was published since.
        """
        began = time.monotonic()
        aged_at = began

        def nudge() -> None:
            nonlocal aged_at
            self.nudge()
            if queues_lost and time.monotonic() > aged_at + AGE_SECONDS:
                aged_at = time.monotonic()
                self.rows.age_what_was_queued()

        self.wait_until(lambda: self.is_drained, seconds=seconds, nudge=nudge)
        accounting = compare(by_recipient(self.planted), self._found())
        return Drained(accounting=accounting, seconds=time.monotonic() - began)

    def nudge(self) -> None:
        """Bring on the next poll and the next attempts."""
        self.rows.poll_now()
        self.rows.retry_now()

    def wait_until(
        self, reached: Callable[[], bool], *, seconds: float = DRAIN_SECONDS, nudge: Callable[[], None] = lambda: None
    ) -> None:
        """Return once it is reached, with a nudge now and then; fail on a fault in a log, and if it takes too long."""
        deadline = time.monotonic() + seconds
        look_at = 0.0
        while not reached():
            now = time.monotonic()
            if now > look_at:
                look_at = now + NUDGE_SECONDS
                faults = self.service.faults()
                assert not faults, faults
                assert now < deadline, self._stuck(seconds)
                nudge()
            time.sleep(LOOK_SECONDS)

    def _stuck(self, seconds: float) -> str:
        tails = "\n".join(f"{command}: {self.service.tail(command)}" for command in self.service.commands)
        return f"not reached in {seconds:.0f} s: {self.remote} mails on the server, {self.rows.undone()}\n{tails}"

    def _found(self) -> dict[str, list[bytes]]:
        return {
            user: list((held - self._before.get(user, Counter())).elements()) for user, held in self._held().items()
        }

    def _held(self) -> dict[str, Counter[bytes]]:
        return {user: Counter(messages(maildir)) for user, maildir in self._maildirs().items()}

    def _maildirs(self) -> dict[str, Path]:
        if self._target == "mda":
            users = (*USERS, FALLBACK)
            return {f"{user}@{DOMAIN}": self.dovecot.folder / "lmtp" / user / "Maildir" for user in users}
        return {f"{path.name}@{path.parent.name}": path for path in (self.service.folder / "mail").glob("*/*")}
