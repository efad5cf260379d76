"""What shows on a terminal how a pull goes on: mails, octets and rate of each profile."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from manager.pull import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from common.ledger.pulling import Pulling

MOST_BARS: Final = 8
"""Profiles that have a bar each; more share one."""


@contextmanager
def shown_progress(*, shown: bool) -> Iterator[Progress]:
    """Yield a function that takes how the profiles stand and, if `shown`, keeps bars on stderr up to date."""
    if not shown:
        yield lambda _profiles: None
        return
    with _bars() as bars:
        tasks: dict[str, TaskID] = {}
        began = time.monotonic()

        def show(profiles: Mapping[str, "Pulling"]) -> None:
            for name, group in _grouped(profiles).items():
                if name not in tasks:
                    tasks[name] = bars.add_task(name, total=None, told="connecting")
                seconds = max(time.monotonic() - began, 0.1)
                total = sum(one.total for one in group)
                done = sum(one.done for one in group)
                bars.update(tasks[name], total=total or None, completed=done, told=told_of(group, seconds))

        yield show


def told_of(group: list["Pulling"], seconds: float) -> str:
    """Return "120/400 mails, 3.1 MB, 410.0 kB/s", or what there is to say while nothing is known."""
    from rich.filesize import decimal

    total = sum(one.total for one in group)
    if not total:
        return "connecting" if any(one.polling for one in group) else "no mail"
    octets = sum(one.octets for one in group)
    done = sum(one.done for one in group)
    return f"{done}/{total} mails, {decimal(octets)}, {decimal(int(octets / seconds))}/s"


def _grouped(profiles: Mapping[str, "Pulling"]) -> dict[str, list["Pulling"]]:
    if len(profiles) > MOST_BARS:
        return {f"{len(profiles)} profiles": list(profiles.values())}
    return {name: [one] for name, one in profiles.items()}


def _bars() -> "Bars":
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    from manager.cli.tables import console

    return Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[told]}", markup=False),
        TimeElapsedColumn(),
        console=console(stderr=True),
        transient=True,
    )
