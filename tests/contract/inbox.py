"""A message handler that keeps what it gets, and settles it as the test says."""

import asyncio

from common.broker import Ack, Settlement


class Inbox:
    """Answers the first messages with `settlements`, in turn, and acks the rest; an exception among them is raised."""

    def __init__(self, *settlements: Settlement | Exception) -> None:
        self.bodies: list[bytes] = []
        self._settlements = list(settlements)
        self._came = asyncio.Condition()

    async def __call__(self, body: bytes) -> Settlement:
        """Take one message."""
        async with self._came:
            self.bodies.append(body)
            self._came.notify_all()
        settlement = self._settlements.pop(0) if self._settlements else Ack()
        if isinstance(settlement, Exception):
            raise settlement
        return settlement

    async def holds(self, count: int) -> list[bytes]:
        """Return the messages once there are `count` of them."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.bodies) >= count)
        return self.bodies

    async def knows(self, bodies: set[bytes]) -> None:
        """Return once each of these has come, however often."""
        async with self._came:
            await self._came.wait_for(lambda: bodies <= set(self.bodies))


class Door(Inbox):
    """An inbox whose handlers wait until the door is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()

    async def __call__(self, body: bytes) -> Settlement:
        """Take one message, and keep it in hand until the door is open."""
        settlement = await super().__call__(body)
        await self.opened.wait()
        return settlement
