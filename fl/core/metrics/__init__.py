"""How good predictions are, as sums that clients can add up."""

from fl.core.metrics.api import Metric
from fl.core.metrics.metric_set import MetricSet

__all__ = ["Metric", "MetricSet"]
