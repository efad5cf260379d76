"""The line that shows on a terminal how a pull goes on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console

from common.ledger.records import MailState, ProfileStatus
from manager.pull import Progress

_ON_THE_WAY: Final = (MailState.FETCHED, MailState.ROUTED)
_DONE: Final = (MailState.DELETED, MailState.KEPT)


@contextmanager
def shown_progress(*, shown: bool) -> Iterator[Progress]:
    """Yield a function that takes how the profiles stand and, if `shown`, keeps one line of stderr up to date."""
    if not shown:
        yield lambda _profiles: None
        return
    with Console(stderr=True, markup=False, highlight=False).status("connecting") as line:
        started: list[int] = []

        def show(profiles: Sequence[ProfileStatus]) -> None:
            started[:] = started or [count(profiles, _DONE)]
            line.update(progress_line(profiles, done_before=started[0]))

        yield show


def progress_line(profiles: Sequence[ProfileStatus], *, done_before: int) -> str:
    """Return "12 to fetch, 3 on the way, 140 done", leaving out what was done before."""
    done = count(profiles, _DONE) - done_before
    return f"{count(profiles, (MailState.LISTED,))} to fetch, {count(profiles, _ON_THE_WAY)} on the way, {done} done"


def count(profiles: Sequence[ProfileStatus], states: tuple[MailState, ...]) -> int:
    """Return how many mails are in these states."""
    return sum(profile.mails.get(state, 0) for profile in profiles for state in states)
