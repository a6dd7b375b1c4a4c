"""No sample adds more to a clipped gradient than the bound, whatever it is and whatever it weighs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from fl.core.dataset.api import Batch
from fl.core.model.torch import TorchModel
from fl.core.model.torch.clipped.parts import Part, Products, Rows, Whole, joined, stays_apart
from fl.core.vector import Array
from fl.errors import DataError
from tests.unit.core.clipping_zoo import ZOO
from tests.unit.core.torch_zoo import CROSS, on_cpu

BOUND = 0.7
ROUNDING = 1e-5
NAMES = ["conv2d", "few positions", "norms", "last norms", "sequence", "lstm", "masked attention", "own parameter"]
anything = st.floats(width=32, allow_nan=False, allow_infinity=False)
moderate = st.floats(-4, 4, width=32)


@pytest.fixture(autouse=True)
def cpu() -> Iterator[None]:
    with on_cpu():
        yield


def model_of(name: str) -> TorchModel:
    torch.manual_seed(0)
    return TorchModel(ZOO[name].make().float(), CROSS)


MODELS: dict[str, TorchModel] = {}


def share(model: TorchModel, x: Array, label: int, weight: float) -> float:
    """The norm of what one sample adds to the sum over a batch, beside two of no weight; refused counts as nothing."""
    others = np.random.default_rng(0).normal(size=(2, *x.shape)).astype(np.float32)
    batch = Batch(np.concatenate([others, x[None]]), np.array([0, 1, label]), np.array([0.0, 0.0, weight]))
    try:
        gradient = model.compute_batch_gradients(batch, BOUND).to_numpy().flat
    except DataError:
        return 0.0
    return float(np.linalg.norm(gradient.astype(np.float64))) * 3


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_no_sample_adds_more_than_the_bound(name: str, data: Any) -> None:
    with on_cpu():
        model = MODELS.setdefault(name, model_of(name))
    elements = data.draw(st.sampled_from([anything, moderate]))
    x = data.draw(arrays(np.float32, ZOO[name].shape, elements=elements))
    weight = data.draw(st.floats(0, 2.0**100, width=32))
    assert share(model, x, data.draw(st.integers(0, 2)), weight) <= BOUND * (1 + ROUNDING)


@settings(deadline=None, max_examples=60)
@given(weight=st.floats(0, 2.0**100, width=32), words=arrays(np.int64, (5,), elements=st.integers(0, 6)))
def test_no_text_adds_more_than_the_bound(weight: float, words: Array) -> None:
    with on_cpu():
        model = MODELS.setdefault("embedding", model_of("embedding"))
    others = np.array([[1, 2, 3, 4, 5], [6, 5, 4, 3, 2]])
    batch = Batch(np.concatenate([others, words[None]]), np.array([0, 1, 2]), np.array([0.0, 0.0, weight]))
    gradient = model.compute_batch_gradients(batch, BOUND).to_numpy().flat
    assert np.linalg.norm(gradient) * 3 <= BOUND * (1 + ROUNDING)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6, 1e12])
def test_terms_that_cancel_out_do_not_hide_from_the_bound(size: float) -> None:
    """Where a sample's gradient is a small difference of large terms, what rounding leaves of it is bounded too."""
    rng = np.random.default_rng(0)
    # Given two positions whose terms are each other's opposite but for the last place
    taken, given_ = (torch.from_numpy(rng.normal(size=(1, 2, 400)).astype(np.float32) * size) for _ in range(2))
    taken[:, 1], given_[:, 1] = taken[:, 0] * (1 + 1e-7), -given_[:, 0]
    assert stays_apart(2, 400, 400, torch.float32)
    part = Products(taken, given_, torch.Size((400, 400)))
    # When the gradient is clipped by its norm
    out, norm = torch.zeros(400, 400), part.norms()
    part.add_to(out, (BOUND / norm.clamp(min=BOUND)).float())
    # Then what is added is no longer than the bound
    assert out.double().norm().item() <= BOUND * (1 + ROUNDING)


def some_parts(seed: int, positions: int) -> tuple[Part, Part, torch.Tensor]:
    """Gradients of a table of 9 rows by products and by rows, and as a tensor of shape (4, 9, 5)."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(9, (4, positions), generator=generator)
    given_ = torch.randn(4, positions, 5, generator=generator)
    chosen = nn.functional.one_hot(places, 9).float()
    whole = torch.einsum("ntr,ntw->nrw", chosen, given_)
    return Products(given_, chosen, torch.Size((9, 5))), Rows(places, given_, torch.Size((9, 5)), None), whole


@pytest.mark.parametrize("kind", [0, 1])
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), positions=st.integers(1, 6))
def test_each_form_of_gradients_is_what_it_stands_for(kind: int, seed: int, positions: int) -> None:
    *parts, whole = some_parts(seed, positions)
    part, factors = parts[kind], torch.tensor([0.5, 0.0, 2.0, 1.0])
    out = torch.ones(9, 5)
    part.add_to(out, factors)
    torch.testing.assert_close(part.whole(), whole)
    torch.testing.assert_close(part.norms().float(), whole.flatten(1).norm(dim=1))
    torch.testing.assert_close(out, 1 + torch.einsum("n,nrw->rw", factors, whole))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), positions=st.integers(1, 6))
def test_several_uses_of_a_tensor_add_up_before_they_are_measured(seed: int, positions: int) -> None:
    products, rows, whole = some_parts(seed, positions)
    for several in ([products, products], [products, rows], [rows, Whole(whole)]):
        torch.testing.assert_close(joined(several).norms().float(), 2 * whole.flatten(1).norm(dim=1))


def test_a_row_of_padding_learns_nothing() -> None:
    places, given_ = torch.tensor([[0, 1, 0]]), torch.ones(1, 3, 2)
    part = Rows(places, given_, torch.Size((3, 2)), 0)
    assert part.whole().tolist() == [[[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]]


def test_long_gradients_in_single_precision_have_their_norm() -> None:
    gradients = torch.rand(1, 4_000_000)
    expected = gradients.double().norm().item()
    assert Whole(gradients).norms().item() == pytest.approx(expected, rel=1e-6)
