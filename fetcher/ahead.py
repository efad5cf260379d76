"""What is sent ahead of its replies, where the server offers PIPELINING (RFC 2449, section 6.6)."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

WINDOWS: Final = (64, 4, 1)
"""Commands sent ahead of their replies; fewer where a connection broke with that many. With 50 ms to the server and
back, 16 would be 320 mails/s."""

SHORT_WINDOW: Final = 512
"""The same for commands whose replies are one line: both ways, all of them fit into any socket's buffer."""

WINDOW_OCTETS: Final = 4 * 1024 * 1024
"""Listed octets asked for ahead: a session that must stop soon is not behind sixteen large mails."""


class Ahead:
    """The mails that RETR is sent for, in order: which are to be asked for now, and which reply comes next."""

    def __init__(self, wanted: Iterable[int], *, window: int, sizes: Mapping[int, int]) -> None:
        self.confirmed = False  # the NOOP that shows where the last mail ended was sent along
        self._wanted = iter(wanted)
        self._window = window
        self._sizes = sizes
        self._asked: deque[int] = deque()
        self._octets = 0
        self._exhausted = False

    def __bool__(self) -> bool:
        """Whether a reply is due."""
        return bool(self._asked)

    def new(self) -> list[int]:
        """Return what to ask for now; nothing while more than half of the window is under way, which spares writes."""
        found: list[int] = []
        if len(self._asked) > self._window // 2:
            return found
        while not self._exhausted and len(self._asked) < self._window and self._octets < WINDOW_OCTETS:
            number = next(self._wanted, None)
            if number is None:
                self._exhausted = True
                break
            self._asked.append(number)
            self._octets += self._sizes.get(number, 0)
            found.append(number)
        return found

    def confirm(self) -> bool:
        """Return, once, whether NOOP may follow now: all that is wanted is asked for, and the server bears it."""
        if self.confirmed or not self._exhausted or not self._asked or self._window == 1:
            return False
        self.confirmed = True
        return True

    def next(self) -> int:
        """Return whose reply comes next."""
        number = self._asked.popleft()
        self._octets -= self._sizes.get(number, 0)
        return number
