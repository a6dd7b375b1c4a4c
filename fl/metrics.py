"""Metrics."""

from fl.core.metrics import Metric, MetricSet

__all__ = ["Metric", "MetricSet"]
