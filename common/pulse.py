"""When each loop of a process last came round: what has no consumer to show is alive by that."""

import time


class Pulse:
    """The beats of loops, by a name for people."""

    def __init__(self) -> None:
        self._beats: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        """Say that the loop begins another round."""
        self._beats[loop] = time.monotonic()

    def end(self, loop: str) -> None:
        """Say that the loop has ended, as it should."""
        self._beats.pop(loop, None)

    def silent(self, seconds: float) -> list[str]:
        """Return the loops that haven't come round for so long."""
        before = time.monotonic() - seconds
        return sorted(loop for loop, at in self._beats.items() if at < before)
