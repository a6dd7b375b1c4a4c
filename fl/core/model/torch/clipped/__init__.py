"""Gradients that are clipped sample by sample."""

from fl.core.model.torch.clipped.sample_gradients import SampleGradients
from fl.core.model.torch.clipped.values import Samples

__all__ = ["SampleGradients", "Samples"]
