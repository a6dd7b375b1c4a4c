"""Gradients that are clipped sample by sample."""

from fl.core.model.torch.clipped.sample_gradients import SampleGradients
from fl.core.model.torch.clipped.values import Clipping, Samples

__all__ = ["Clipping", "SampleGradients", "Samples"]
