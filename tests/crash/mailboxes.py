"""What happens to mailboxes: connections cut anywhere, passwords that are wrong for a time, mails meant to do harm."""

import random
from collections.abc import Sequence
from typing import Any, Final

from tests.command import pps
from tests.crash.points import MAILS
from tests.crash.scene import ENVIRONMENT, Drained, Scene, samples
from tests.mails import DOMAIN, FALLBACK, Sample, mail
from tests.servers.cutting import CuttingRelay
from tests.servers.dovecot import PASSWORD

REFUSALS: Final = 4
"""Sign-ins that are refused before a profile stops: at once, and after 15 minutes, 1 hour and 6 hours."""

LEVELS: Final = 1_000
ADDRESSES: Final = 100_000
LONG_HEADER: Final = 1_000_000


def cut_connections(scene: Scene, relay: CuttingRelay) -> Drained:
    """Have the relay cut one session after the other; what was whole stays whole, what was cut is fetched again."""
    scene.plant(samples(MAILS))

    def again() -> None:
        scene.rows.poll_now()
        scene.rows.try_skipped_now()  # a mail in which three sessions broke rests for a day

    scene.wait_until(lambda: not relay.left, nudge=again)
    scene.assert_nothing_gone_undelivered()
    scene.assert_only_whole()
    scene.wait_until(lambda: not scene.remote, nudge=again)
    return scene.drain()


def cuts(source: random.Random, count: int) -> list[int]:
    """Return after how many octets to cut: as often early, in greeting, handshake and listing, as late, amid mails."""
    return [int(10 ** source.uniform(0, 5.5)) for _ in range(count)]


def refuse_then_accept(scene: Scene, command: str) -> Drained:
    """Refuse the password until the profile stops; with the right one again, `pps pull` has it go on."""
    scene.plant(samples(2))
    scene.wait_until(lambda: not scene.remote, nudge=scene.rows.poll_now)
    scene.dovecot.add_user(scene.box, "another password")
    scene.plant(samples(MAILS))
    scene.wait_until(lambda: scene.rows.stopped() == 1, nudge=scene.rows.poll_now)
    scene.wait_until(lambda: len(_refused(scene, command)) >= REFUSALS)  # the log tells after the ledger
    refused = _refused(scene, command)
    assert len(refused) == REFUSALS, refused
    assert "polls have stopped" in refused[-1]["error"], refused
    assert scene.remote == MAILS
    scene.dovecot.add_user(scene.box, PASSWORD)
    pulled = pps("pull", scene.box, folder=scene.service.folder, environment=ENVIRONMENT)
    assert pulled.code == 0, pulled.err
    return scene.drain()


def _refused(scene: Scene, command: str) -> list[dict[str, Any]]:
    ends = scene.service.lines(command, {"poll_ended"})
    return [end for end in ends if end["profile"] == scene.box and end["result"] == "auth"]


def poison(scene: Scene) -> Drained:
    """Put mails among others that are made to be dear to read; the others arrive as ever, and so do they."""
    scene.plant([*samples(MAILS // 2), *poisonous(), *samples(MAILS // 2)])
    return scene.drain()


def poisonous() -> Sequence[Sample]:
    """Return a thousand MIME levels, a hundred thousand addresses, a header of a megabyte, and NULs everywhere."""
    ann, fallback = f"ann@{DOMAIN}", f"{FALLBACK}@{DOMAIN}"
    many = "".join(f"user{number}@{DOMAIN},\r\n " for number in range(ADDRESSES)) + ann
    long = "".join(f"X-Filler-{number}: {'x' * 980}\r\n" for number in range(LONG_HEADER // 1000))
    return (
        Sample(label="levels", raw=mail(to=ann, extra=_multipart(0), body=_levels()), recipients=(ann,)),
        Sample(label="addresses", raw=mail(to=many), recipients=(fallback,)),
        Sample(label="header", raw=mail(to=ann, extra=long), recipients=(fallback,)),
        Sample(label="NULs", raw=mail(to=ann, cc="\0", subject="\0" * 500, body="\0\r\n" * 5_000), recipients=(ann,)),
    )


def _levels() -> str:
    inner = "".join(f"--{level}\r\n{_multipart(level + 1)}\r\n" for level in range(LEVELS))
    return inner + "".join(f"--{level}--\r\n" for level in range(LEVELS, -1, -1))


def _multipart(level: int) -> str:
    return f'Content-Type: multipart/mixed; boundary="{level}"\r\n'
