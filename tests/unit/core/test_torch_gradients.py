"""Gradients of torch models, against finite differences and torch's own loops."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from fl.core.dataset.api import Batch
from fl.core.model.torch import TorchModel
from fl.core.model.torch.clipped import sample_gradients as parts
from fl.core.optimizer import Optimizer
from fl.core.vector import Array, NumpyVector
from fl.errors import ConfigError, ModelError
from tests.unit.core.torch_zoo import ZOO, TwoInputs, make, on_cpu, samples


@pytest.fixture(autouse=True)
def cpu() -> Iterator[None]:
    with on_cpu():
        yield


def mean_loss(model: TorchModel, batch: Batch) -> float:
    losses = model.loss_function(batch.y, model.forward(batch))
    weights = np.ones(len(losses)) if batch.weights is None else batch.weights
    return float((weights * losses).sum() / len(losses))


def finite_differences(model: TorchModel, batch: Batch, step: float = 1e-6) -> Array:
    start = model.get_weights(trainable=True).to_numpy()
    slopes = np.zeros_like(start.flat)
    for place in range(slopes.size):
        values = []
        for sign in (1, -1):
            moved = start.copy()
            moved.flat[place] += sign * step
            model.set_weights(moved, trainable=True)
            values.append(mean_loss(model, batch))
        slopes[place] = (values[0] - values[1]) / (2 * step)
    model.set_weights(start, trainable=True)
    return slopes


def gradient(model: TorchModel, batch: Batch, max_norm: float | None = None, *, per_tensor: bool = False) -> Array:
    found: Array = model.compute_batch_gradients(batch, max_norm, per_tensor=per_tensor).to_numpy().flat.copy()
    return found


@pytest.mark.parametrize("name", ZOO)
def test_the_gradient_is_that_of_the_weighted_mean_loss(name: str) -> None:
    model, batch = TorchModel(make(name), nn.CrossEntropyLoss()), samples(ZOO[name][1])
    np.testing.assert_allclose(gradient(model, batch), finite_differences(model, batch), atol=1e-8)


def test_the_gradient_through_frozen_batch_norm_is_that_of_its_initial_statistics() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    model, batch = TorchModel(module, nn.CrossEntropyLoss(), buffers="frozen"), samples((6,))
    np.testing.assert_allclose(gradient(model, batch), finite_differences(model, batch), atol=1e-8)


def test_parameters_that_the_loss_does_not_reach_have_gradient_zero() -> None:
    model = TorchModel(make("tied"), nn.CrossEntropyLoss())
    found = model.compute_batch_gradients(samples((6,))).arrays()
    assert found["unused"].tolist() == [0.0, 0.0]


def test_frozen_parameters_have_no_gradient() -> None:
    model = TorchModel(make("frozen"), nn.CrossEntropyLoss())
    assert model.compute_batch_gradients(samples((6,))).layout.names == ("2.weight", "2.bias")


def test_the_gradient_of_an_empty_batch_is_zero() -> None:
    model = TorchModel(make("mlp"), nn.CrossEntropyLoss())
    gradient(model, samples((6,)))
    assert not gradient(model, Batch(np.zeros((0, 6)), np.zeros(0, np.int64))).any()


def test_a_gradient_does_not_add_to_the_one_before() -> None:
    model, batch = TorchModel(make("mlp"), nn.CrossEntropyLoss()), samples((6,))
    assert (gradient(model, batch) == gradient(model, batch)).all()


def test_sparse_gradients_of_embeddings_become_dense() -> None:
    tokens, labels = np.array([[0, 1], [1, 3]]), np.array([0, 2])
    found = []
    for sparse in (True, False):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Embedding(5, 4, sparse=sparse), nn.Flatten(), nn.Linear(8, 3))
        found.append(gradient(TorchModel(module, nn.CrossEntropyLoss()), Batch(tokens, labels)))
    np.testing.assert_allclose(found[0], found[1], atol=1e-7)


@pytest.mark.parametrize("kind", [tuple, dict])
def test_a_batch_may_hold_several_inputs(kind: type) -> None:
    torch.manual_seed(0)
    module, plain = TwoInputs().double(), samples((6,))
    gate = np.full((6, 1), 2.0)
    x = (plain.x, gate) if kind is tuple else {"gate": gate, "x": plain.x}
    model = TorchModel(module, nn.CrossEntropyLoss())
    batch = plain._replace(x=x)
    np.testing.assert_allclose(gradient(model, batch), finite_differences(model, batch), atol=1e-8)


def test_steps_of_the_optimizer_are_those_of_torchs_own_loop() -> None:
    # Given a module, and the same module in the loop that everybody writes
    module, batch = make("cnn"), samples(ZOO["cnn"][1], weighted=False)
    model, ours = TorchModel(module, nn.CrossEntropyLoss()), Optimizer(0.1)
    loss, plain = nn.CrossEntropyLoss(), torch.optim.SGD(module.parameters(), 0.1)
    x, y = torch.from_numpy(batch.x), torch.from_numpy(batch.y)
    # When both train
    for _ in range(5):
        ours.run_train_step(model, batch)
        plain.zero_grad()
        loss(module(x), y).backward()
        plain.step()
    # Then they come to the same weights
    expected = np.concatenate([item.detach().numpy().ravel() for item in module.parameters()])
    np.testing.assert_allclose(model.get_weights().to_numpy().flat, expected, rtol=1e-12)


def test_a_linear_module_trained_to_the_end_is_a_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = (x @ [1.0, -2.0, 0.5] + rng.normal(size=60) > 0).astype(np.int64)
    model, optimizer = TorchModel(nn.Linear(3, 1).double(), nn.BCEWithLogitsLoss()), Optimizer(2.0)
    for _ in range(2000):
        optimizer.run_train_step(model, Batch(x, y))
    expected = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, y)
    np.testing.assert_allclose(
        model.to_predictions(model.forward(Batch(x))), expected.predict_proba(x)[:, 1], atol=1e-5
    )


def by_loop(model: TorchModel, batch: Batch, max_norm: float, *, per_tensor: bool) -> Array:
    """Each sample's gradient by itself, clipped in numpy."""
    total = np.zeros(0)
    for i in range(batch.n_samples):
        one = Batch(batch.x[i : i + 1], batch.y[i : i + 1], batch.weights[i : i + 1])
        own: NumpyVector = model.compute_batch_gradients(one).to_numpy()
        pieces = [array.ravel() for array in own.arrays().values()]
        pieces = pieces if per_tensor else [np.concatenate(pieces)]
        clipped = [piece * min(1.0, max_norm / (np.linalg.norm(piece) or 1.0)) for piece in pieces]
        total = total + np.concatenate(clipped) if total.size else np.concatenate(clipped)
    return total / batch.n_samples


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("name", ZOO)
def test_clipping_is_sample_by_sample_and_after_weighting(name: str, per_tensor: bool) -> None:
    model, batch = TorchModel(make(name), nn.CrossEntropyLoss()), samples(ZOO[name][1])
    expected = by_loop(model, batch, 0.3, per_tensor=per_tensor)
    np.testing.assert_allclose(gradient(model, batch, 0.3, per_tensor=per_tensor), expected, atol=1e-12)


