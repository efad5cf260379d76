"""Sessions cut anywhere, passwords that are wrong for a time, mails meant to do harm: nothing is lost or doubled."""

from pathlib import Path

from tests.crash.installations import behind
from tests.crash.mailboxes import cut_connections, poison, refuse_then_accept
from tests.crash.scene import Scene
from tests.servers.cutting import CuttingRelay
from tests.servers.dovecot import Dovecot

CUTS = (0, 500, 1_500, 2_500, 4_000, 60_000)
"""Octets of the server's before a cut: amid its handshake, which takes two kilobytes, its listing, and a mail."""


def test_sessions_that_are_cut_cost_time_only(crash_dovecot: Dovecot, tmp_path: Path) -> None:
    """What was whole before a cut is delivered, what was cut is thrown away and fetched again."""
    relay = CuttingRelay(crash_dovecot.pop3s_port, CUTS)
    with relay, behind(relay, crash_dovecot, tmp_path, tls=True) as scene:
        scene.service.start("run")

        drained = cut_connections(scene, relay)

    assert drained.accounting.exact, str(drained.accounting)


def test_a_password_that_is_refused_stops_the_profile_until_it_is_right_again(run_scene: Scene) -> None:
    """After four refusals it is tried no more; `pps pull` has it go on, with all that came meanwhile."""
    run_scene.service.start("run")

    drained = refuse_then_accept(run_scene, "run")

    assert drained.accounting.exact, str(drained.accounting)


def test_poisonous_mails_harm_no_neighbour(run_scene: Scene) -> None:
    """A thousand MIME levels, 100,000 addresses, a header of a megabyte, NULs: each arrives like any mail."""
    run_scene.service.start("run")

    drained = poison(run_scene)

    assert drained.accounting.exact, str(drained.accounting)
