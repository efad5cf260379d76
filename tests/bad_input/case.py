"""One wrong use of `pps`: what is set up, what is called, and the one line that it must print."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CONFIG: Final = """\
[target.local]
url = "maildir:mail/{user}?create=yes"

[[profile]]
name = "office"
server = "127.0.0.1 1"
user = "office"
password = "env:PPS_TEST_PASSWORD"
local_user = "ann"
"""

CANARY: Final = "hunter2"
"""A password that no line may repeat."""


def nothing(_folder: Path) -> None:
    """Set up nothing more than a good pps.toml."""


@contextmanager
def undisturbed(_folder: Path) -> Iterator[None]:
    """Have nothing wrong but what was set up."""
    yield


@dataclass(frozen=True, slots=True, kw_only=True)
class BadInput:
    """One row of the table. In `prints`, {folder} stands for the folder that it runs in."""

    name: str
    arguments: tuple[str, ...]
    prints: str  # without "pps: "
    code: int = 2
    set_up: Callable[[Path], None] = nothing
    environment: Mapping[str, str] = field(default_factory=dict)
    around: Callable[[Path], AbstractContextManager[None]] = undisturbed  # what is wrong while the command runs


def configured(text: str, *, before: str = "") -> Callable[[Path], None]:
    """Return what writes a pps.toml with another [service]; `before` goes in front of it all."""

    def write(folder: Path) -> None:
        (folder / "pps.toml").write_text(f"{before}[service]\n{text}\n{CONFIG}")

    return write
