"""How good predictions are, as sums that clients can add up."""

from fl.core.metrics.api import Metric
from fl.core.metrics.classification import (
    BinaryAccuracyPrecisionRecall,
    ConfusionMatrix,
    MulticlassAccuracyPrecisionRecall,
)
from fl.core.metrics.mean import Loss, MeanAbsoluteError, MeanSquaredError
from fl.core.metrics.metric_set import MetricSet
from fl.core.metrics.r_squared import RSquared
from fl.core.metrics.roc import BinaryRocAUC
from fl.core.metrics.scores import LogLoss, TopKAccuracy

__all__ = [
    "BinaryAccuracyPrecisionRecall",
    "BinaryRocAUC",
    "ConfusionMatrix",
    "LogLoss",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "MetricSet",
    "MulticlassAccuracyPrecisionRecall",
    "RSquared",
    "TopKAccuracy",
]
