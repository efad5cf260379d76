"""A connection that is kept up: whichever node answers, again and again, until it is closed on purpose."""

import asyncio
import random
import time
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from common.backoff import back_off
from common.failures import PpsError
from common.rabbitmq.address import Address, Node
from common.rabbitmq.channel import Channel, Connection
from common.rabbitmq.refusals import refusal
from common.rabbitmq.rights import Permit


async def connect(
    address: Address, *, name: str, on_lost: Callable[[], None], log: FilteringBoundLogger, left: Node | None = None
) -> Connection:
    """Try each node once, in random order, so that many workers spread over a cluster; raises PpsError.

    The node that was `left` is the last, since one that says nothing costs CONNECT_SECONDS.
    """
    refused: list[str] = []
    cause: Exception | None = None
    for node in sorted(random.sample(address.nodes, len(address.nodes)), key=lambda node: node == left):
        try:
            return await Connection.open(node, address, name=name, on_lost=on_lost, log=log)
        except Exception as error:  # noqa: BLE001 (pika raises its own kinds and others'; each means: not this node)
            refused.append(refusal(error, node, address))
            cause = error
    raise PpsError("; ".join(refused)) from cause


class Line:
    """One purpose's connection: publishing and consuming have one each, since alarms block those that publish."""

    def __init__(
        self, permit: Permit, *, purpose: str, log: FilteringBoundLogger, on_back: Callable[[], None] = lambda: None
    ) -> None:
        self.permit = permit
        self.up_since = time.monotonic()  # of the newest connection
        self._on_back = on_back
        self._address = permit.address
        self._name = name = f"pps {permit.role} {purpose}"
        self._log = log.bind(line=name)
        self._connection: Connection | None = None
        self._up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect for the first time; raises PpsError when no node takes us: then a person must act."""
        self._adopt(await self._connect())
        self._keeper = asyncio.create_task(self._keep(), name=f"{self._name} line")

    @property
    def up(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._up.is_set()

    @property
    def blocked(self) -> bool:
        """Whether nothing can be published now: disconnected, or the broker raised an alarm."""
        return not self.up or self._connection is None or not self._connection.unblocked.is_set()

    async def connection(self) -> Connection:
        """Return the connection as soon as there is one; it may be lost again at any time."""
        while True:
            await self._up.wait()
            if self._connection is not None:
                return self._connection

    async def channel(self) -> Channel:
        """Open a channel as soon as there is a connection; raises ChannelLostError."""
        connection = await self.connection()
        return await connection.channel()

    async def close(self) -> None:
        """Disconnect, and stay so."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._connection is not None:
            await self._connection.close()

    async def _keep(self) -> None:
        while True:
            assert self._connection is not None  # noqa: S101 (open() made it; says so to the type checker)
            await asyncio.wait([self._connection.lost])  # which unlike a bare await leaves it be when we are cancelled
            self._log.warning("broker_lost", reason=self._connection.lost.result())
            self._adopt(await self._reconnect())
            self._log.info("broker_back")
            self._on_back()

    async def _reconnect(self) -> Connection:
        failures = 0
        while True:
            failures += 1
            await asyncio.sleep(back_off(failures))
            try:
                return await self._connect()
            except PpsError as error:
                self._log.debug("broker_unreachable", failures=failures, error=str(error))

    async def _connect(self) -> Connection:
        left = self._connection.node if self._connection is not None else None
        return await connect(self._address, name=self._name, on_lost=self._up.clear, log=self._log, left=left)

    def _adopt(self, connection: Connection) -> None:
        self._connection = connection
        self.up_since = time.monotonic()
        if not connection.lost.done():
            self._up.set()
