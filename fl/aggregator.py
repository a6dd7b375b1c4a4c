"""Aggregators."""

from fl.core.aggregator import (
    Aggregator,
    AveragingAggregator,
    GradientMaskedAveraging,
    KrumAggregator,
    MedianAggregator,
    MultiKrumAggregator,
    SumAggregator,
    TrimmedMeanAggregator,
)

__all__ = [
    "Aggregator",
    "AveragingAggregator",
    "GradientMaskedAveraging",
    "KrumAggregator",
    "MedianAggregator",
    "MultiKrumAggregator",
    "SumAggregator",
    "TrimmedMeanAggregator",
]
