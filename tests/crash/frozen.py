"""A fetcher that is stopped amid its work for longer than its lease, and then goes on as if nothing had been."""

from collections.abc import Collection
from typing import Final

from tests.crash.kills import SERVER_SECONDS
from tests.crash.points import MAILS
from tests.crash.scene import Drained, Scene, samples

PLACES: Final = ("fetcher.after_retr", "fetcher.after_ledger", "fetcher.after_confirm", "fetcher.after_dele")
"""Where it is stopped: with a mail that nobody knows of, one that only the ledger knows, and marked deletions."""

SECOND: Final = "fetcher-2"


def freeze_past_lease(scene: Scene, point: str, *, until_drained: bool) -> Drained:
    """Stop a fetcher at a point ("name:count") while another takes its mailbox over, then have it go on: I2 holds.

    The other has ended a poll by then, and more mail has come, whose numbers in a listing of today are those of other
    mails in the frozen session; `until_drained`: the other has done everything by then.
    """
    service = scene.service
    service.stop("fetcher")
    scene.plant(samples(MAILS))
    service.start("fetcher", crash_at=f"{point}:stop")
    service.await_frozen("fetcher")
    scene.rows.age_what_froze()
    with service.beside(SECOND):
        if until_drained:
            # The broker takes back what the frozen one held once its heartbeat stops; what it only recorded waits for
            # the sweeper's quarter of an hour, which is made older.
            scene.drain(seconds=SERVER_SECONDS, queues_lost=True)
        else:
            scene.wait_until(lambda: _ended(scene, SECOND, {"poll_ended"}), nudge=scene.rows.poll_now)
        scene.plant(samples(2))
        service.thaw("fetcher")
        scene.wait_until(lambda: _ended(scene, "fetcher", {"poll_ended", "lease_lost"}), nudge=scene.rows.poll_now)
        return scene.drain(seconds=SERVER_SECONDS)


def _ended(scene: Scene, command: str, events: Collection[str]) -> bool:
    """Whether the process that runs now has ended a poll of the scene's mailbox."""
    pid = scene.service.pid(command)
    return any(line["pid"] == pid and line["profile"] == scene.box for line in scene.service.lines(command, events))
