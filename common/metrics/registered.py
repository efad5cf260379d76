"""Numbers that are kept, and the page that shows them: over prometheus-client, which only this file imports."""

import asyncio
import itertools
import math
import platform
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest

from common import __version__
from common.metrics.definitions import BUILD_INFO, METRICS, Kind, Metric, Scope
from common.metrics.metrics import Look, Metrics, Values


class RegisteredMetrics(Metrics):
    """All metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody asked for
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._families: dict[Metric, Any] = {metric: _family(metric, self._registry) for metric in METRICS}
        self._children: dict[tuple[object, ...], Any] = {}  # labels() takes as long as all else
        self._looks: list[Look] = []
        for metric in METRICS:
            if metric.scope is Scope.SERVICE:
                self.replace(metric, {})
            elif metric.kind is not Kind.GAUGE and all(label.values for label in metric.labels):
                for values in itertools.product(*(label.values for label in metric.labels)):
                    self._child(metric, values)
        self.set(BUILD_INFO, 1, __version__, platform.python_version())

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """See Metrics."""
        self._child(metric, labels).inc(by)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """See Metrics."""
        self._child(metric, labels).observe(value)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """See Metrics."""
        self._child(metric, labels).set(value)

    def shift(self, metric: Metric, by: float, *labels: str) -> None:
        """See Metrics."""
        self._child(metric, labels).inc(by)

    def replace(self, metric: Metric, values: Values) -> None:
        """See Metrics."""
        family = self._families[metric]
        if not metric.labels:
            family.set(values.get((), math.nan))  # not a number is not 0, and no alert's condition holds for it
            return
        family.clear()
        for labels, value in values.items():
            family.labels(*labels).set(value)

    def before_page(self, look: Look) -> None:
        """See Metrics."""
        self._looks.append(look)

    async def page(self) -> bytes:
        """See Metrics."""
        await asyncio.gather(*(look() for look in self._looks))  # what is silent holds up nobody else
        return generate_latest(self._registry)

    def _child(self, metric: Metric, labels: tuple[str, ...]) -> Any:  # noqa: ANN401 (the library's kinds have no common one)
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            family = self._families[metric]
            child = self._children[key] = family.labels(*labels) if labels else family
        return child


def _family(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    names = [label.name for label in metric.labels]
    match metric.kind:
        case Kind.COUNTER:
            return Counter(metric.full_name, metric.help, names, registry=registry)
        case Kind.GAUGE:
            return Gauge(metric.full_name, metric.help, names, registry=registry)
        case Kind.HISTOGRAM:
            return Histogram(metric.full_name, metric.help, names, registry=registry, buckets=metric.buckets)
