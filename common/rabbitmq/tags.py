"""Which acks may leave as one. Delivery tags count from 1 on each channel (AMQP 0-9-1, section 2.3.7); pure."""

from typing import NamedTuple


class AckFrame(NamedTuple):
    """One basic.ack: of this tag, or with `multiple` of all up to it."""

    tag: int
    multiple: bool


class Tags:
    """The delivery tags of one channel: all up to `settled_up_to` are settled, and some beyond."""

    def __init__(self) -> None:
        self.settled_up_to = 0
        self._beyond: set[int] = set()
        self._acked: list[int] = []

    @property
    def pending(self) -> bool:
        """Whether an ack waits to be sent."""
        return bool(self._acked)

    def ack(self, tag: int) -> None:
        """Note an ack that `frames` will send."""
        self._beyond.add(tag)
        self._acked.append(tag)

    def nacked(self, tag: int) -> None:
        """Note that a nack of this tag was sent."""
        self._beyond.add(tag)

    def frames(self) -> list[AckFrame]:
        """Return the acks to send now: one for the settled prefix, one each for those beyond a message in hand."""
        acked, self._acked = self._acked, []
        while self.settled_up_to + 1 in self._beyond:
            self.settled_up_to += 1
            self._beyond.remove(self.settled_up_to)
        # The frame names the last *acked* tag of the prefix: one that was nacked is unknown to the broker by now, and
        # naming it would close the channel.
        prefix = [tag for tag in acked if tag <= self.settled_up_to]
        together = [AckFrame(max(prefix), multiple=True)] if prefix else []
        return together + [AckFrame(tag, multiple=False) for tag in acked if tag > self.settled_up_to]
