"""Clipped gradients of torch models, against torch's own gradients of one sample after the other."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from fl.core.dataset.api import Batch
from fl.core.model.torch import TorchModel
from fl.core.model.torch.clipped import sample_gradients
from fl.core.vector import Array
from fl.errors import DataError
from tests.unit.core.clipping_zoo import TOKENS, ZOO, Case, Composed, headed
from tests.unit.core.torch_zoo import CROSS, on_cpu

BOUND = 0.3
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")  # of vmap, when it cannot


@pytest.fixture(autouse=True)
def cpu() -> Iterator[None]:
    with on_cpu():
        yield


def made(case: Case) -> nn.Module:
    torch.manual_seed(1)
    return case.make().double()


def batch_of(case: Case, n: int = 6, *, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    x = rng.integers(TOKENS, size=(n, *case.shape)) if case.tokens else rng.normal(size=(n, *case.shape))
    return Batch(x, rng.integers(3, size=n), rng.uniform(0.5, 2.0, n))


def one_by_one(module: nn.Module, batch: Batch, *, per_tensor: bool = False) -> Array:
    """The mean of clipped gradients by torch's autograd alone, in float64."""
    module = module.double()
    learned = [item for item in module.parameters() if item.requires_grad]
    total: Array = np.zeros(())
    for x, y, weight in zip(batch.x, batch.y, batch.weights, strict=True):
        loss = nn.functional.cross_entropy(module(torch.from_numpy(x)[None]), torch.tensor([y])) * weight
        found = torch.autograd.grad(loss, learned, allow_unused=True, materialize_grads=True)
        pieces = [item.flatten().numpy() for item in found]
        pieces = pieces if per_tensor else [np.concatenate(pieces)]
        total = total + np.concatenate([piece / max(1.0, np.linalg.norm(piece) / BOUND) for piece in pieces])
    return total / batch.n_samples


def clipped(model: TorchModel, batch: Batch, bound: float = BOUND, *, per_tensor: bool = False) -> Array:
    found: Array = model.compute_batch_gradients(batch, bound, per_tensor=per_tensor).to_numpy().flat.copy()
    return found


def way_of(model: TorchModel) -> str:
    way = model._sample_gradients._way
    assert way is not None
    return way.__name__


def assert_close(found: Array, expected: Array, *, within: float) -> None:
    assert np.linalg.norm(found - expected) <= within * np.linalg.norm(expected)


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("name", ZOO)
def test_clipped_gradients_are_those_of_samples_alone(name: str, per_tensor: bool) -> None:
    batch = batch_of(ZOO[name])
    found = clipped(TorchModel(made(ZOO[name]), CROSS), batch, per_tensor=per_tensor)
    assert_close(found, one_by_one(made(ZOO[name]), batch, per_tensor=per_tensor), within=1e-9)


@pytest.mark.parametrize("name", ZOO)
def test_in_single_precision_they_are_the_same_to_a_hundred_thousandth(name: str) -> None:
    batch = batch_of(ZOO[name])
    found = clipped(TorchModel(made(ZOO[name]).float(), CROSS), batch)
    assert_close(found, one_by_one(made(ZOO[name]).float(), batch), within=1e-5)


@pytest.mark.parametrize("name", ZOO)
def test_a_module_goes_the_fastest_way_that_is_right(name: str) -> None:
    model = TorchModel(made(ZOO[name]), CROSS)
    clipped(model, batch_of(ZOO[name]))
    assert way_of(model) == ZOO[name].way


@pytest.mark.parametrize("name", ["conv2d", "few positions", "norms", "embedding", "own parameter"])
def test_room_for_few_elements_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    model, batch = TorchModel(made(ZOO[name]).float(), CROSS), batch_of(ZOO[name])
    whole = clipped(model, batch)
    monkeypatch.setattr(sample_gradients, "SAMPLE_GRADIENT_ELEMENTS", 1)
    assert_close(clipped(model, batch), whole, within=1e-6)


def test_the_bits_do_not_depend_on_the_batches_before() -> None:
    case = ZOO["few positions"]
    fresh, used = (TorchModel(made(case).float(), CROSS) for _ in range(2))
    for n in (1, 2, 5):
        clipped(used, batch_of(case, n, seed=n))
    assert (clipped(fresh, batch_of(case)) == clipped(used, batch_of(case))).all()


