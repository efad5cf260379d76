"""What workers tell their numbers to. This one forgets them, at no cost: for commands, and where no page shows them."""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from common.metrics.definitions import Metric

Values = Mapping[tuple[str, ...], float]
"""A gauge's values, each by those of its labels."""

Look = Callable[[], Awaitable[None]]
"""Brings values up to date that nobody tells by himself; has a deadline of its own, and raises nothing."""


class Metrics:
    """Takes numbers; the values of labels follow in the order in which the metric has them.

    ```python
    metrics.count(POLLS, "ok")
    with metrics.timed(POLL_SECONDS, "list"):
        …
    ```
    """

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Add to a counter."""

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Add a value to a histogram."""

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge."""

    def shift(self, metric: Metric, by: float, *labels: str) -> None:
        """Raise or lower a gauge."""

    def replace(self, metric: Metric, values: Values) -> None:
        """Make these all that a gauge has, by the values of its labels; what is not named is gone, or unknown."""

    def before_page(self, look: Look) -> None:
        """Have this done before each page, beside what else is."""

    async def page(self) -> bytes:
        """Return all values in Prometheus' text format."""
        return b""

    @contextmanager
    def timed(self, metric: Metric, *labels: str) -> Iterator[None]:
        """Add how long the block takes, also if it fails, to a histogram."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(metric, time.perf_counter() - began, *labels)


NO_METRICS = Metrics()
"""Holds nothing, so that all may share it."""
