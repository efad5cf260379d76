"""The numbers that operators see: what there is, and whom workers tell them. Only `registered.py` needs a library."""

from common.metrics.metrics import NO_METRICS, Look, Metrics

__all__ = ["NO_METRICS", "Look", "Metrics", "new_metrics"]


def new_metrics(*, shown: bool) -> Metrics:
    """Return metrics that are kept if a page shows them."""
    if not shown:
        return NO_METRICS
    from common.metrics.registered import RegisteredMetrics  # noqa: PLC0415 (a command must not pay for the library)

    return RegisteredMetrics()
