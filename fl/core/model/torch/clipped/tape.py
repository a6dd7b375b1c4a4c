"""What is noted of one pass over a batch, so that the gradients of its samples need no pass of their own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import overload

import torch
import torch.nn.functional as F  # noqa: N812  # its usual name
from torch.autograd.graph import GradientEdge, get_gradient_edge

from fl.core.model.torch.clipped.parts import Part, Products, Whole, elements_of

Tensor = torch.Tensor
Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class Unknown(Exception):  # no failure: another way is taken
    """A pass uses parameters in a way that has no formula here."""


@dataclass(frozen=True, slots=True)
class Formula:
    """How the gradients in a parameter follow from those in an output."""

    parameter: Tensor | None
    part: Callable[[slice, Tensor], Part]
    """Of some samples, given the loss's gradient in the output for these alone, in the parameter's dtype."""
    elements: int = 0
    """How many a sample's part takes, beside activations that are there anyway."""


@dataclass(frozen=True, slots=True)
class Use:
    """An output, by the place where its gradient comes by also when it is overwritten later, and what made it."""

    edge: GradientEdge
    formulas: tuple[Formula, ...]


@dataclass(slots=True)
class Tape:
    """Notes which parameters made which outputs, for `n_samples` along the first axis of all of them.

    The outputs are made with stand-ins for the parameters, so that whatever else a parameter does in a pass shows: the
    loss then depends on the parameter itself.
    """

    n_samples: int
    uses: list[Use] = field(default_factory=list)
    _taken: list[tuple[Tensor, int]] = field(default_factory=list)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """As torch's functional of that name, for `x` of shape (n, ..., inputs)."""
        self.take(x, at_least=2)
        out = F.linear(x, stand_in(weight), stand_in(bias))
        taken = x.detach().reshape(self.n_samples, -1, x.shape[-1])

        def products(rows: slice, given: Tensor) -> Part:
            return Products(taken[rows].to(weight.dtype), given.reshape(*taken[rows].shape[:2], -1), weight.shape)

        elements = elements_of(taken.shape[1], taken.shape[2], out.shape[-1], weight.dtype)
        return self.note(out, Formula(weight, products, elements), added(bias, axis=-1))

    def take(self, x: Tensor, *, at_least: int) -> None:
        """Look at the input of a layer. Raises `Unknown` where its first axis cannot be that of the samples."""
        if x.ndim < at_least or x.shape[0] != self.n_samples:
            raise Unknown(f"a layer got a tensor of shape {tuple(x.shape)} where {self.n_samples} samples come first")
        self._taken.append((x, x._version))  # noqa: SLF001  # nothing else tells what was overwritten

    def note(self, out: Tensor, *formulas: Formula) -> Tensor:
        """Say what made an output, which is given back. Raises `Unknown` for what is made of parameters itself."""
        learned = tuple(one for one in formulas if one.parameter is not None and one.parameter.requires_grad)
        if any(one.parameter is not None and not one.parameter.is_leaf for one in learned):
            raise Unknown("a layer's weight is made anew of other parameters in each pass")
        if learned:
            self.uses.append(Use(get_gradient_edge(out), learned))
        return out

    def check(self) -> None:
        """Raise `Unknown` where an input that was taken is no longer what it was."""
        if any(x._version != version for x, version in self._taken):  # noqa: SLF001  # as above
            raise Unknown("a layer's input was overwritten after the layer had read it")


@overload
def stand_in(parameter: Tensor) -> Tensor: ...


@overload
def stand_in(parameter: Tensor | None) -> Tensor | None: ...


def stand_in(parameter: Tensor | None) -> Tensor | None:
    """The same values, through which no gradient reaches the parameter."""
    # outputs must have gradients also where no input has, and a leaf of its own costs nothing unless it is asked for
    return None if parameter is None else parameter.detach().requires_grad_()


def added(bias: Tensor | None, *, axis: int) -> Formula:
    """For a parameter that is added along an axis of the output."""

    def summed(rows: slice, given: Tensor) -> Part:
        del rows  # the gradient says it all
        return Whole(given.movedim(axis, 1).flatten(2).sum(2) if given.ndim > 2 else given)

    return Formula(bias, summed)
