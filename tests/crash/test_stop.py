"""SIGTERM with mail under way: each process ends in time and in peace, and nothing that was begun is begun twice."""

import pytest

from tests.crash.kills import stop_under_load
from tests.crash.scene import Scene
from tests.crash.service import ROLES


def test_one_process_stops_under_load(run_scene_lmtp: Scene) -> None:
    """An LMTP server shows every delivery that was made twice."""
    run_scene_lmtp.service.start("run")

    drained = stop_under_load(run_scene_lmtp, "run")

    assert drained.accounting.exact, str(drained.accounting)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_stops_under_load(cluster_scene_lmtp: Scene, role: str) -> None:
    """The others go on; what it handed back is done by the next of its kind."""
    drained = stop_under_load(cluster_scene_lmtp, role)

    assert drained.accounting.exact, str(drained.accounting)