def test_clipping_a_part_of_the_batch_at_a_time_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = TorchModel(make("mlp"), nn.CrossEntropyLoss()), samples((6,))
    whole = gradient(model, batch, 0.3)
    monkeypatch.setattr(parts, "SAMPLE_GRADIENT_ELEMENTS", 110)  # two samples of 53 parameters
    np.testing.assert_allclose(gradient(model, batch, 0.3), whole, atol=1e-14)


class Branching(nn.Module):
    """Decides by each sample's values, as no vectorised computation can."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.head(one) if one.sum() > 0 else 2 * self.head(one) for one in torch.split(x, 1)])


def test_a_layer_that_cannot_be_vectorised_is_clipped_one_by_one_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, batch = TorchModel(Branching().double(), nn.CrossEntropyLoss()), samples((6,))
    expected = by_loop(model, batch, 0.3, per_tensor=False)
    np.testing.assert_allclose(gradient(model, batch, 0.3), expected, atol=1e-12)
    assert [record.message.split()[0] for record in caplog.records] == ["per_sample_gradients_one_by_one"]


def test_batch_norm_has_no_gradient_of_single_samples() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    with pytest.raises(ModelError, match=r"layer '1' \(BatchNorm1d\).*GroupNorm"):
        gradient(TorchModel(module, nn.CrossEntropyLoss()), samples((6,)), 1.0)


def test_frozen_batch_norm_can_be_clipped() -> None:
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).double()
    model, batch = TorchModel(module, nn.CrossEntropyLoss(), buffers="frozen"), samples((6,))
    expected = by_loop(model, batch, 0.3, per_tensor=False)
    np.testing.assert_allclose(gradient(model, batch, 0.3), expected, atol=1e-12)


def test_a_norm_of_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_norm is 0"):
        gradient(TorchModel(make("mlp"), nn.CrossEntropyLoss()), samples((6,)), 0.0)
