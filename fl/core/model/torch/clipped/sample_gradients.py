"""The mean of gradients that are clipped sample by sample, as in DP-SGD (Abadi et al. 2016, algorithm 1).

There are three ways, each slower than the one before and for more modules: the samples pass `together`, which needs a
formula for each layer; or as if each passed alone, all at once or in turn (`alone`). They give the same but for
rounding. Which one a module takes is found out on the first batch, by trying them on some of its samples: by what they
give, and not by how long they take, so that a round done again gives the same bits.
"""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final

import torch

from fl.core.model.clipping import Clipping
from fl.core.model.torch.clipped.alone import by_vmap, one_by_one
from fl.core.model.torch.clipped.parts import Part
from fl.core.model.torch.clipped.separate import kept_still, refuse_mixing, refuse_statistics
from fl.core.model.torch.clipped.tape import Unknown
from fl.core.model.torch.clipped.together import Pass
from fl.core.model.torch.clipped.values import Samples, factors
from fl.core.model.torch.inputs import Inputs
from fl.core.model.torch.loss import SampleLoss
from fl.core.model.torch.network import Network
from fl.errors import DataError

Tensor = torch.Tensor
Parts = dict[str, Part]
Way = Callable[[Network, SampleLoss, Samples, int], Iterator[Parts]]
"""From a batch to gradients by parameter, of as many samples at a time as so many elements have room for."""
logger = logging.getLogger(__name__)

SAMPLE_GRADIENT_ELEMENTS = 1 << 24
"""Elements of per-sample gradients held at a time: 64 MiB of float32."""
FEW = 3
"""Samples on which ways are tried: whatever has this length, and that of one less, is the axis of samples."""
_TINY: Final = 1e-3


class SampleGradients:
    """Computes clipped gradients of a network's weights."""

    def __init__(self, network: Network, loss: SampleLoss) -> None:
        self._network = network
        self._loss = loss
        self._way: Way | None = None

    def check(self, made_up: Iterable[Tensor]) -> None:
        """Raise `ModelError` naming the layer through which samples see each other, if one does.

        Looks with the first of `made_up` that the network takes; what these do not show, the first batch will.
        """
        self._network.set_training(True)
        refuse_statistics(self._network.module)
        for samples in made_up:
            inputs: Inputs = ((samples,), {})
            try:
                with kept_still(self._network, inputs) as twin:
                    refuse_mixing(twin, inputs)
            except DataError:
                continue
            return

    def add_clipped(self, samples: Samples, clipping: Clipping) -> None:
        """Add the mean of the samples' clipped gradients to the network's gradient.

        Raises `ModelError` for modules that mix samples.
        """
        refuse_statistics(self._network.module)
        views = self._network.tensors.gradient.arrays()
        for parts in self._parts(samples):
            if not parts:  # no parameter reaches the loss
                return
            shares = factors(clipping, torch.stack([part.norms() for part in parts.values()]))
            shares = (shares / len(samples)).to(self._network.like.dtype)
            for share, (name, part) in zip(shares, parts.items(), strict=True):
                part.add_to(views[name], share)

    def _parts(self, samples: Samples) -> Iterator[Parts]:
        if len(samples) == 1:  # as nothing can be tried on it, it never takes another way
            return alone_in_turn(self._network, self._loss, samples, SAMPLE_GRADIENT_ELEMENTS)
        if self._way is None:
            self._way = find_way(self._network, self._loss, samples.part(slice(FEW)))
        way = self._way or alone_in_turn
        try:
            return way(self._network, self._loss, samples, SAMPLE_GRADIENT_ELEMENTS)
        except Unknown:  # what a module does may depend on its input
            return alone_at_once(self._network, self._loss, samples, SAMPLE_GRADIENT_ELEMENTS)


def together(network: Network, loss: SampleLoss, samples: Samples, elements: int) -> Iterator[Parts]:
    return Pass(network, loss, samples).parts(elements)


def alone_at_once(network: Network, loss: SampleLoss, samples: Samples, elements: int) -> Iterator[Parts]:
    return (by_vmap(network, loss, part) for part in _split(network, samples, elements))


def alone_in_turn(network: Network, loss: SampleLoss, samples: Samples, elements: int) -> Iterator[Parts]:
    return (one_by_one(network, loss, part) for part in _split(network, samples, elements))


def find_way(network: Network, loss: SampleLoss, few: Samples) -> Way | None:
    """The fastest way that gives what passes of one sample after the other give.

    None where gradients are not finite, which tells nothing. Raises `ModelError` for modules that mix samples.
    """
    reason = ""
    few = replace(few, weights=torch.ones_like(few.weights))  # a sample of no weight would tell nothing either
    with kept_still(network, few.inputs) as twin:
        refuse_mixing(twin, few.inputs)
        expected = one_by_one(twin, loss, few)
        if not all(bool(torch.isfinite(part.whole()).all()) for part in expected.values()):
            return None
        for way in (together, alone_at_once):
            try:
                if all(_is_right(way, twin, loss, few.part(slice(n)), expected) for n in (len(few), len(few) - 1)):
                    return way
                reason = "its gradients are not those of samples alone"
            except torch.OutOfMemoryError:
                raise
            except (Unknown, RuntimeError) as error:
                reason = str(error)[:200]
            logger.info("per_sample_gradients_not_%s reason=%s", way.__name__, reason)
    logger.warning("per_sample_gradients_one_by_one reason=%s", reason)
    return alone_in_turn


def _split(network: Network, samples: Samples, elements: int) -> Iterator[Samples]:
    step = max(1, elements // network.tensors.gradient.layout.size)
    return (samples.part(slice(start, start + step)) for start in range(0, len(samples), step))


def _is_right(way: Way, network: Network, loss: SampleLoss, samples: Samples, expected: Parts) -> bool:
    """Whether gradients have the norms of the first of those that are expected, and add up to the same."""
    n = len(samples)
    (found,) = way(network, loss, samples, sys.maxsize)
    truth = {name: part.whole()[:n] for name, part in expected.items()}
    norms = {
        name: torch.linalg.vector_norm(item.reshape(len(item), -1), dim=1).double() for name, item in truth.items()
    }
    longest = max(item.max().item() for item in norms.values())
    factors = torch.arange(1, n + 1, device=network.like.device, dtype=network.like.dtype)
    for name, whole in truth.items():
        total, lengths = torch.zeros_like(whole[0]), torch.zeros_like(norms[name])
        if name in found:
            lengths = found[name].norms()
            found[name].add_to(total, factors)
        # some gradients are nothing but what rounding left of a zero
        scale = max(norms[name].max().item(), _TINY * longest)
        off = (lengths - norms[name]).abs().max(), (total - torch.tensordot(factors, whole, dims=1)).abs().max()
        if not all(item.item() <= _tolerance(network) * scale for item in off):
            return False
    return True


def _tolerance(network: Network) -> float:
    """Far above rounding, far below what a mistaken axis does."""
    if network.options.autocast is not None or network.like.is_cuda:
        return 0.1
    return 1e-6 if network.like.dtype == torch.float64 else 1e-3
