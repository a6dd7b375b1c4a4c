"""Metrics."""

from fl.core.metrics import (
    BinaryAccuracyPrecisionRecall,
    BinaryRocAUC,
    ConfusionMatrix,
    LogLoss,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    MetricSet,
    MulticlassAccuracyPrecisionRecall,
    RSquared,
    TopKAccuracy,
)

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
