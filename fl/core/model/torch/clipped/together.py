"""Gradients of samples that a module sees together, from one pass and the gradients of its layers' outputs.

Ghost clipping (Li et al. 2021) with book-keeping (Bu et al. 2023): no parameter's gradient is computed but that of the
clipped samples' sum.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch

from fl.core.model.torch.clipped.installed import noted_on
from fl.core.model.torch.clipped.parts import Part, joined
from fl.core.model.torch.clipped.tape import Tape, Unknown, Use
from fl.core.model.torch.clipped.values import Samples
from fl.core.model.torch.loss import SampleLoss
from fl.core.model.torch.network import Network

Tensor = torch.Tensor


class Pass:
    """One pass of a network over a batch, forth and back. Raises `Unknown` for parameters without a formula."""

    def __init__(self, network: Network, loss: SampleLoss, samples: Samples) -> None:
        self._names = {id(item): name for name, item in network.tensors.learned.items()}
        self._dtype = network.like.dtype
        self._n_samples = len(samples)
        tape = Tape(len(samples))
        with noted_on(tape, network.module):
            raw = network.eager(samples.inputs)
        losses = loss(raw, samples.targets)
        self._given = _gradients(losses, samples.weights, tape.uses, list(network.tensors.learned.values()))
        tape.check()

    def parts(self, elements: int) -> Iterator[dict[str, Part]]:
        """Gradients by parameter of some samples after others, as many as take so many elements, or of one."""
        size = sum(formula.elements for use, _ in self._given for formula in use.formulas)
        step = max(1, elements // max(1, size))
        for start in range(0, self._n_samples, step):
            yield self._parts_of(slice(start, start + step))

    def _parts_of(self, rows: slice) -> dict[str, Part]:
        parts: dict[str, list[Part]] = defaultdict(list)
        for use, given in self._given:
            for formula in use.formulas:
                name = self._names.get(id(formula.parameter))
                if name is not None:  # else it learns, but not as a parameter of this module
                    parts[name].append(formula.part(rows, given[rows].to(self._dtype)))
        return {name: joined(several) for name, several in parts.items()}


def _gradients(losses: Tensor, weights: Tensor, uses: list[Use], learned: list[Tensor]) -> list[tuple[Use, Tensor]]:
    """The gradient of Σ weights·losses in each output that the loss depends on."""
    if not losses.requires_grad:
        return []
    wanted: Any = [*(use.edge for use in uses), *learned]
    found = torch.autograd.grad([losses], wanted, grad_outputs=[weights.to(losses.dtype)], allow_unused=True)
    if any(gradient is not None for gradient in found[len(uses) :]):
        raise Unknown("a parameter is used outside the layers that are known here")
    return [(use, gradient) for use, gradient in zip(uses, found, strict=False) if gradient is not None]
