"""Processes killed at random moments, again and again, with mail under way each time."""

import random
from typing import Final

from tests.crash.kills import kill_at_random
from tests.crash.scene import Scene
from tests.crash.service import ROLES
from tests.crash.verified import unaccounted

KILLS: Final = 2
"""Of each process; `make crash` kills more often."""


def test_one_process_killed_at_random_moments(run_scene: Scene) -> None:
    """Whatever it was at, each mail comes once."""
    run_scene.service.start("run")

    drained = kill_at_random(run_scene, random.Random(), ["run"] * KILLS, mails=8)  # noqa: S311 (a moment is no secret)

    assert drained.accounting.exact, str(drained.accounting)
    assert unaccounted(run_scene.service.folder) == ""


def test_roles_killed_at_random_moments(cluster_scene: Scene) -> None:
    """One after the other, while the others go on."""
    source = random.Random()  # noqa: S311 (a moment is no secret)
    commands = [*ROLES] * KILLS
    source.shuffle(commands)

    drained = kill_at_random(cluster_scene, source, commands, mails=8)

    assert drained.accounting.exact, str(drained.accounting)
    assert unaccounted(cluster_scene.service.folder) == ""
