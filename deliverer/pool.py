"""The connections of one target: at most so many, used again while they are warm, dropped on any doubt."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from deliverer.session import Session

IDLE_SECONDS: Final = 30.0
"""How long an unused connection is kept: enough for the next poll's mail, less than servers allow."""


class Pool:
    """Lends sessions. `opened` counts connections, for cost ceilings."""

    def __init__(
        self, open_session: Callable[[], Awaitable[Session]], *, limit: int, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self.opened = 0
        self._open = open_session
        self._places = asyncio.Semaphore(limit)
        self._idle_seconds = idle_seconds
        self._idle: dict[Session, asyncio.TimerHandle] = {}  # the one used last is the last
        self._leaving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Lend a session that is ready for a transaction, once there is a place; raises UnreachableError.

        It is kept for the next one if it is clean afterwards; after an exception it is dropped.
        """
        async with self._places:
            session = await self._take()
            try:
                yield session
            except BaseException:
                session.abort()
                raise
            if session.clean:
                self._keep(session)
            else:
                session.abort()

    async def close(self) -> None:
        """Say goodbye on all idle connections."""
        for session in list(self._idle):
            self._dismiss(session)
        await asyncio.gather(*self._leaving)

    async def _take(self) -> Session:
        while self._idle:
            session, timer = self._idle.popitem()
            timer.cancel()
            try:
                if await self._usable(session):
                    return session
            except BaseException:
                session.abort()
                raise
        self.opened += 1
        return await self._open()

    @staticmethod
    async def _usable(session: Session) -> bool:
        if await session.is_usable():
            return True
        session.abort()
        return False

    def _keep(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        self._idle[session] = loop.call_later(self._idle_seconds, self._dismiss, session)

    def _dismiss(self, session: Session) -> None:
        self._idle.pop(session).cancel()
        leaving = asyncio.create_task(session.quit())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
