"""How the updates of many clients become one."""

from fl.core.aggregator.api import Aggregator, Fold
from fl.core.aggregator.averaging import AveragingAggregator
from fl.core.aggregator.krum import KrumAggregator, MultiKrumAggregator
from fl.core.aggregator.masked import GradientMaskedAveraging
from fl.core.aggregator.ordered import MedianAggregator, TrimmedMeanAggregator
from fl.core.aggregator.summing import SumAggregator

__all__ = [
    "Aggregator",
    "AveragingAggregator",
    "Fold",
    "GradientMaskedAveraging",
    "KrumAggregator",
    "MedianAggregator",
    "MultiKrumAggregator",
    "SumAggregator",
    "TrimmedMeanAggregator",
]
