"""A disk that is full, or a ledger that another program has locked, amid the work: no mail is lost, cut or deleted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.disks import SIGNS, fill_disk, lock_ledger, small_disk
from tests.crash.installations import single
from tests.crash.scene import Scene
from tests.servers.dovecot import Dovecot


@pytest.fixture(params=SIGNS)
def part(request: pytest.FixtureRequest) -> str:
    """Name each folder of the service in turn."""
    name: str = request.param
    return name


@pytest.fixture
def scene_on_small_disk(crash_dovecot: Dovecot, tmp_path: Path, part: str) -> Iterator[Scene]:
    """Return an empty scene with one of the service's folders on a disk of its own."""
    with small_disk(tmp_path / part), single(crash_dovecot, tmp_path, target="local") as scene:
        yield scene


def test_a_full_disk_costs_time_only(scene_on_small_disk: Scene, part: str) -> None:
    """The ledger's: nothing is deleted meanwhile. The blobs': large mail waits. The Maildirs': no cut mail in `new`."""
    scene_on_small_disk.service.start("run")

    drained = fill_disk(scene_on_small_disk, part)

    assert drained.accounting.exact, str(drained.accounting)


def test_a_locked_ledger_costs_time_only(run_scene: Scene) -> None:
    """Writes wait until the other program lets go; nothing is deleted meanwhile."""
    run_scene.service.start("run")

    drained = lock_ledger(run_scene)

    assert drained.accounting.exact, str(drained.accounting)
