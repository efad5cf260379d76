"""Every metric as rows of a Markdown table, read off the definitions that workers count by."""

from common.metrics.definitions import METRICS, Label, Metric
from tests.reference.keys import line

_HEADER = ("metric", "kind", "labels", "what it says")


def metrics() -> str:
    """Return the table."""
    return "\n".join(line(cells) for cells in (_HEADER, ("---",) * len(_HEADER), *map(_row, METRICS)))


def _row(metric: Metric) -> tuple[str, ...]:
    labels = "; ".join(_label(label) for label in metric.labels)
    return (f"`{metric.full_name}`", metric.kind.value, labels, metric.help)


def _label(label: Label) -> str:
    return f"`{label.name}`" + (f" ({', '.join(label.values)})" if label.values else "")