def test_samples_of_no_weight_do_not_hide_what_a_way_does() -> None:
    # Given a parameter that is used outside its layer, and a first batch of which nothing counts
    case = ZOO["weight outside its layer"]
    model, batch = TorchModel(made(case), CROSS), batch_of(case)
    clipped(model, batch._replace(weights=np.zeros(6)))
    # When samples count
    assert_close(clipped(model, batch), one_by_one(made(case), batch), within=1e-9)


def test_gradients_that_are_not_finite_decide_on_no_way() -> None:
    case = ZOO["conv2d"]
    model, batch = TorchModel(made(case), CROSS), batch_of(case)
    with pytest.raises(DataError, match="features that are NaN or infinite"):
        clipped(model, batch._replace(x=np.full_like(batch.x, np.nan)))
    clipped(model, batch)
    assert way_of(model) == "together"


def test_a_sample_alone_is_clipped_too() -> None:
    batch = batch_of(ZOO["conv2d"], 1)
    found = clipped(TorchModel(made(ZOO["conv2d"]), CROSS), batch)
    assert_close(found, one_by_one(made(ZOO["conv2d"]), batch), within=1e-9)


def test_looking_for_a_way_neither_draws_nor_changes_buffers() -> None:
    # Given a model that counts its passes and drops outputs
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.drop = nn.Linear(6, 3), nn.Dropout(0.5)
            self.register_buffer("passes", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert isinstance(self.passes, torch.Tensor)
            self.passes += 1
            return torch.as_tensor(self.drop(self.head(x)))

    model, batch = TorchModel(Counting(), CROSS), Batch(np.ones((4, 6)), np.zeros(4, np.int64))
    found = []
    for _ in range(2):  # of which only the first looks for a way
        model.start_round(np.random.default_rng(0))
        found.append(clipped(model, batch))
    # Then both drew the same, and each was one pass
    assert (found[0] == found[1]).all()
    assert model.get_weights().to_numpy().arrays()["passes"] == 2


def test_samples_of_a_batch_draw_a_dropout_mask_each() -> None:
    module = headed(nn.Dropout(0.5), inputs=50)
    model = TorchModel(module, CROSS)
    one = np.ones((1, 50))
    twice = clipped(model, Batch(np.repeat(one, 2, axis=0), np.zeros(2, np.int64)), 1e6)
    weight = twice[:150].reshape(3, 50)[0]
    assert way_of(model) == "together"
    assert len(np.unique(np.abs(weight) > 1e-6)) == 2
    assert len(np.unique(weight.round(6))) > 2


def test_what_is_frozen_or_unused_has_no_part_in_the_norm() -> None:
    # Given a frozen layer, a frozen bias, and a layer that nothing uses
    def make() -> nn.Module:
        layers = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(2, 2)
        layers[0].requires_grad_(False)
        layers[1].bias.requires_grad_(False)
        return Composed(lambda m, x: m[2](m[1](torch.tanh(m[0](x)))), *layers)

    case = Case(make, (6,))
    model, batch = TorchModel(made(case), CROSS), batch_of(case)
    assert_close(clipped(model, batch), one_by_one(made(case), batch), within=1e-9)
    assert way_of(model) == "together"


def test_outputs_in_half_precision_give_nearly_the_same() -> None:
    batch = batch_of(ZOO["conv2d"])
    model = TorchModel(made(ZOO["conv2d"]).float(), CROSS, autocast="bfloat16")
    assert_close(clipped(model, batch), one_by_one(made(ZOO["conv2d"]), batch), within=0.05)
    assert way_of(model) == "together"


@pytest.mark.parametrize("weight", [np.nan, np.inf])
def test_sample_weights_that_are_no_numbers_are_refused(weight: float) -> None:
    batch = Batch(np.ones((2, 6)), np.zeros(2, np.int64), np.array([1.0, weight]))
    with pytest.raises(DataError, match="sample weights are NaN or infinite"):
        clipped(TorchModel(nn.Linear(6, 3), CROSS), batch)


def test_a_gradient_that_nothing_bounds_is_an_error() -> None:
    module = nn.Linear(6, 3)
    nn.init.constant_(module.weight, 1e38)
    with pytest.raises(DataError, match=r"a sample's gradient is not finite.*learning rate"):
        clipped(TorchModel(module, nn.MSELoss()), Batch(np.full((2, 6), 1e6), np.zeros((2, 3))))
