"""Gradients of single samples in one tensor, in whichever form is cheapest to measure and to add up.

A linear map y_t = W·a_t, with the gradient g_t of the loss in y_t, gives a sample the gradient Σ_t g_t·a_tᵀ. Over the
positions t of that sample its norm is also that of two small matrices (Goodfellow 2015 for one position; Li et al.
2021, section 4, for more), without the gradient itself:

    ‖Σ_t g_t·a_tᵀ‖² = Σ_{t,t'} (a_t·a_t')·(g_t·g_t')

and once the factors f of all samples are known, their sum is one product, Σ f·g_t·a_tᵀ (book-keeping, Bu et al. 2023).
Which of the two forms is taken follows from the shapes alone and no clock, so that a batch gives the same bits whenever
it is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Final, Protocol

import torch

Tensor = torch.Tensor
GRAM_COST: Final = 8
POSITION_COST: Final = 5
"""Measured on one core: what a float64 product of two positions costs over a float32 product, and what writing and
reading an element of a gradient again costs beside the products in it."""
NORM_BLOCK: Final = 1 << 14
"""Elements over which float32 adds squares up without losing what counts; 4 million lose 7e-5."""
SLACK: Final = 4
"""Rounding of a sum of products, in units of the last place of the sum of their sizes."""


class Part(Protocol):
    """The gradients of n samples in one tensor."""

    def norms(self) -> Tensor:
        """Of shape (n,), in float64; never less than what `add_to` adds for a factor of 1."""

    def add_to(self, out: Tensor, factors: Tensor) -> None:
        """Add the samples' gradients, each times its factor. `factors` has shape (n,)."""

    def whole(self) -> Tensor:
        """The gradients themselves, of shape (n, *shape of the tensor)."""


@dataclass(frozen=True, slots=True)
class Whole:
    """Gradients that are there, of shape (n, *shape of the tensor)."""

    gradients: Tensor

    def norms(self) -> Tensor:
        blocks = torch.split(self.gradients.reshape(len(self.gradients), -1), NORM_BLOCK, dim=1)
        norms = [torch.linalg.vector_norm(block, dim=1) for block in blocks]
        return _lengths(torch.stack(norms, dim=1))

    def add_to(self, out: Tensor, factors: Tensor) -> None:
        out.add_(torch.tensordot(factors, self.gradients, dims=1))

    def whole(self) -> Tensor:
        return self.gradients


@dataclass(frozen=True, slots=True)
class Products:
    """Gradients Σ_t g_t·a_tᵀ of a linear map, of `taken` (n, positions, inputs) and `given` (n, positions, outputs)."""

    taken: Tensor
    given: Tensor
    shape: torch.Size

    def norms(self) -> Tensor:
        if self.taken.shape[1] == 1:
            return _lengths(self.taken)[:, 0] * _lengths(self.given)[:, 0]
        taken, given = self.taken.double(), self.given.double()
        squares = (taken @ taken.mT).mul_(given @ given.mT).sum((1, 2))
        # where terms cancel out the sum in `add_to` is rounded by more than it is long, and none may exceed its bound
        sizes = (_lengths(taken) * _lengths(given)).sum(1)
        return squares.clamp(min=0).sqrt() + SLACK * torch.finfo(self.taken.dtype).eps * sizes

    def add_to(self, out: Tensor, factors: Tensor) -> None:
        scaled = self.given * factors[:, None, None]
        out.add_((scaled.flatten(0, 1).T @ self.taken.flatten(0, 1)).view(self.shape))

    def whole(self) -> Tensor:
        return (self.given.mT @ self.taken).view(-1, *self.shape)


@dataclass(frozen=True, slots=True)
class Rows:
    """Gradients of a table whose rows are looked up: `given` (n, positions, width) for the rows at (n, positions)."""

    places: Tensor
    given: Tensor
    shape: torch.Size
    ignored: int | None
    """A row that learns nothing, such as that of padding."""

    def norms(self) -> Tensor:
        sample, _, rows = self._summed()
        squares = rows.double().square().sum(1)
        return squares.new_zeros(len(self.places)).index_add_(0, sample, squares).sqrt()

    def add_to(self, out: Tensor, factors: Tensor) -> None:
        sample, place, rows = self._summed()
        out.index_add_(0, place, rows * factors[sample, None])

    def whole(self) -> Tensor:
        sample, place, rows = self._summed()
        found = rows.new_zeros(len(self.places), *self.shape)
        found[sample, place] = rows
        return found

    def _summed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of each sample and row that it looked up: which these are, and the gradient."""
        n_rows = self.shape[0]
        sample = torch.arange(len(self.places), device=self.places.device)[:, None]
        # torch's own lookup takes no negative places, so those of two samples never meet
        keys, where = torch.unique(self.places + n_rows * sample, return_inverse=True)
        rows = self.given.new_zeros(len(keys), self.shape[1])
        rows.index_add_(0, where.flatten(), self.given.flatten(0, 1))
        place = keys % n_rows
        if self.ignored is not None:
            rows[place == self.ignored] = 0
        return keys // n_rows, place, rows


def joined(parts: Sequence[Part]) -> Part:
    """The sum of the gradients that one tensor has by several uses, in the cheaper form."""
    products = [part for part in parts if isinstance(part, Products)]
    if len(products) < len(parts):
        return parts[0] if len(parts) == 1 else Whole(reduce(add, (part.whole() for part in parts)))
    taken, given = (
        torch.cat(items, dim=1) if len(items) > 1 else items[0]
        for items in ([part.taken for part in products], [part.given for part in products])
    )
    one = Products(taken, given, products[0].shape)
    apart = stays_apart(taken.shape[1], taken.shape[2], given.shape[2], taken.dtype)
    return one if apart else Whole(one.whole())


def stays_apart(positions: int, inputs: int, outputs: int, dtype: torch.dtype) -> bool:
    """Whether the factors of a sample's products are cheaper than the products themselves.

    Not for several positions in float64: no type is wide enough for the squares, of which most cancel out.
    """
    if positions == 1:
        return True
    if dtype == torch.float64:
        return False
    return GRAM_COST * positions**2 * (inputs + outputs) <= inputs * outputs * (positions + GRAM_COST * POSITION_COST)


def elements_of(positions: int, inputs: int, outputs: int, dtype: torch.dtype) -> int:
    """How many elements a sample's products take in that form, beside the activations that are there anyway."""
    if not stays_apart(positions, inputs, outputs, dtype):
        return inputs * outputs
    return 0 if positions == 1 else 2 * positions * (2 * positions + inputs + outputs)


def _lengths(vectors: Tensor) -> Tensor:
    """In float64, where the square of no float32 is too large or too small."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1, dtype=torch.float64)
    return lengths
