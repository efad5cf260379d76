"""A process dies by SIGKILL at each named point, in one process and in three: no mail is lost, none comes twice."""

from operator import attrgetter

import pytest

from common.crashpoints import POINTS
from tests.crash.kills import crash_at
from tests.crash.points import BROKER_PLACES, LMTP_PLACES, MAILS, PLACES, Place
from tests.crash.scene import Drained, Scene


def test_every_named_point_is_a_scenario() -> None:
    """Each scenario fails unless the process died by SIGKILL at its point: so each point is really passed."""
    assert {place.name for place in (*PLACES, *LMTP_PLACES, *BROKER_PLACES)} == POINTS


@pytest.mark.parametrize("place", PLACES, ids=attrgetter("label"))
def test_one_process_dies_and_each_mail_comes_once(run_scene: Scene, place: Place) -> None:
    """`pps run` with SQLite and the embedded broker, which forgets all messages with the process."""
    assert_exact(crash_at(run_scene, "run", place.point, mails=MAILS))


@pytest.mark.parametrize("place", LMTP_PLACES, ids=attrgetter("label"))
def test_one_process_dies_at_an_lmtp_server(run_scene_lmtp: Scene, place: Place) -> None:
    """The server can't be asked what it took: the one mail between dot and outcome may come twice."""
    assert_no_more_doubles(crash_at(run_scene_lmtp, "run", place.point, mails=MAILS), place)


@pytest.mark.parametrize("place", [*PLACES, *BROKER_PLACES], ids=attrgetter("label"))
def test_a_role_dies_and_each_mail_comes_once(cluster_scene: Scene, place: Place) -> None:
    """One of three processes dies; the other two go on meanwhile."""
    cluster_scene.service.stop(place.command)

    assert_exact(crash_at(cluster_scene, place.command, place.point, mails=MAILS))


@pytest.mark.parametrize("place", LMTP_PLACES, ids=attrgetter("label"))
def test_a_deliverer_dies_at_an_lmtp_server(cluster_scene_lmtp: Scene, place: Place) -> None:
    """The server can't be asked what it took: the one mail between dot and outcome may come twice."""
    cluster_scene_lmtp.service.stop("deliverer")

    assert_no_more_doubles(crash_at(cluster_scene_lmtp, "deliverer", place.point, mails=MAILS), place)


def assert_exact(drained: Drained) -> None:
    """Each user holds just what was planted."""
    assert drained.accounting.exact, str(drained.accounting)


def assert_no_more_doubles(drained: Drained, place: Place) -> None:
    """Nothing is lost, and nothing comes twice but what was under way."""
    accounting = drained.accounting
    print(f"{place.name}: 1 kill, {len(accounting.doubled)} doubled")  # noqa: T201 (shown with -rP, and on failure)
    assert not accounting.lost, str(accounting)
    assert not accounting.foreign, str(accounting)
    assert len(accounting.doubled) <= place.doubles, str(accounting)
