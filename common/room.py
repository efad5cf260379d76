"""Bounded room for what is held or under way: who doesn't fit waits, in order, until there is room."""

import asyncio
import contextlib
from collections import deque
from typing import Final


class Room:
    """Counts items and octets. An item larger than all the room fits when nothing else is there."""

    def __init__(self, *, octets: int, items: int | None = None) -> None:
        self._limit: Final = octets
        self._item_limit: Final = items
        self.octets = 0
        self.items = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def fits(self, octets: int) -> bool:
        """Whether an item of this size would get its place at once."""
        return not self._waiting and self._has_place(octets)

    async def take(self, octets: int) -> None:
        """Return once the item has its place; first come, first served."""
        if self.fits(octets):
            self.squeeze_in(octets)
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((octets, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(octets)  # the place was ours already
            else:
                with contextlib.suppress(ValueError):  # _admit may have dropped it already
                    self._waiting.remove((octets, turn))
                self._admit()
            raise

    def squeeze_in(self, octets: int) -> None:
        """Give the item its place although there may be none."""
        self.octets += octets
        self.items += 1

    def give(self, octets: int) -> None:
        """Take an item out, and let in who waits."""
        self.octets -= octets
        self.items -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._has_place(self._waiting[0][0]):
            octets, turn = self._waiting.popleft()
            if not turn.done():  # one cancelled in this very tick takes no place
                self.squeeze_in(octets)
                turn.set_result(None)

    def _has_place(self, octets: int) -> bool:
        if self._item_limit is not None and self.items >= self._item_limit:
            return False
        return self.items == 0 or self.octets + octets <= self._limit
