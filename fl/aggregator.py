"""Aggregators."""

from fl.core.aggregator import Aggregator, Averaging

__all__ = ["Aggregator", "Averaging"]
