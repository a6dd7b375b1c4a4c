"""From a module's outputs to what metrics compare with the truth."""

from typing import Any

import torch
from torch import nn

from fl.core.model.torch.inputs import as_array
from fl.core.vector import Array

Tensor = torch.Tensor


def to_predictions(raw: Any, loss: nn.Module) -> Array:
    """Scores by class of shape (n, classes), probabilities, or values; one column alone becomes shape (n,)."""
    # of several outputs, as a variational autoencoder has them, the first is the prediction
    output = raw[0] if isinstance(raw, tuple | list) else raw
    predictions = as_array(_transformed(output, loss))
    return predictions[:, 0] if predictions.ndim == 2 and predictions.shape[1] == 1 else predictions


def _transformed(output: Tensor, loss: nn.Module) -> Tensor:
    if isinstance(loss, nn.CrossEntropyLoss):
        return torch.softmax(output, 1)
    if isinstance(loss, nn.NLLLoss):
        return torch.exp(output)
    if isinstance(loss, nn.BCEWithLogitsLoss | nn.SoftMarginLoss):
        return torch.sigmoid(output)
    return output
