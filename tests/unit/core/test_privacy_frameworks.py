"""Private steps of models of every framework: the same noise, on all trainable numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fl.core.dataset import Batch
from fl.core.model.api import Model
from fl.core.model.torch import TorchModel
from fl.core.optimizer import Optimizer
from fl.core.privacy.accounting import Spending
from fl.core.privacy.noise import keyed_source
from fl.core.privacy.private import PrivateSteps
from tests.unit.core.tensorflow_zoo import ZOO
from tests.unit.core.torch_zoo import CROSS, make, on_cpu, samples


def torch_case() -> tuple[Model, Batch]:
    with on_cpu():
        return TorchModel(make("mlp"), CROSS), samples((6,))


def keras_case() -> tuple[Model, Batch]:
    return ZOO["mlp"].model(), ZOO["mlp"].batch()


@pytest.mark.parametrize("case", [torch_case, keras_case])
def test_a_step_moves_weights_by_clipped_gradients_and_the_noise_of_its_key(
    case: Callable[[], tuple[Any, Batch]],
) -> None:
    # Given what the model says of its clipped gradients, and the noise of a key
    model, batch = case()
    before = model.get_weights(trainable=True).to_numpy().flat.copy()
    mean = model.compute_batch_gradients(batch, 0.5).to_numpy().flat.copy()
    noise = keyed_source(bytes(32), secure=False).standard_normal(before.size)

    # When a step is made where 4 samples are expected, of a dataset of 16
    steps = PrivateSteps(Spending(2.0, 0.25, 1), 0.5, keyed_source(bytes(32), secure=False))
    steps.run_train_step(Optimizer(0.1), model, batch, n_samples=16)

    # Then weights have moved by both
    moved = before - model.get_weights(trainable=True).to_numpy().flat
    expected = 0.1 * (mean * batch.n_samples + 2.0 * 0.5 * noise) / 4
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-6)
