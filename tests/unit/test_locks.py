"""The locks: they cover what pyproject.toml names, agree with each other, and fit any machine."""

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent.parent
LOCKS: Final = ("requirements.lock", "requirements-dev.lock")


def pinned(lock: str) -> dict[str, str]:
    """Return the lock's packages with their versions."""
    return dict(re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def named(requirements: list[str]) -> set[str]:
    """Return the normalised names of requirements (PEP 503)."""
    return {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", line)[0]).lower() for line in requirements}  # type: ignore[index]


def test_the_locks_cover_what_is_named() -> None:
    """A dependency that was added without `make lock` would be missing on every other machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert named(project["dependencies"]) <= pinned("requirements.lock").keys()
    assert named(project["optional-dependencies"]["dev"]) <= pinned("requirements-dev.lock").keys()


def test_what_runs_is_what_was_tested() -> None:
    """The runtime lock is a part of the developers' lock, version by version."""
    assert pinned("requirements.lock").items() <= pinned("requirements-dev.lock").items()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_hashes_only(lock: str) -> None:
    """No index, no folder and no host: where packages come from is the machine's affair, the hashes prove them."""
    text = (ROOT / lock).read_text()
    assert text.count("--hash=sha256:") > 2 * len(pinned(lock))
    assert not re.search(r"^\s*-(?!-hash=)|://|^\S+ @|#.*/", text, re.MULTILINE)
