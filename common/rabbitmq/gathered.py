"""A pika connection that sends what one turn of the event loop made in one piece.

pika hands every frame to the socket by itself: three for a publish, one for an ack, and with a hundred messages in hand
the system calls cost more than the messages.
"""

import asyncio

from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import StreamLostError


class GatheredConnection(AsyncioConnection):  # type: ignore[misc]  # pika has no types
    """An AsyncioConnection whose frames leave together, in their order, at the end of the turn that made them."""

    def __init__(self, *arguments: object, **options: object) -> None:
        self._gathered: list[bytes] = []
        super().__init__(*arguments, **options)

    def drop(self) -> None:
        """Close the socket without a word to the broker."""
        self._terminate_stream(StreamLostError("it did not serve us"))

    def _on_connection_workflow_done(self, outcome: object) -> None:
        """Take how connecting ended: of one that was broken off pika gives the error's class, and trips over it."""
        super()._on_connection_workflow_done(outcome() if isinstance(outcome, type) else outcome)

    def _adapter_emit_data(self, data: bytes) -> None:
        """Take what is to be sent: the method that pika has its adapters supply."""
        if not self._gathered:
            asyncio.get_running_loop().call_soon(self._emit)
        self._gathered.append(data)

    def _emit(self) -> None:
        data = b"".join(self._gathered)
        self._gathered.clear()
        if self._transport is not None:  # it was lost in the same turn, and the frames with it
            super()._adapter_emit_data(data)
